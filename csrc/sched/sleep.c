/*
** sleep.c - what tasks do by themselves: spawn, sleep, yield, check.
**
** SPDX-License-Identifier: MIT
*/
#include <math.h>

#include "clock.h"
#include "error.h"

void peri_check_callable(lua_State *L, int idx) {
  if (lua_isfunction(L, idx)) return;
  if (luaL_getmetafield(L, idx, "__call") == LUA_TNIL)
    luaL_typeerror(L, idx, "function");
  lua_pop(L, 1);
}

/* What a host's scope owns keeps to that, also in the background. */
peri_owner *peri_task_background(const peri_loop *l) {
  if (!l->host) return l->background;
  for (const peri_scope *s = l->current->inner; s; s = s->parent) {
    if (s->kind != PERI_SCOPE_OWNER) continue;
    peri_owner *o = PERI_OF((peri_scope *)(uintptr_t)s, peri_owner, scope);
    if (o->keeps) return o;
  }
  return l->background;
}

/* aio.spawn(fn, ...) -> task. Does not wait. */
static int spawn(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_check_callable(L, 1);
  peri_owner *o = peri_task_background(l);
  if (o->closed)
    return peri_error_raise(L, "ECLOSED",
                            "the scope of this task was ended by the host");
  peri_task *t = peri_task_new(L, l, o, lua_gettop(L) - 1, 1);
  t->scope.clock = peri_clock_capture(l);
  return 1;
}

/* What it waits on is the number of the clock. */
static int sleep_abort(peri_loop *l, peri_task *t, int why) {
  (void)why;
  peri_task_disarm(l, t, (unsigned)(uintptr_t)t->on);
  return 1;
}

static const peri_wait sleeping = {"sleep", sleep_abort, peri_task_true_k};
static const peri_wait standing = {"sleep by a clock that others move",
                                   sleep_abort, peri_task_true_k};
static const peri_wait passing = {"yield", NULL, peri_task_true_k};

static int park(lua_State *L, peri_loop *l, peri_task *t, unsigned clock,
                uint64_t when) {
  peri_task_arm(l, t, clock, when);
  return peri_task_park(L, l, clock ? &standing : &sleeping,
                        (void *)(uintptr_t)clock, 0);
}

/* aio.yield() -> true. Waits for one turn: goes to the tail. */
static int yield(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_wait_enter(L, l);
  return peri_task_requeue(L, l, &passing, 0);
}

/* aio.sleep(seconds) -> true. Waits, by the clock of the scope; math.huge is
** for ever, zero or less a yield. Raises for NaN. */
static int sleep(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  lua_Number s = luaL_checknumber(L, 1);
  luaL_argcheck(L, !isnan(s), 1, "number of seconds expected, got NaN");
  peri_task *t = peri_wait_enter(L, l);
  if (s <= 0) return peri_task_requeue(L, l, &passing, 0);
  unsigned clock = t->inner->clock;
  return park(L, l, t, clock, peri_clock_after(l, clock, s));
}

/* (clock, ns): sleeps by the clock of this number. For hosts. */
static int sleep_by(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  unsigned clock = (unsigned)lua_tointeger(L, 1);
  int64_t ns = lua_tointeger(L, 2);
  peri_task *t = peri_wait_enter(L, l);
  if (ns <= 0) return peri_task_requeue(L, l, &passing, 0);
  return park(L, l, t, clock, peri_clock_now(l, clock) + (uint64_t)ns);
}

/* aio.check() -> true. Never waits; raises if the task is cancelled. */
static int check(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  if (l->current->inner->effective) peri_task_raise(L, l, l->current);
  lua_pushboolean(L, 1);
  return 1;
}

static const luaL_Reg functions[] = {
  {"spawn", spawn}, {"sleep", sleep}, {"yield", yield}, {"check", check},
  {NULL, NULL}};

void peri_task_functions(lua_State *L, peri_loop *l) {
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, functions, 1);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  lua_pushcclosure(L, sleep_by, 1);
  peri_stash_set(l, L, PERI_STASH_SLEEP);
}
