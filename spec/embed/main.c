/*
** main.c - runs the tests of the C interface: all, or those whose names begin
** with one of the arguments. The closing line counts them.
**
** SPDX-License-Identifier: MIT
*/
#include "test.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define CASE_SECONDS 30 /* after which one hangs */

static jmp_buf out; /* of the thread `home` */
static pthread_t home;
static pid_t home_process;
static const char *running, *skipped;
static int failing;

void test_fail(const char *file, int line, const char *what) {
  printf("FAILED %s\n    %s:%d: %s\n", running, file, line, what);
  fflush(stdout);
  if (!pthread_equal(home, pthread_self()) || getpid() != home_process)
    _exit(1);
  failing = 1;
  longjmp(out, 1);
}

void test_equal(const char *file, int line, const char *what, int64_t a,
                int64_t b) {
  char text[300];
  if (a == b) return;
  snprintf(text, sizeof text, "%s is %lld, not %lld", what, (long long)a,
           (long long)b);
  test_fail(file, line, text);
}

void test_skip(const char *why) {
  skipped = why;
  longjmp(out, 1);
}

/* {== Worlds =========================================================== */

/* Lua collects all it can, and asks again: so that is refused as well. */
static int is_refused(world *w, size_t size) {
  int again = w->again == size;
  w->again = 0;
  if (w->refusing || again) return 1;
  if (!w->refuse_at || --w->refuse_at) return 0;
  w->refused++;
  w->refusing = w->refuse_on;
  w->again = size;
  return 1;
}

static void *allocate(void *ud, void *p, size_t old, size_t size) {
  world *w = ud;
  if (!p) old = 0;
  if (!size) {
    w->bytes -= old;
    free(p);
    return NULL;
  }
  if (size > old && is_refused(w, size)) return NULL;
  void *to = realloc(p, size);
  if (to) w->bytes += size - old;
  return to;
}

static int say(lua_State *L) {
  const char *what = luaL_tolstring(L, 1, NULL);
  lua_getglobal(L, "log");
  const char *log = lua_tostring(L, -1);
  lua_pushfstring(L, "%s%s%s", log, *log ? " " : "", what);
  lua_setglobal(L, "log");
  return 0;
}

static void on_error(perilune_loop *p, const perilune_error *e) {
  world *w = perilune_ud(p);
  w->errors++;
  w->error_ud = e->ud;
  snprintf(w->message, sizeof w->message, "%s: %s", e->kind, e->message);
}

static int panic(lua_State *L) {
  printf("FAILED %s: an error outside any protected call: %s\n", running,
         lua_tostring(L, -1));
  fflush(stdout);
  _exit(1);
}

void world_state(world *w) {
  memset(w, 0, sizeof *w);
  w->L = lua_newstate(allocate, w);
  CHECK(w->L);
  lua_atpanic(w->L, panic);
  luaL_openlibs(w->L);
  lua_register(w->L, "say", say);
  lua_pushliteral(w->L, "");
  lua_setglobal(w->L, "log");
}

void world_open(world *w) {
  world_open_in(w, NULL);
}

void world_open_in(world *w, void *uv_loop) {
  perilune_config c = {.size = sizeof c, .uv_loop = uv_loop};
  world_open_with(w, &c);
}

void world_open_with(world *w, perilune_config *c) {
  world_state(w);
  c->ud = w;
  c->on_error = on_error;
  EQUAL(perilune_open(w->L, c, &w->p), PERILUNE_OK);
  EQUAL(perilune_openlibs(w->p, PERILUNE_LIB_ALL), PERILUNE_OK);
  world_do(w, "aio = require 'perilune'");
}

void world_close(world *w) {
  int rc = PERILUNE_OK;
  while (w->p && (rc = perilune_close(w->p, 0, 0)) == PERILUNE_BUSY)
    usleep(1000);
  EQUAL(rc, PERILUNE_OK);
  EQUAL(lua_gettop(w->L), 0);
  lua_close(w->L);
  EQUAL(w->bytes, 0);
}

void world_do(world *w, const char *code) {
  if (luaL_dostring(w->L, code))
    test_fail(running, 0, lua_tostring(w->L, -1));
}

perilune_task *world_spawn(world *w, perilune_scope *s, const char *code) {
  perilune_task *t = NULL;
  if (luaL_loadstring(w->L, code))
    test_fail(running, 0, lua_tostring(w->L, -1));
  EQUAL(perilune_spawn(w->p, s, w->L, 0, &t), PERILUNE_OK);
  return t;
}

void world_said(world *w, const char *expected) {
  lua_getglobal(w->L, "log");
  const char *log = lua_tostring(w->L, -1);
  if (strcmp(log, expected)) {
    printf("    said: %s\n    not:  %s\n", log, expected);
    test_fail(running, 0, "something else was said");
  }
  lua_pop(w->L, 1);
}

int world_settle(world *w) {
  int rc;
  while ((rc = perilune_step(w->p, NULL, NULL)) == PERILUNE_MORE) continue;
  CHECK(rc >= 0);
  return rc;
}

int64_t world_int(world *w, const char *name) {
  lua_getglobal(w->L, name);
  int64_t n = (int64_t)lua_tointeger(w->L, -1);
  lua_pop(w->L, 1);
  return n;
}

/* }===================================================================== */

static int passes, failures, skips;

static void on_alarm(int signum) {
  static const char text[] = "FAILED: a case hangs\n";
  (void)signum;
  if (write(STDOUT_FILENO, text, sizeof text - 1) < 0) _exit(3);
  abort();
}

static void run_case(const test_case *c) {
  running = c->name;
  skipped = NULL;
  failing = 0;
  alarm(CASE_SECONDS);
  if (!setjmp(out)) c->run();
  alarm(0);
  if (failing)
    failures++;
  else if (skipped)
    skips++;
  else
    passes++;
  if (skipped && !failing)
    printf("skipped %s: %s\n", c->name, skipped);
  else if (!failing)
    printf("ok %s\n", c->name);
  fflush(stdout);
}

static int wanted(const char *name, int argc, char **argv) {
  for (int i = 1; i < argc; i++)
    if (!strncmp(name, argv[i], strlen(argv[i]))) return 1;
  return argc == 1;
}

int main(int argc, char **argv) {
  static const test_case *const all[] = {
    open_cases, step_cases, post_cases, future_cases, task_cases,
    scope_cases, kill_cases, close_cases, wait_cases,
    memory_cases, libs_cases, attach_cases, slice_cases, clock_cases,
    signal_cases, dump_cases, bind_cases, entry_cases,
    worlds_cases,
    guest_cases, refuse_cases, storm_cases,
    oom_cases};
  signal(SIGALRM, on_alarm);
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    for (const test_case *c = all[i]; c->name; c++)
      if (wanted(c->name, argc, argv)) run_case(c);
  printf("%d passed, %d failed, %d skipped\n", passes, failures, skips);
  return failures != 0 || passes == 0;
}
