/*
** condition.c - a condition: waiting, with a lock, until what it guards has
** changed.
**
** Lua side: condition: wait, notify, notify_all.
**
** A task that waits is in one of two lists: in the condition's, until it is
** notified or cancelled, and then in the lock's, which cannot be left: it goes
** on when it is the owner again. Being notified completes its wait: a
** cancellation that comes after it waits for the next one. So nobody is woken
** only to find the lock taken, and no notification is lost.
**
** User value 1 is the lock.
**
** SPDX-License-Identifier: MIT
*/
#include "error.h"
#include "hand.h"
#include "lock.h"

#define CONDITION "perilune.condition"

typedef struct condition {
  peri_waitlist waiters;
  peri_lock *lock;
} condition;

/* The condition at 1, whose lock is held by who runs. */
static condition *check_held(lua_State *L, peri_loop *l) {
  condition *c = luaL_checkudata(L, 1, CONDITION);
  peri_lock_check_held(L, l, c->lock);
  return c;
}

/* {== Taking the lock again ============================================ */

/* For a cancellation the lock is waited for all the same; not where nothing
** can come any more. There is no drop: the task held the lock before, and what
** it runs when it is ended by force expects that, and releases it. */
static int reacquire_abort(peri_loop *l, peri_task *t, int why) {
  return why == PERI_ABORTED ? 0 : peri_task_unlist(l, t, why);
}

static int notified_k(lua_State *L, int status, lua_KContext ctx) {
  peri_loop *l = PERI_LOOP(L);
  peri_lock *k = ((condition *)luaL_checkudata(L, 1, CONDITION))->lock;
  (void)status;
  (void)ctx;
  if (k->owner != l->current) return peri_lock_fail(L, k);
  lua_pushboolean(L, 1);
  return 1;
}

static int cancelled_k(lua_State *L, int status, lua_KContext ctx) {
  peri_loop *l = PERI_LOOP(L);
  (void)status;
  (void)ctx;
  return peri_task_raise(L, l, l->current);
}

static const peri_wait notified = {"lock", reacquire_abort, notified_k};
static const peri_wait cancelled = {"lock", reacquire_abort, cancelled_k};

/* }===================================================================== */

/* {== Waiting ========================================================== */

/* Without the lock it is not left for a cancellation, unless nobody is going
** to release that. */
static int wait_abort(peri_loop *l, peri_task *t, int why) {
  if (!peri_task_unlist(l, t, why)) return 0;
  peri_lock *k = PERI_OF(t->on, condition, waiters)->lock;
  if (peri_lock_take(k, t) || !k->owner || why != PERI_ABORTED) return 1;
  peri_lock_queue(k, t, &cancelled);
  return 0;
}

static const peri_wait waiting = {"condition", wait_abort, notified_k};

/* condition:wait() -> true once it is notified; or nil, message, "EOWNERDEAD",
** not holding the lock, if a task that held it has ended. Waits. The lock, which
** must be held, is released meanwhile, and is held again when this returns or
** raises, also if it was cancelled. */
static int condition_wait(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  condition *c = check_held(L, l);
  peri_wait_enter(L, l);
  lua_settop(L, 1);
  peri_lock_release(l, c->lock);
  return peri_task_park_in(L, l, &waiting, &c->waiters);
}

/* }===================================================================== */

/* {== Notifying ======================================================== */

/* The first `n` who wait queue for the lock instead. */
static int notify(lua_State *L, lua_Integer n) {
  peri_loop *l = PERI_LOOP(L);
  condition *c = check_held(L, l);
  lua_Integer done = 0;
  peri_task *t;
  while (done < n && (t = peri_task_first(l, &c->waiters))) {
    peri_waitlist_remove(&c->waiters, &t->run);
    peri_lock_queue(c->lock, t, &notified);
    done++;
  }
  lua_pushinteger(L, done);
  return 1;
}

/* condition:notify([n]) -> how many were woken. Wakes the first n who wait
** (1): they go on one after the other, each holding the lock, which must be
** held to call this. Never waits. Not in callbacks. */
static int condition_notify(lua_State *L) {
  lua_Integer n = luaL_optinteger(L, 2, 1);
  luaL_argcheck(L, n >= 0, 2, "number must not be negative");
  return notify(L, n);
}

/* condition:notify_all() -> how many were woken. As `notify`, for all who wait.
** Never waits. Not in callbacks. */
static int condition_notify_all(lua_State *L) {
  return notify(L, LUA_MAXINTEGER);
}

/* }===================================================================== */

/* aio.condition([lock]) -> condition, lock. Without a lock it makes one. Never
** waits. */
static int new_condition(lua_State *L) {
  lua_settop(L, 1);
  if (lua_isnil(L, 1)) {
    peri_lock_new(L);
    lua_replace(L, 1);
  }
  peri_lock *k = peri_lock_check(L, 1);
  condition *c = lua_newuserdatauv(L, sizeof *c, 1);
  c->waiters.first = NULL;
  c->lock = k;
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  luaL_setmetatable(L, CONDITION);
  lua_pushvalue(L, 1);
  return 2;
}

void peri_condition_open(lua_State *L, peri_loop *l) {
  static const luaL_Reg methods[] = {
    {"wait", condition_wait}, {"notify", condition_notify},
    {"notify_all", condition_notify_all}, {NULL, NULL}};
  lua_pushcfunction(L, new_condition);
  lua_setfield(L, -2, "condition");
  luaL_newmetatable(L, CONDITION);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, methods, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}
