/*
** future.c - futures, and what all awaitables can do: await, join, peek,
** on_done, name, cancel.
**
** Lua side: a future is a userdata with the outcome alone; tasks and
** callbacks begin with one and share its methods. User value 1 holds the
** values; user value 2 of a future, if not nil, is a table that keeps the
** callbacks which wait for it.
**
** SPDX-License-Identifier: MIT
*/
#include "future.h"

#include "callback.h"
#include "error.h"
#include "hand.h"
#include "trace.h"

#define CYCLE 8 /* tasks looked at to find one that waits for itself */
#define REMOTE "perilune.remote"

/* {== Results ========================================================== */

/* Pushes the error of a failed or cancelled outcome. Being cancelled is an
** error of what was awaited, not a cancellation of who awaits it. */
void peri_future_push_error(lua_State *L, const peri_outcome *o, int idx) {
  if (o->state == PERI_FAILED) {
    if (!peri_outcome_push(L, o, idx)) lua_pushnil(L);
    return;
  }
  if (!peri_outcome_push(L, o, idx)) lua_pushnil(L);
  int reason = lua_gettop(L);
  if (lua_isnil(L, reason)) { /* nothing to tell: one object is enough */
    lua_pop(L, 1);
    peri_stash_push(PERI_LOOP(L), L, PERI_STASH_ENDED);
    return;
  }
  peri_error_new(L, "ECANCELED", "what was awaited has been cancelled (%s)",
                 peri_error_text(L, reason));
  lua_pushvalue(L, reason);
  lua_setfield(L, -2, "reason");
  lua_replace(L, reason);
  lua_settop(L, reason);
}

int peri_future_push_awaited(lua_State *L, const peri_outcome *o, int idx) {
  if (o->state == PERI_DONE) return peri_outcome_push(L, o, idx);
  peri_future_push_error(L, o, idx);
  PERI_LOOP(L)->passing = 1;
  return lua_error(L);
}

static int push_joined(lua_State *L, const peri_outcome *o) {
  lua_pushboolean(L, o->state == PERI_DONE);
  if (o->state == PERI_DONE) return 1 + peri_outcome_push(L, o, 1);
  peri_future_push_error(L, o, 1);
  return 2;
}

/* }===================================================================== */

/* {== Waiting ========================================================== */

static int await_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  return peri_future_push_awaited(L, lua_touserdata(L, 1), 1);
}

static int join_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  return push_joined(L, lua_touserdata(L, 1));
}

static const peri_wait awaiting = {"await", peri_task_unlist, await_k};
static const peri_wait joining = {"join", peri_task_unlist, join_k};

/* True if `o` is a task that, by way of others, waits for `t`, be it as a
** member of the group that the last of them waits for. */
static int waits_for(const peri_loop *l, const peri_outcome *o,
                     const peri_task *t) {
  for (int i = 0; i < CYCLE && o->kind == PERI_TASK; i++) {
    const peri_task *other = (const peri_task *)(const void *)o;
    if (other == t) return 1;
    if (o->phase != PERI_ARMED) return 0;
    const peri_owner *members = l->joined(other);
    if (members) return peri_task_is_of(t, members);
    if (other->wait != &awaiting && other->wait != &joining) return 0;
    if (peri_task_closed(other)) return 0; /* nothing keeps what it awaits */
    o = PERI_OF(other->on, peri_outcome, waiters);
  }
  return 0;
}

static int wait_for(lua_State *L, const peri_wait *w) {
  peri_loop *l = PERI_LOOP(L);
  peri_outcome *o = peri_outcome_check(L, l, 1);
  peri_task *t = peri_wait_enter(L, l);
  lua_settop(L, 1);
  o->flags |= PERI_TAKEN;
  if (o->state != PERI_PENDING)
    return peri_task_done(L, l, w->k(L, LUA_OK, 0));
  if (waits_for(l, o, t)) return peri_trace_cycle(L);
  return peri_task_park_in(L, l, w, &o->waiters);
}

/* x:await() -> values of x. Waits. Raises the error of x, unchanged; an
** error with code ECANCELED if x was cancelled; EDEADLK, at once, if x is this
** task, or one that waits for it. */
static int await(lua_State *L) {
  return wait_for(L, &awaiting);
}

