/*
** sandbox.c - runs scripts that it does not trust: docs/sandbox.md.
**
**   sandbox GUEST.lua SCRIPT
**
** The script gets a Lua state of its own, with what GUEST.lua leaves it, 16 MB,
** 500 slices of 1000 instructions without a wait, and half a second in all. Prints
** how it has ended.
**
** SPDX-License-Identifier: MIT
*/
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>

#include "perilune.h"

#define MEMORY (16 << 20)
#define SLICE 1000
#define SLICES 500
#define LONG 200000000 /* nanoseconds without a wait: instructions may be slow */
#define LIFE 500000000 /* ... and in all */
#define FRAMES 1000 /* until the rest is ended */

typedef struct guest {
  perilune_mem mem;
  lua_State *L;
  perilune_loop *p;
  perilune_scope *scope;
  int overruns;
  uint64_t ns; /* it has run */
  const char *how; /* it has ended, or NULL */
} guest;

/* {== Limits =========================================================== */

static void guest_kill(guest *g) {
  perilune_scope_kill(g->scope, PERILUNE_KILL_DROP);
  g->how = "killed";
}

/* Those that go on in the next frame get the rest of their slices there. */
static int on_overrun(perilune_loop *p, perilune_task *t, uint64_t ns) {
  guest *g = perilune_ud(p);
  (void)t;
  if (++g->overruns < SLICES && ns < LONG) return PERILUNE_PREEMPT;
  guest_kill(g);
  return PERILUNE_KILL;
}

static void on_error(perilune_loop *p, const perilune_error *e) {
  const guest *g = perilune_ud(p);
  if (!g->how) printf("failed: %.100s\n", e->message);
}

/* print, for guests: the host decides where that goes, and how much. */
static int guest_print(lua_State *L) {
  printf("%.100s\n", luaL_tolstring(L, 1, NULL));
  return 0;
}

/* }===================================================================== */

/* {== Guests =========================================================== */

/* Pushes a script as a function, whose environment is what guest.lua returns. */
static int load(lua_State *L, const char *recipe, const char *script) {
  if (luaL_loadfile(L, recipe)) return -1;
  lua_getglobal(L, "require");
  lua_pushliteral(L, "perilune");
  if (lua_pcall(L, 1, 1, 0)) return -1;
  lua_pushcfunction(L, guest_print);
  if (lua_pcall(L, 2, 1, 0)) return -1;
  if (luaL_loadfilex(L, script, "t")) return -1; /* text, and nothing else */
  lua_insert(L, -2);
  lua_setupvalue(L, -2, 1);
  return 0;
}

static int guest_open(guest *g, const char *recipe, const char *script) {
  perilune_config c = {.size = sizeof c, .ud = g, .slice = SLICE};
  c.on_overrun = on_overrun;
  c.on_error = on_error;
  g->L = lua_newstate(perilune_alloc, &g->mem);
  if (!g->L) return -1;
  luaL_openlibs(g->L);
  if (perilune_open(g->L, &c, &g->p)) return -1;
  if (perilune_scope_new(g->p, NULL, NULL, g, &g->scope)) return -1;
  g->mem.limit = g->mem.used + MEMORY;
  if (load(g->L, recipe, script)) return -1;
  return perilune_spawn(g->p, g->scope, g->L, 0, NULL);
}

static void guest_run(guest *g) {
  perilune_budget b = {.size = sizeof b, .ns = 2000000};
  perilune_stats s = {.size = sizeof s};
  int rc = PERILUNE_MORE;
  for (int i = 0; i < FRAMES && !g->how && rc != PERILUNE_IDLE; i++) {
    rc = perilune_step(g->p, &b, &s);
    g->ns += s.ns;
    if (g->ns > LIFE && !g->how) guest_kill(g);
  }
  if (rc == PERILUNE_IDLE && !g->how) g->how = "ended";
  printf("%s\n", g->how ? g->how : "left");
}

static void guest_close(guest *g) {
  perilune_scope_release(g->scope);
  while (perilune_close(g->p, 0, 1) == PERILUNE_BUSY) continue;
  lua_close(g->L);
}

/* }===================================================================== */

int main(int argc, char **argv) {
  guest g = {.how = NULL};
  if (argc != 3) return fprintf(stderr, "sandbox GUEST.lua SCRIPT\n"), 2;
  if (guest_open(&g, argv[1], argv[2]))
    return fprintf(stderr, "%s\n", g.L ? lua_tostring(g.L, -1) : "memory"), 1;
  guest_run(&g);
  guest_close(&g);
  return 0;
}
