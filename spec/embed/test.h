/*
** test.h - what the tests of the C interface share.
**
** A case is a function; it stands in the table of its file, which main.c
** lists. CHECK ends a case that fails. A world is a Lua state with an open
** loop; closing it checks that nothing is left.
**
** SPDX-License-Identifier: MIT
*/
#ifndef TEST_H
#define TEST_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "perilune.h"

typedef struct test_case {
  const char *name;
  void (*run)(void);
} test_case;

#define CASE(f) {#f, f}
#define END {NULL, NULL}

#define CHECK(c) \
  do { \
    if (!(c)) test_fail(__FILE__, __LINE__, #c); \
  } while (0)

/* The two, which are int64_t, are equal. */
#define EQUAL(a, b) test_equal(__FILE__, __LINE__, #a, (a), (b))

void test_fail(const char *file, int line, const char *what);
void test_equal(const char *file, int line, const char *what, int64_t a,
                int64_t b);

/* Skips a case that cannot be run here; does not return. */
void test_skip(const char *why);

typedef struct world {
  lua_State *L;
  perilune_loop *p;
  int errors;         /* that on_error was told of */
  char message[200];  /* the last one */
  void *error_ud;
  size_t bytes;       /* Lua's memory */
  int refusing;       /* the allocator refuses everything */
  size_t refuse_at;   /* ... or the n-th request from now, 0: none */
  int refuse_on;      /* ... and all that follow */
  size_t again;       /* ... which is asked for again, of this size */
  int refused;        /* times that it has come to that */
} world;

/* Opens a state with Lua's libraries; the same and a loop in it. */
void world_state(world *w);
void world_open(world *w);

/* The same in the uv_loop_t of the host. */
void world_open_in(world *w, void *uv_loop);

/* The same, with what the config says besides. */
void world_open_with(world *w, perilune_config *c);

/* Closes the loop, as often as it takes, and the state. */
void world_close(world *w);

/* Runs a chunk, outside of tasks; its error fails the case. */
void world_do(world *w, const char *code);

/* Makes a task of a chunk. */
perilune_task *world_spawn(world *w, perilune_scope *s, const char *code);

/* The global `log`, a string, is `expected`; say(x) in Lua adds to it. */
void world_said(world *w, const char *expected);

/* Steps until nothing is ready; returns what the last step said. */
int world_settle(world *w);

/* The integer that is a global. */
int64_t world_int(world *w, const char *name);

/* hold.c: from begin on, renaming and a name that is looked up hang; tasks that
** do so, which hang in a thread when these return; lets all of them go on. */
void hold_begin(void);
void hold_job(world *w);
void hold_lookup(world *w);
void hold_end(void);

extern const test_case open_cases[], step_cases[], post_cases[],
  future_cases[], task_cases[], scope_cases[], kill_cases[], close_cases[],
  wait_cases[], memory_cases[], libs_cases[], attach_cases[], slice_cases[],
  clock_cases[], signal_cases[], dump_cases[], bind_cases[], entry_cases[],
  worlds_cases[],
  guest_cases[], refuse_cases[], storm_cases[],
  oom_cases[];

#endif