/* x:join() -> true, values..., or false, error. Waits. Raises EDEADLK, at once,
** if x is this task, or one that waits for it. */
static int join(lua_State *L) {
  return wait_for(L, &joining);
}

/* x:peek() -> "pending", or "ok", values..., or "failed", error, or
** "cancelled", reason. Never waits. */
static int peek(lua_State *L) {
  static const char *const names[] = {"pending", "ok", "failed",
                                      "cancelled"};
  peri_outcome *o = peri_outcome_check(L, PERI_LOOP(L), 1);
  lua_settop(L, 1);
  o->flags |= PERI_TAKEN;
  lua_pushstring(L, names[o->state]);
  if (o->state == PERI_PENDING) return 1;
  int n = peri_outcome_push(L, o, 1);
  if (n == 0 && o->state == PERI_FAILED) {
    lua_pushnil(L);
    n = 1;
  }
  return 1 + n;
}

/* }===================================================================== */

/* {== Names ============================================================ */

/* x:name() -> the name, or nil; x:name(name) -> x. Never waits. */
static int name(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_outcome_check(L, l, 1);
  int set = lua_gettop(L) > 1;
  lua_settop(L, 2);
  if (set && !lua_isnil(L, 2)) luaL_checkstring(L, 2);
  peri_stash_push(l, L, PERI_STASH_NAMES);
  lua_pushvalue(L, 1);
  if (!set) {
    lua_rawget(L, -2);
    return 1;
  }
  lua_pushvalue(L, 2);
  lua_rawset(L, -3);
  lua_settop(L, 1);
  return 1;
}

/* }===================================================================== */

/* {== Settling ========================================================= */

/* The callbacks of a future live as long as it does. From now until they
** have run, the loop keeps the future itself. */
static void keep_callbacks(lua_State *L, peri_loop *l, peri_outcome *o) {
  if (o->flags & PERI_OBSERVED) peri_anchor(L, l, 1, o);
}

/* Settles the future at 1 with the values above it. */
static int settle(lua_State *L, peri_loop *l, peri_outcome *o, int state) {
  if (o->state != PERI_PENDING) {
    lua_pushboolean(L, 0);
    return 1;
  }
  keep_callbacks(L, l, o);
  int fresh = peri_outcome_store(L, o, 1, lua_gettop(L) - 1);
  if (fresh) peri_outcome_settle(l, o, state);
  lua_pushboolean(L, fresh);
  return 1;
}

int peri_future_settle(lua_State *L, peri_loop *l, int state) {
  settle(L, l, lua_touserdata(L, 1), state);
  int fresh = lua_toboolean(L, -1);
  lua_settop(L, 1);
  return fresh;
}

static peri_outcome *check_future(lua_State *L, peri_loop *l) {
  peri_outcome *o = peri_outcome_test(L, l, 1);
  if (!o || o->kind != PERI_FUTURE) luaL_typeerror(L, 1, "future");
  return o;
}

/* f:resolve(...) -> true if f was pending. Never waits. */
static int resolve(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  return settle(L, l, check_future(L, l), PERI_DONE);
}

/* f:fail(err) -> true if f was pending. Never waits. */
static int fail(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_outcome *o = check_future(L, l);
  lua_settop(L, 2);
  return settle(L, l, o, PERI_FAILED);
}

static int cancel_task(lua_State *L, peri_loop *l, peri_task *t) {
  int alive = t->out.state == PERI_PENDING;
  if (alive) {
    peri_scope_reason(L, l, &t->scope, 2);
    peri_task_cancel(l, t);
  }
  lua_pushboolean(L, alive);
  return 1;
}

/* x:cancel([reason]) -> true if x was not done. Never waits. A future and
** a callback that has not run end cancelled at once; a task is asked to. */
static int cancel(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_outcome *o = peri_outcome_check(L, l, 1);
  lua_settop(L, 2);
  if (o->kind == PERI_TASK) return cancel_task(L, l, (peri_task *)(void *)o);
  if (o->kind == PERI_CALLBACK && !peri_callback_withdraw(l, o)) {
    lua_pushboolean(L, 0);
    return 1;
  }
  return settle(L, l, o, PERI_ENDED);
}

