/*
** lock.c - a lock: one task at a time.
**
** Lua side: lock: acquire, try_acquire, release, `<close>`.
**
** Invariants: tasks wait only while the lock has an owner, and the owner is
** alive. A task that waits and is made the owner keeps that, whatever comes
** before it runs. When an owner ends, all who wait are told, and the lock is
** free: but who asks for it before somebody was told is told as well.
**
** The owner's outcome points to the lock, so this has a finalizer. It may be
** used after that, by other finalizers or by tasks that are cleaned up when
** the Lua state is closed: then it does not hear of its owner's end any more.
**
** SPDX-License-Identifier: MIT
*/
#include "lock.h"

#include "error.h"
#include "hand.h"
#include "type.h"

static const char lock_type[] = "perilune.lock";

peri_lock *peri_lock_check(lua_State *L, int idx) {
  return peri_type_check(L, idx, lock_type, sizeof(peri_lock));
}

/* {== Who holds it ===================================================== */

static void own(peri_lock *k, peri_task *t) {
  k->owner = t;
  if (!k->collected) peri_waitlist_add(&t->out.waiters, &k->ended.run);
}

static void disown(peri_lock *k) {
  if (!k->collected)
    peri_waitlist_remove(&k->owner->out.waiters, &k->ended.run);
  k->owner = NULL;
}

static void on_owner_ended(peri_loop *l, peri_notice *n) {
  peri_lock *k = PERI_OF(n, peri_lock, ended);
  k->last = k->owner->id;
  k->owner = NULL;
  k->dead = 1;
  peri_waitlist_wake_all(l, &k->waiters);
}

/* Who would be the owner here: nobody in a callback, which is no task. But
** handlers of a task that is ended by force run as that task. */
static peri_task *holder(const peri_loop *l) {
  return l->callback && l->current == l->root ? NULL : l->current;
}

static int holds(const peri_loop *l, const peri_lock *k) {
  return k->owner && k->owner == holder(l);
}

void peri_lock_check_held(lua_State *L, peri_loop *l, const peri_lock *k) {
  if (!holds(l, k))
    peri_error_raise(L, "EPERM", "the lock is not held by this task");
}

int peri_lock_take(peri_lock *k, peri_task *t) {
  if (k->owner || k->dead) return 0;
  own(k, t);
  return 1;
}

void peri_lock_release(peri_loop *l, peri_lock *k) {
  disown(k);
  peri_task *t = peri_task_first(l, &k->waiters);
  if (!t) return;
  own(k, t);
  peri_waitlist_wake(l, &k->waiters);
}

/* }===================================================================== */

/* {== Waiting for it =================================================== */

int peri_lock_fail(lua_State *L, peri_lock *k) {
  int n = peri_error_fail(L, "EOWNERDEAD",
                          "task %d, which held the lock, has ended without "
                          "releasing it", (int)k->last);
  k->dead = 0;
  return n;
}

void peri_lock_queue(peri_lock *k, peri_task *t, const peri_wait *w) {
  t->wait = w;
  t->on = &k->waiters;
  peri_waitlist_add(&k->waiters, &t->run);
}

static int acquire_k(lua_State *L, int status, lua_KContext ctx) {
  peri_lock *k = peri_lock_check(L, 1);
  (void)status;
  (void)ctx;
  if (k->owner != PERI_LOOP(L)->current) return peri_lock_fail(L, k);
  lua_settop(L, 1);
  return 1;
}

/* It holds the lock, and does not know that. */
static void acquire_drop(peri_loop *l, peri_task *t) {
  peri_lock *k = PERI_OF(t->on, peri_lock, waiters);
  if (k->owner == t) peri_lock_release(l, k);
}

static const peri_wait acquiring = {"lock", peri_task_unlist, acquire_k,
                                    acquire_drop};

/* lock:acquire() -> lock, or nil, message, "EOWNERDEAD" if the task that held
** it has ended. Waits. Raises if the task holds it already. */
static int lock_acquire(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_lock *k = peri_lock_check(L, 1);
  if (holds(l, k))
    return peri_error_raise(L, "EDEADLK", "this task holds the lock already");
  peri_task *t = peri_wait_enter(L, l);
  lua_settop(L, 1);
  if (peri_lock_take(k, t)) return peri_task_done(L, l, 1);
  if (!k->owner) return peri_lock_fail(L, k);
  return peri_task_park_in(L, l, &acquiring, &k->waiters);
}

/* lock:try_acquire() -> lock, or false if it is held, or nil, message,
** "EOWNERDEAD". Never waits. Not in callbacks. */
static int lock_try_acquire(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_lock *k = peri_lock_check(L, 1);
  peri_task *t = holder(l);
  if (!t)
    return peri_error_raise(L, "EPERM", "a callback cannot hold a lock, only "
                                        "a task can; use a semaphore");
  lua_settop(L, 1);
  if (peri_lock_take(k, t)) return 1;
  if (!k->owner) return peri_lock_fail(L, k);
  lua_pushboolean(L, 0);
  return 1;
}

/* }===================================================================== */

/* lock:release() -> true. Hands the lock to the first who waits for it. Raises
** if the task does not hold it. Never waits. Not in callbacks. */
static int lock_release(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_lock *k = peri_lock_check(L, 1);
  peri_lock_check_held(L, l, k);
  peri_lock_release(l, k);
  lua_pushboolean(L, 1);
  return 1;
}

/* __close: the lock may have been released before, and be held by others. */
static int lock_close(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_lock *k = peri_lock_check(L, 1);
  if (holds(l, k)) peri_lock_release(l, k);
  return 0;
}

/* Reports of who waits for a lock take what is in parentheses. */
static int lock_tostring(lua_State *L) {
  const peri_lock *k = peri_lock_check(L, 1);
  if (!k->owner || k->collected)
    lua_pushliteral(L, "lock (free)");
  else if (k->owner == PERI_LOOP(L)->root)
    lua_pushliteral(L, "lock (held by the main chunk)");
  else
    lua_pushfstring(L, "lock (held by task %d)", (int)k->owner->id);
  return 1;
}

/* The owner is remembered: it may still release the lock. */
static int lock_gc(lua_State *L) {
  peri_lock *k = peri_lock_check(L, 1);
  if (peri_gc_is_called(PERI_LOOP(L))) return 0;
  if (k->owner && !k->collected)
    peri_waitlist_remove(&k->owner->out.waiters, &k->ended.run);
  k->collected = 1;
  return 0;
}

peri_lock *peri_lock_new(lua_State *L) {
  peri_lock *k = lua_newuserdatauv(L, sizeof *k, 0);
  k->type = lock_type;
  k->waiters.first = NULL;
  k->owner = NULL;
  peri_link_init(&k->ended.run.link);
  k->ended.run.run = NULL;
  k->ended.notice = on_owner_ended;
  k->last = 0;
  k->dead = k->collected = 0;
  luaL_setmetatable(L, lock_type);
  return k;
}

/* aio.lock() -> a lock that is free. Never waits. */
static int new_lock(lua_State *L) {
  peri_lock_new(L);
  return 1;
}

void peri_lock_open(lua_State *L, peri_loop *l) {
  static const luaL_Reg methods[] = {
    {"acquire", lock_acquire}, {"try_acquire", lock_try_acquire},
    {"release", lock_release}, {"__close", lock_close},
    {"__tostring", lock_tostring}, {"__gc", lock_gc}, {NULL, NULL}};
  lua_pushcfunction(L, new_lock);
  lua_setfield(L, -2, "lock");
  luaL_newmetatable(L, lock_type);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, methods, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}
