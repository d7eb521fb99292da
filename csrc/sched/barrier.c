/*
** barrier.c - a barrier: tasks that wait for one another.
**
** Lua side: barrier: wait.
**
** Those who wait are the participants of this round that have come; one that
** is cancelled does not count any more. The last one is not parked: it wakes
** the others, and the next round begins.
**
** SPDX-License-Identifier: MIT
*/
#include "lock.h"

#define BARRIER "perilune.barrier"

typedef struct barrier {
  peri_waitlist waiters;
  lua_Integer size;
  lua_Integer waiting; /* tasks in `waiters` */
} barrier;

static int wait_abort(peri_loop *l, peri_task *t, int why) {
  if (!peri_task_unlist(l, t, why)) return 0;
  PERI_OF(t->on, barrier, waiters)->waiting--;
  return 1;
}

/* Who was woken waits on nothing any more: in the place of that is its
** number. */
static int wait_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  lua_pushinteger(L, (lua_Integer)(intptr_t)PERI_LOOP(L)->current->on);
  return 1;
}

static const peri_wait waiting = {"barrier", wait_abort, wait_k};

/* Wakes all, with their numbers; returns the next number. */
static lua_Integer open_up(peri_loop *l, barrier *b) {
  intptr_t number = 1;
  peri_runnable *r;
  while ((r = peri_waitlist_wake(l, &b->waiters)))
    PERI_OF(r, peri_task, run)->on = (void *)number++;
  b->waiting = 0;
  return number;
}

/* barrier:wait() -> number of the task among the n, in the order in which they
** came, once n tasks wait; then it begins anew. One that is cancelled does not
** count. Waits, but for the last one. */
static int barrier_wait(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  barrier *b = luaL_checkudata(L, 1, BARRIER);
  peri_wait_enter(L, l);
  lua_settop(L, 1);
  if (b->waiting + 1 < b->size) {
    b->waiting++;
    return peri_task_park_in(L, l, &waiting, &b->waiters);
  }
  lua_pushinteger(L, open_up(l, b));
  return peri_task_done(L, l, 1);
}

/* aio.barrier(n) -> a barrier for n tasks, 1 or more. Never waits. */
static int new_barrier(lua_State *L) {
  lua_Integer n = luaL_checkinteger(L, 1);
  luaL_argcheck(L, n >= 1, 1, "number of tasks must be 1 or more");
  barrier *b = lua_newuserdatauv(L, sizeof *b, 0);
  b->waiters.first = NULL;
  b->size = n;
  b->waiting = 0;
  luaL_setmetatable(L, BARRIER);
  return 1;
}

void peri_barrier_open(lua_State *L, peri_loop *l) {
  static const luaL_Reg methods[] = {{"wait", barrier_wait}, {NULL, NULL}};
  lua_pushcfunction(L, new_barrier);
  lua_setfield(L, -2, "barrier");
  luaL_newmetatable(L, BARRIER);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, methods, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}