/* }===================================================================== */

/* {== Observers ======================================================== */

static int observe(lua_State *L, int only_cancelled) {
  peri_loop *l = PERI_LOOP(L);
  peri_outcome *o = peri_outcome_check(L, l, 1);
  peri_check_callable(L, 2);
  lua_settop(L, 2);
  peri_callback_observe(L, l, o, only_cancelled);
  if (!only_cancelled) o->flags |= PERI_TAKEN;
  return 1;
}

/* x:on_done(fn) -> callback. fn(x) is called in the turn after x is done,
** in this context, also if it is done already. Never waits. */
static int on_done(lua_State *L) {
  return observe(L, 0);
}

/* f:on_cancel(fn) -> callback. fn(f) is called when f was cancelled, so
** that a producer can stop. Never waits. */
static int on_cancel(lua_State *L) {
  check_future(L, PERI_LOOP(L));
  return observe(L, 1);
}

/* }===================================================================== */

/* {== Remote ends ====================================================== */

/*
** The write end of a future, for a producer outside. While it exists and the
** future is pending the loop is not stuck; dropped unsettled, it fails the
** future with EBROKEN.
*/
typedef struct remote {
  peri_notice settled; /* waits for the future while `loop` is set */
  peri_loop *loop;     /* NULL once it is spent, or the future done */
} remote;

/* The future is done, and out of it come no more waiters: nor does the end
** keep the loop alive. */
static void on_settled(peri_loop *l, peri_notice *n) {
  PERI_OF(n, remote, settled)->loop = NULL;
  l->holds--;
}

/* Puts the future in place of the remote end, which is spent. */
static void spend(lua_State *L, remote *r, peri_outcome *o) {
  lua_getiuservalue(L, 1, 1);
  lua_replace(L, 1);
  peri_waitlist_remove(&o->waiters, &r->settled.run);
  on_settled(r->loop, &r->settled);
}

static int remote_settle(lua_State *L, int state) {
  remote *r = luaL_checkudata(L, 1, REMOTE);
  if (!r->loop) {
    lua_pushboolean(L, 0);
    return 1;
  }
  lua_getiuservalue(L, 1, 1);
  peri_outcome *o = lua_touserdata(L, -1);
  lua_pop(L, 1);
  spend(L, r, o);
  return settle(L, PERI_LOOP(L), o, state);
}

/* remote:resolve(...) -> true if that settled the future. Never waits. */
static int remote_resolve(lua_State *L) {
  return remote_settle(L, PERI_DONE);
}

/* remote:fail(err) -> true if that settled the future. Never waits. */
static int remote_fail(lua_State *L) {
  lua_settop(L, 2);
  return remote_settle(L, PERI_FAILED);
}

/* remote:close() -> true if that settled the future. It fails with EBROKEN
** then, as when the write end is collected. Never waits. */
static int remote_drop(lua_State *L) {
  lua_settop(L, 1);
  peri_stash_push(PERI_LOOP(L), L, PERI_STASH_BROKEN); /* needs no memory */
  return remote_settle(L, PERI_FAILED);
}

/* f:remote() -> write end with resolve(...), fail(err) and close(), each
** true if it settled f. Dropped without, closed or collected, it fails f with
** EBROKEN. Never waits. */
static int future_remote(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_outcome *o = check_future(L, l);
  remote *r = lua_newuserdatauv(L, sizeof *r, 1);
  r->loop = NULL;
  r->settled.notice = on_settled;
  r->settled.run.run = NULL;
  peri_link_init(&r->settled.run.link);
  luaL_setmetatable(L, REMOTE);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  if (o->state != PERI_PENDING) return 1;
  r->loop = l;
  l->holds++;
  peri_waitlist_add(&o->waiters, &r->settled.run);
  return 1;
}

static const luaL_Reg remote_methods[] = {
  {"resolve", remote_resolve}, {"fail", remote_fail}, {"close", remote_drop},
  {"__gc", remote_drop}, {"__close", remote_drop}, {NULL, NULL}};

