/*
** semaphore.c - a semaphore: so many at a time.
**
** Lua side: semaphore: acquire, try_acquire; permit: release, `<close>`.
**
** Invariant: tasks wait only while no permit is free; one that comes back goes
** to the first of them. A permit belongs to nobody, and may be released from
** anywhere, once. It is made before it is known that it can be had, and keeps
** its semaphore, which is its user value. One that is collected is given back,
** and reported in debug.
**
** SPDX-License-Identifier: MIT
*/
#include "callback.h"
#include "error.h"
#include "hand.h"
#include "lock.h"
#include "trace.h"

#define SEMAPHORE "perilune.semaphore"
#define PERMIT "perilune.permit"

typedef struct semaphore {
  peri_waitlist waiters;
  lua_Integer free; /* permits that can be had at once */
} semaphore;

typedef struct permit {
  semaphore *of;
  peri_runnable tell; /* in debug: that it was collected */
  int held;           /* not released so far */
} permit;

static semaphore *check_semaphore(lua_State *L) {
  return luaL_checkudata(L, 1, SEMAPHORE);
}

/* {== Permits ========================================================== */

/* A permit comes back. */
static void give(peri_loop *l, semaphore *s) {
  if (peri_task_first(l, &s->waiters))
    peri_waitlist_wake(l, &s->waiters);
  else
    s->free++;
}

static void release(peri_loop *l, permit *p) {
  if (!p->held) return;
  p->held = 0;
  give(l, p->of);
}

/* permit:release() -> true. Gives it back: to the first who waits, if anybody
** does. The second time it does nothing. Never waits. */
static int permit_release(lua_State *L) {
  release(PERI_LOOP(L), luaL_checkudata(L, 1, PERMIT));
  lua_pushboolean(L, 1);
  return 1;
}

static int permit_close(lua_State *L) {
  permit_release(L);
  return 0;
}

static int describe(lua_State *L) {
  lua_pushliteral(L, "a permit was collected before it was released");
  return 1;
}

static void tell(peri_loop *l, peri_runnable *r, lua_State *L) {
  permit *p = PERI_OF(r, permit, tell);
  if (!l->closing) peri_report_leak(l, L, describe, p);
  peri_unanchor(l, p);
}

/* A finalizer is no place for the error hook: the turn calls it. */
static int permit_gc(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  if (peri_gc_is_called(l)) return 0;
  permit *p = luaL_checkudata(L, 1, PERMIT);
  if (!p->held) return 0;
  release(l, p);
  if (!l->debug) return 0;
  peri_anchor(L, l, 1, p);
  peri_loop_ready(l, &p->tell);
  return 0;
}

/* Pushes a permit, not yet held, of the semaphore at 1. */
static permit *permit_new(lua_State *L, semaphore *s) {
  permit *p = lua_newuserdatauv(L, sizeof *p, 1);
  p->of = s;
  p->held = 0;
  peri_link_init(&p->tell.link);
  p->tell.run = tell;
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  luaL_setmetatable(L, PERMIT);
  peri_trace_made(L, PERI_LOOP(L));
  return p;
}

/* Pushes a permit that is held, or false. */
static int take(lua_State *L, semaphore *s) {
  permit *p = s->free ? permit_new(L, s) : NULL;
  if (!p || !s->free) { /* a finalizer has taken it */
    lua_pushboolean(L, 0);
    return 0;
  }
  s->free--;
  p->held = 1;
  return 1;
}

/* }===================================================================== */

/* {== Semaphores ======================================================= */

static int acquire_k(lua_State *L, int status, lua_KContext ctx) {
  permit *p = luaL_checkudata(L, 2, PERMIT);
  (void)status;
  (void)ctx;
  p->held = 1;
  lua_settop(L, 2);
  return 1;
}

static void acquire_drop(peri_loop *l, peri_task *t) {
  give(l, PERI_OF(t->on, semaphore, waiters));
}

static const peri_wait acquiring = {"semaphore", peri_task_unlist, acquire_k,
                                    acquire_drop};

/* semaphore:acquire() -> permit, with `release`, also `<close>`. Waits until
** one is free. */
static int semaphore_acquire(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  semaphore *s = check_semaphore(L);
  lua_settop(L, 1);
  permit *p = permit_new(L, s); /* may run finalizers: before looking */
  peri_wait_enter(L, l);
  if (!s->free) return peri_task_park_in(L, l, &acquiring, &s->waiters);
  s->free--;
  p->held = 1;
  return peri_task_done(L, l, 1);
}

/* semaphore:try_acquire() -> permit, or false if none is free. Never waits. */
static int semaphore_try_acquire(lua_State *L) {
  semaphore *s = check_semaphore(L);
  lua_settop(L, 1);
  take(L, s);
  return 1;
}

/* aio.semaphore(n) -> a semaphore with n permits, 1 or more. Never waits. */
static int new_semaphore(lua_State *L) {
  lua_Integer n = luaL_checkinteger(L, 1);
  luaL_argcheck(L, n >= 1, 1, "number of permits must be 1 or more");
  semaphore *s = lua_newuserdatauv(L, sizeof *s, 0);
  s->waiters.first = NULL;
  s->free = n;
  luaL_setmetatable(L, SEMAPHORE);
  return 1;
}

/* }===================================================================== */

static void open_type(lua_State *L, peri_loop *l, const char *name,
                      const luaL_Reg methods[]) {
  luaL_newmetatable(L, name);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, methods, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

void peri_semaphore_open(lua_State *L, peri_loop *l) {
  static const luaL_Reg methods[] = {
    {"acquire", semaphore_acquire}, {"try_acquire", semaphore_try_acquire},
    {NULL, NULL}};
  static const luaL_Reg of_permit[] = {
    {"release", permit_release}, {"__close", permit_close},
    {"__gc", permit_gc}, {NULL, NULL}};
  lua_pushcfunction(L, new_semaphore);
  lua_setfield(L, -2, "semaphore");
  open_type(L, l, SEMAPHORE, methods);
  open_type(L, l, PERMIT, of_permit);
}
