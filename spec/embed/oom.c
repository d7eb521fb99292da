/*
** oom.c - one life with every function, in which each allocation fails in
** turn: once, or from then on until the end.
**
** Nothing is lost, nobody panics, and each function says what it may say.
**
** SPDX-License-Identifier: MIT
*/
#include <stdlib.h>

#include "test.h"

typedef struct life {
  world w;
  perilune_future *f, *g;
  perilune_scope *s;
  perilune_task *t;
} life;

/* EDONE: for want of memory the task has ended before. */
static int is_fine(int rc) {
  return rc >= 0 || rc == PERILUNE_ENOMEM || rc == PERILUNE_ELUA ||
         rc == PERILUNE_EDONE;
}

#define FINE(call) CHECK(is_fine(call))

static const char script[] =
  "aio = aio or require 'perilune'\n"
  "local f, name = ...\n"
  "aio.group(nil, function(g)\n"
  "  g:spawn(pcall, f.await, f) g:spawn(aio.timeout, 0, aio.sleep, 1)\n"
  "  g:spawn(function() aio.signal 'frame':wait() end)\n"
  "  local c = aio.channel(1) g:spawn(c.put, c, name) c:get()\n"
  "  if aio.unix then local a, b = aio.unix.pair()\n"
  "    a:write 'x' b:read(1) a:close() b:close() end\n"
  "  local x <close> = aio.scope(5)\n"
  "  aio.sleep(100)\n"
  "end)";

/* Pushes the script and its arguments, as far as there is memory. */
static int push_script(lua_State *L) {
  life *x = lua_touserdata(L, 1);
  lua_settop(L, 0);
  if (luaL_loadstring(L, script)) return lua_error(L);
  perilune_future_push(L, x->f);
  lua_pushliteral(L, "a name that is longer than short strings of Lua can be");
  return 3;
}

static void begin_task(life *x) {
  lua_State *L = x->w.L;
  if (!x->f) return;
  lua_pushcfunction(L, push_script);
  lua_pushlightuserdata(L, x);
  if (lua_pcall(L, 1, LUA_MULTRET, 0)) {
    lua_pop(L, 1);
    return;
  }
  FINE(perilune_spawn(x->w.p, x->s, L, 2, &x->t));
}

static void on_end(perilune_task *t, lua_State *co, int how, void *ud) {
  (void)t;
  (void)co;
  (void)how;
  (void)ud;
}

static void on_abandon(void *ud) {
  (void)ud;
}

static int push_table(lua_State *L, void *ud) {
  (void)ud;
  lua_newtable(L);
  return 1;
}

static void live(life *x) {
  world *w = &x->w;
  perilune_loop *p = w->p;
  perilune_value v = {.type = PERILUNE_STRING,
                      .u = {.str = {"a string that is posted, and copied", 35}}};
  perilune_clock *clock;
  perilune_signal *signal;
  FINE(perilune_openlibs(p, PERILUNE_LIB_ALL));
  clock = perilune_clock_new(p, "game");
  signal = perilune_signal_new(p, "frame");
  FINE(perilune_future_new(p, &x->f));
  FINE(perilune_future_new(p, &x->g));
  FINE(perilune_scope_new(p, NULL, clock, x, &x->s));
  begin_task(x);
  if (x->t) FINE(perilune_task_then(x->t, on_end, NULL));
  if (x->f) FINE(perilune_future_on_abandon(x->f, on_abandon, NULL));
  for (int i = 0; i < 3; i++) FINE(perilune_step(p, NULL, NULL));
  if (clock) FINE(perilune_clock_advance(clock, 1000000000));
  lua_pushinteger(w->L, 1);
  if (signal)
    FINE(perilune_emit(signal, w->L, 1));
  else
    lua_pop(w->L, 1);
  if (x->f) FINE(perilune_post_value(x->f, &v));
  if (x->g) FINE(perilune_post_call(x->g, push_table, NULL, NULL));
  for (int i = 0; i < 3; i++) FINE(perilune_step(p, NULL, NULL));
  if (x->t) FINE(perilune_task_cancel(x->t));
  FINE(perilune_step(p, NULL, NULL));
  if (x->s) EQUAL(perilune_scope_kill(x->s, 1), PERILUNE_OK);
  perilune_task_release(x->t);
  perilune_scope_release(x->s);
  int rc = perilune_close(p, 1, 0);
  FINE(rc);
  if (!rc) w->p = NULL;
}

/* Returns 0 once there are no more allocations to fail. */
static int live_without(size_t n, int lasting) {
  life x;
  memset(&x, 0, sizeof x);
  world_state(&x.w);
  EQUAL(perilune_open(x.w.L, NULL, &x.w.p), PERILUNE_OK);
  x.w.refuse_at = n;
  x.w.refuse_on = lasting;
  live(&x);
  int refused = !x.w.refuse_at;
  x.w.refuse_at = x.w.refusing = 0;
  world_close(&x.w);
  return refused;
}

static void without_memory(int lasting) {
  size_t n = 1;
  while (live_without(n, lasting)) n++;
  printf("    %zu allocations failed in turn\n", n - 1);
}

static void a_life_without_memory_once(void) {
  without_memory(0);
}

static void a_life_without_memory_from_then_on(void) {
  without_memory(1);
}

const test_case oom_cases[] = {
  CASE(a_life_without_memory_once), CASE(a_life_without_memory_from_then_on),
  END};