/* }===================================================================== */

/* {== Making, and functions ============================================ */

/* aio.future() -> a pending future. Never waits. */
static int future(lua_State *L) {
  peri_outcome *o = lua_newuserdatauv(L, sizeof *o, 2);
  peri_outcome_init(o, PERI_FUTURE);
  lua_pushvalue(L, lua_upvalueindex(2)); /* the metatable */
  lua_setmetatable(L, -2);
  peri_trace_made(L, PERI_LOOP(L));
  return 1;
}

peri_outcome *peri_future_new(lua_State *L, peri_loop *l, size_t size) {
  peri_outcome *o = lua_newuserdatauv(L, size, 2);
  peri_outcome_init(o, PERI_FUTURE);
  peri_stash_push(l, L, PERI_STASH_FUTURE);
  lua_setmetatable(L, -2);
  return o;
}

/* aio.is_awaitable(x) -> true if x can be awaited. Never waits. */
static int is_awaitable(lua_State *L) {
  luaL_checkany(L, 1);
  int is = peri_outcome_test(L, PERI_LOOP(L), 1) ||
           luaL_getmetafield(L, 1, "__await") != LUA_TNIL;
  lua_pushboolean(L, is);
  return 1;
}

peri_outcome *peri_future_of(lua_State *L, peri_loop *l, int idx) {
  peri_outcome *o = peri_outcome_test(L, l, idx);
  if (o || luaL_getmetafield(L, idx, "__await") == LUA_TNIL) return o;
  lua_pushvalue(L, idx);
  lua_call(L, 1, 1);
  o = peri_outcome_test(L, l, -1);
  if (!o)
    luaL_error(L, "'__await' must return a future (got %s)",
               luaL_typename(L, -1));
  lua_replace(L, idx);
  return o;
}

/* Replaces the value at 1 by its future. */
static void to_future(lua_State *L, peri_loop *l) {
  if (!peri_future_of(L, l, 1)) luaL_typeerror(L, 1, "awaitable");
}

/* aio.await(x) -> what x:await() returns. Waits. */
static int await_any(lua_State *L) {
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  to_future(L, PERI_LOOP(L));
  return wait_for(L, &awaiting);
}

/* core.to_future(x) -> the future of an awaitable. */
static int as_future(lua_State *L) {
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  to_future(L, PERI_LOOP(L));
  return 1;
}

static int outcome_tostring(lua_State *L) {
  static const char *const kinds[] = {"future", "task", "callback"};
  static const char *const states[] = {"pending", "ok", "failed",
                                       "cancelled"};
  peri_outcome *o = peri_outcome_check(L, PERI_LOOP(L), 1);
  lua_pushfstring(L, "%s: %p (%s)", kinds[o->kind], (void *)o,
                  states[o->state]);
  return 1;
}

static const luaL_Reg common[] = {
  {"await", await}, {"join", join}, {"peek", peek}, {"on_done", on_done},
  {"name", name}, {"cancel", cancel}, {"__tostring", outcome_tostring},
  {NULL, NULL}};

static const luaL_Reg of_future[] = {
  {"resolve", resolve}, {"fail", fail}, {"on_cancel", on_cancel},
  {"remote", future_remote}, {NULL, NULL}};

static const luaL_Reg functions[] = {
  {"is_awaitable", is_awaitable}, {"await", await_any},
  {"to_future", as_future}, {NULL, NULL}};

void peri_future_methods(lua_State *L, peri_loop *l) {
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, common, 1);
}

static void open_remote(lua_State *L, peri_loop *l) {
  luaL_newmetatable(L, REMOTE);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, remote_methods, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

void peri_future_open(lua_State *L, peri_loop *l) {
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, functions, 1);
  open_remote(L, l);
  luaL_newmetatable(L, "perilune.future");
  peri_future_methods(L, l);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, of_future, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  l->kinds[PERI_FUTURE] = lua_topointer(L, -1);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, future, 2);
  lua_setfield(L, -3, "future");
  peri_stash_set(l, L, PERI_STASH_FUTURE);
}

/* }===================================================================== */
