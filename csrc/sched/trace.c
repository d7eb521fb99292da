/*
** trace.c - what went wrong, and where: tracebacks, who waits for what, and
** why one cannot wait here.
**
** The tracebacks of the last failures are kept in a ring, so that they can
** be had for values of any type, and are bounded in number.
**
** SPDX-License-Identifier: MIT
*/
#include "trace.h"

#include <string.h>

#include "coro.h"
#include "error.h"
#include "hand.h"

#define RING 16   /* failures remembered */
#define STACKS 10 /* generators inside one another that are shown */

/* {== Tracebacks ======================================================= */

/* The ring has the values at 1 to RING, their tracebacks behind them. */

void peri_trace_error(lua_State *L, peri_loop *l, int idx, lua_State *co) {
  idx = lua_absindex(L, idx);
  peri_error_room(L, 6);
  if (co) luaL_traceback(L, co, NULL, co == L ? 1 : 0);
  peri_stash_push(l, L, PERI_STASH_TRACES);
  lua_insert(L, -2);
  lua_pushvalue(L, idx);
  lua_rawseti(L, -3, l->traces % RING + 1);
  lua_rawseti(L, -2, l->traces % RING + 1 + RING);
  lua_pop(L, 1);
  l->traces++;
}

int peri_trace_handler(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  lua_settop(L, 1);
  if (peri_cancelled_is(L, 1)) return 1;
  int known = 0;
  if (l->passing) { /* its first traceback says more than one from here */
    peri_trace_push(L, l, 1);
    known = !lua_isnil(L, -1);
    l->passing = 0;
    lua_settop(L, 1);
  }
  if (!known) peri_trace_error(L, l, 1, L);
  return 1;
}

/* The coroutine that runs inside of `co`, the task's or one of its
** generators; NULL for the innermost. */
static lua_State *next_inner(const peri_loop *l, const peri_task *t,
                             lua_State *co) {
  if (t != l->current && !(t->out.flags & PERI_NESTED)) return NULL;
  return co == l->top ? NULL : peri_coro_inner(co);
}

void peri_trace_push_stacks(lua_State *L, const peri_loop *l,
                            const peri_task *t, int level) {
  int first = lua_gettop(L) + 1;
  peri_error_room(L, STACKS + 10);
  for (lua_State *co = t->co; co; co = next_inner(l, t, co)) {
    luaL_traceback(L, co, NULL, co == L ? level : 0);
    lua_insert(L, first);
    if (lua_gettop(L) - first + 1 >= STACKS) break;
  }
  while (lua_gettop(L) > first) {
    lua_pushliteral(L, "\n");
    lua_insert(L, -2);
    lua_concat(L, 3);
  }
}

void peri_trace_push(lua_State *L, peri_loop *l, int idx) {
  idx = lua_absindex(L, idx);
  peri_stash_push(l, L, PERI_STASH_TRACES);
  uint32_t n = l->traces < RING ? l->traces : RING;
  for (uint32_t i = 1; i <= n; i++) {
    uint32_t at = (l->traces - i) % RING + 1;
    lua_rawgeti(L, -1, at);
    int same = lua_rawequal(L, -1, idx);
    lua_pop(L, 1);
    if (!same) continue;
    lua_rawgeti(L, -1, at + RING);
    lua_replace(L, -2);
    return;
  }
  lua_pop(L, 1);
  lua_pushnil(L);
}

/* }===================================================================== */

/* {== What is waited for =============================================== */

/* What the C function that is parked in `co` was called for is its first
** argument. These push a text for it, or nothing and return 0. */

/* One without a name; in debug, where it was made. */
static void push_kind(lua_State *L, peri_loop *l, const char *kind,
                      int idx) {
  peri_trace_push_made(L, l, idx);
  if (lua_isnil(L, -1))
    lua_pushstring(L, kind);
  else
    lua_pushfstring(L, "%s made at %s", kind, lua_tostring(L, -1));
}

/* An awaitable: its kind and name. */
static int push_awaitable(lua_State *L, peri_loop *l,
                          const peri_outcome *o, int idx) {
  static const char *const kinds[] = {"future", "task", "callback"};
  const peri_task *t = (const peri_task *)(const void *)o;
  peri_stash_push(l, L, PERI_STASH_NAMES);
  lua_pushvalue(L, idx);
  if (lua_rawget(L, -2) == LUA_TSTRING)
    lua_pushfstring(L, "%s \"%s\"", kinds[o->kind], lua_tostring(L, -1));
  else if (o->kind == PERI_TASK)
    lua_pushfstring(L, "task %d", (int)t->id);
  else
    push_kind(L, l, kinds[o->kind], idx);
  return 1;
}

/* Other objects: what their text, as in "tcp (127.0.0.1:80)", has in
** parentheses. */
static int push_object(lua_State *L, int idx) {
  if (luaL_getmetafield(L, idx, "__tostring") == LUA_TNIL) return 0;
  const char *text = luaL_tolstring(L, idx, NULL);
  const char *from = strchr(text, '('), *to = strrchr(text, ')');
  if (!from || !to) return 0;
  lua_pushlstring(L, from + 1, (size_t)(to - from - 1));
  return 1;
}

/* A host, path or name, with the port that follows, if any. */
static int push_address(lua_State *L, lua_State *co) {
  const char *host = lua_tostring(co, 1);
  if (!lua_isinteger(co, 2))
    lua_pushstring(L, host);
  else
    lua_pushfstring(L, strchr(host, ':') ? "[%s]:%d" : "%s:%d", host,
                    (int)lua_tointeger(co, 2));
  return 1;
}

static int is_await(const peri_wait *w) {
  return !strcmp(w->name, "await") || !strcmp(w->name, "join");
}

/* Pushes the words for the wait, or replaces them by those for what is
** awaited. */
static void push_wait(lua_State *L, peri_loop *l, const peri_wait *w,
                      lua_State *co) {
  int at = lua_gettop(L) + 1, named = 0;
  const peri_outcome *o = NULL;
  peri_error_room(L, 10);
  lua_pushnil(L); /* for the result */
  if (lua_type(co, 1) == LUA_TSTRING) {
    named = push_address(L, co);
  } else if (lua_isuserdata(co, 1) && lua_checkstack(co, 1)) {
    lua_pushvalue(co, 1);
    lua_xmove(co, L, 1); /* nothing, if it is the same */
    o = peri_outcome_test(L, l, -1);
    if (!o) named = push_object(L, at + 1);
    if (o && is_await(w)) named = push_awaitable(L, l, o, at + 1);
  }
  if (!named)
    lua_pushstring(L, w->name);
  else if (!o)
    lua_pushfstring(L, "%s %s", w->name, lua_tostring(L, -1));
  lua_replace(L, at);
  lua_settop(L, at);
}

void peri_trace_wait(lua_State *L, peri_loop *l, const peri_task *t) {
  push_wait(L, l, t->wait, peri_task_waits_in(t));
}

/* }===================================================================== */

/* {== Who waits for what =============================================== */

/* The innermost Lua function in `co` that is not of this library. */
static int find_line(const peri_loop *l, lua_State *co, lua_Debug *ar) {
  for (int i = 0; lua_getstack(co, i, ar); i++) {
    lua_getinfo(co, "Sl", ar);
    if (ar->currentline > 0 && !peri_error_is_ours(l, ar)) return 1;
  }
  return 0;
}

/* Pushes where that is, or nothing and returns 0. */
static int push_line(lua_State *L, const peri_loop *l, lua_State *co) {
  lua_Debug ar;
  if (!find_line(l, co, &ar)) return 0;
  lua_pushfstring(L, "%s:%d", ar.short_src, ar.currentline);
  return 1;
}

/* One that was put off is where it would be if it waited. */
static lua_State *runs_in(const peri_loop *l, const peri_task *t) {
  if (t == l->current && !l->callback) return l->top;
  return t->out.phase == PERI_ARMED || peri_task_is_preempted(t)
           ? peri_task_waits_in(t) : t->co;
}

int peri_trace_line(const peri_loop *l, const peri_task *t, lua_Debug *ar) {
  lua_State *co = t->co ? runs_in(l, t) : NULL;
  return co && find_line(l, co, ar);
}

void peri_trace_where(lua_State *L, const peri_loop *l,
                      const peri_task *t) {
  lua_Debug ar;
  if (peri_trace_line(l, t, &ar))
    lua_pushfstring(L, "%s:%d", ar.short_src, ar.currentline);
  else
    lua_pushliteral(L, "?");
}

static void push_name(lua_State *L, peri_loop *l, const peri_task *t) {
  peri_stash_push(l, L, PERI_STASH_NAMES);
  peri_task_push(L, l, t);
  if (lua_rawget(L, -2) == LUA_TNIL)
    lua_pushfstring(L, "task %d", (int)t->id);
  else
    lua_pushfstring(L, "task %d (%s)", (int)t->id,
                    luaL_tolstring(L, -1, NULL));
}

static void add_task(lua_State *L, peri_loop *l, luaL_Buffer *b,
                     const peri_task *t) {
  int top = lua_gettop(L);
  push_name(L, l, t);
  const char *name = lua_tostring(L, -1);
  peri_trace_where(L, l, t);
  peri_trace_wait(L, l, t);
  const char *line =
    lua_pushfstring(L, "\n  %s waits for %s at %s", name,
                    lua_tostring(L, -1), lua_tostring(L, -2));
  lua_replace(L, top + 1);
  lua_settop(L, top + 1);
  (void)line;
  luaL_addvalue(b);
}

#define LISTED 20 /* tasks named in the report */

/* The parked task in a slot, or NULL. */
static const peri_task *waiting_in(peri_loop *l, uint32_t slot) {
  lua_rawgeti(l->stash, PERI_STASH_TASKS, slot);
  const peri_task *t = lua_touserdata(l->stash, -1);
  lua_pop(l->stash, 1);
  return t && t->out.phase == PERI_ARMED ? t : NULL;
}

/* Pushes who waits for what; returns how many that are. */
static uint32_t push_waiting(lua_State *L, peri_loop *l) {
  luaL_Buffer b;
  uint32_t count = 0;
  luaL_buffinit(L, &b);
  for (uint32_t i = 1; i <= l->slots; i++) {
    const peri_task *t = waiting_in(l, i);
    if (t && count++ < LISTED) add_task(L, l, &b, t);
  }
  if (count > LISTED) {
    lua_pushfstring(L, "\n  and %d more", (int)(count - LISTED));
    luaL_addvalue(&b);
  }
  luaL_pushresult(&b);
  return count;
}

int peri_trace_deadlock(lua_State *L, peri_loop *l, peri_task *t) {
  peri_trace_check_fork(L, l);
  peri_error_room(L, LUA_MINSTACK);
  push_wait(L, l, t->wait, L);
  const char *what = lua_tostring(L, -1);
  uint32_t count = push_waiting(L, l);
  peri_error_new(L, "EDEADLK",
                 "nothing can wake this wait (%s): no timer, no open handle "
                 "and no other task is left to do it%s%s",
                 what, count ? "; waiting are" : "", lua_tostring(L, -1));
  return lua_error(L);
}

int peri_trace_cycle(lua_State *L) {
  return peri_error_raise(L, "EDEADLK",
                          "a task cannot wait for itself, nor for one that "
                          "waits for it");
}

/* }===================================================================== */

/* {== Where things were made =========================================== */

/* Pushes what messages call a block: its name, if it is a scope that has one.
** Function forms have no object, and that of a group has no string there. */
static const char *push_block_name(lua_State *L, peri_loop *l,
                                   const peri_block *b) {
  peri_push_anchored(l, L, b);
  if (!lua_isuserdata(L, -1) ||
      lua_getiuservalue(L, -1, 1) != LUA_TSTRING)
    return lua_pushliteral(L, "a scope or group");
  return lua_pushfstring(L, "the scope \"%s\"", lua_tostring(L, -1));
}

void peri_trace_left_open(lua_State *L, peri_loop *l) {
  const peri_block *b = PERI_OF(l->current->inner, peri_block, scope);
  peri_error_room(L, 6);
  int at = lua_gettop(L) + 1;
  peri_error_new(L, "EINVAL",
                 "%s opened at %s was left open; declare it <close>, so that "
                 "it is closed where its block ends",
                 push_block_name(L, l, b), b->where);
  lua_replace(L, at);
  lua_settop(L, at);
}

void peri_trace_push_line(lua_State *L, peri_loop *l) {
  if (push_line(L, l, L)) return;
  if (l->current == l->root) {
    lua_pushliteral(L, "?");
    return;
  }
  peri_task_push(L, l, l->current);
  peri_trace_push_made(L, l, -1);
  lua_remove(L, -2);
}

void peri_trace_note_made(lua_State *L, peri_loop *l) {
  peri_error_room(L, 8);
  peri_stash_push(l, L, PERI_STASH_MADE);
  lua_pushvalue(L, -2);
  peri_trace_push_line(L, l);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

void peri_trace_push_made(lua_State *L, peri_loop *l, int idx) {
  idx = lua_absindex(L, idx);
  peri_error_room(L, 2);
  peri_stash_push(l, L, PERI_STASH_MADE);
  lua_pushvalue(L, idx);
  lua_rawget(L, -2);
  lua_remove(L, -2);
}

/* }===================================================================== */

/* {== Why one cannot wait here ========================================= */

static int in_finalizer(lua_State *L) {
  lua_Debug ar;
  for (int i = 0; lua_getstack(L, i, &ar); i++) {
    lua_getinfo(L, "n", &ar);
    if (ar.name && !strcmp(ar.namewhat, "metamethod") &&
        (!strcmp(ar.name, "__gc") || !strcmp(ar.name, "gc")))
      return 1;
  }
  return 0;
}

/* Pushes the name under which the function on top is in a loaded module, as
** in "table.sort", or nil. Pops the function. */
static void push_global_name(lua_State *L) {
  int f = lua_gettop(L);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  for (lua_pushnil(L); lua_next(L, f + 1); lua_settop(L, f + 2)) {
    if (lua_type(L, f + 2) != LUA_TSTRING || !lua_istable(L, f + 3)) continue;
    for (lua_pushnil(L); lua_next(L, f + 3); lua_settop(L, f + 4)) {
      if (lua_type(L, f + 4) != LUA_TSTRING) continue;
      if (!lua_rawequal(L, f, f + 5)) continue;
      const char *module = lua_tostring(L, f + 2);
      const char *name = lua_tostring(L, f + 4);
      if (strcmp(module, LUA_GNAME))
        lua_pushfstring(L, "%s.%s", module, name);
      else
        lua_pushstring(L, name);
      lua_replace(L, f);
      lua_settop(L, f);
      return;
    }
  }
  lua_settop(L, f - 1);
  lua_pushnil(L);
}

/* These C functions can be yielded across; ours have the loop with them. */
static int lets_through(lua_State *L, const char *name) {
  if (name && (!strcmp(name, "pcall") || !strcmp(name, "xpcall") ||
               !strcmp(name, "dofile")))
    return 1;
  if (!lua_getupvalue(L, -1, 1)) return 0;
  int ours = lua_touserdata(L, -1) == (void *)PERI_LOOP(L);
  lua_pop(L, 1);
  return ours;
}

/* Pushes the name of the C function nearest to us that cannot be yielded
** across, on the stack of `at`: which may be that of a coroutine that runs this
** one, so that nothing may be raised there. */
static void push_culprit(lua_State *L, lua_State *at) {
  lua_Debug ar;
  int room = lua_checkstack(at, 1);
  for (int i = 1; room && lua_getstack(at, i, &ar); i++) {
    lua_getinfo(at, "nSf", &ar);
    lua_xmove(at, L, 1);
    if (*ar.what != 'C' || lets_through(L, ar.name)) {
      lua_pop(L, 1);
      continue;
    }
    push_global_name(L);
    if (lua_isnil(L, -1) && ar.name) lua_pushstring(L, ar.name);
    if (!lua_isnil(L, -1)) return;
    lua_pop(L, 1);
  }
  lua_pushliteral(L, "a C function");
}

void peri_trace_check_fork(lua_State *L, peri_loop *l) {
  if (l->poller->forked(l))
    peri_error_raise(L, "EPERM",
                     "this loop belongs to the parent process; after fork "
                     "it cannot be used");
}

static void refuse_outside(lua_State *L, peri_loop *l) {
  if (l->closing)
    peri_error_raise(L, "EPERM", "the loop is closed");
  if (l->hosted)
    peri_error_raise(L, "EPERM",
                     "cannot wait outside of a task: the host steps this "
                     "loop; wait in a task made by spawn");
  if (in_finalizer(L))
    peri_error_raise(L, "EPERM", "cannot wait inside __gc");
}

static void refuse_c(lua_State *L, lua_State *at) {
  if (in_finalizer(L))
    peri_error_raise(L, "EPERM", "cannot wait inside __gc");
  push_culprit(L, at);
  peri_error_raise(L, "EPERM",
                   "cannot wait inside %s, which Lua cannot suspend; wait "
                   "before or after it",
                   lua_tostring(L, -1));
}

/* The coroutine of the task, or of a generator in it, in which that is. */
static lua_State *pinned_in(const peri_loop *l) {
  lua_State *co = l->current->co;
  while (lua_isyieldable(co)) co = peri_coro_inner(co);
  return co;
}

void peri_trace_check_wait(lua_State *L, peri_loop *l) {
  peri_error_room(L, LUA_MINSTACK);
  peri_trace_check_fork(L, l);
  if (l->callback)
    peri_error_raise(L, "EPERM",
                     "cannot wait in a callback; spawn a task there");
  if (l->current == l->root)
    refuse_outside(L, l);
  else if (l->pinned)
    refuse_c(L, pinned_in(l));
  else if (l->top != L)
    peri_error_raise(L, "EPERM",
                     "cannot wait in a coroutine that coroutine.resume or "
                     "coroutine.wrap runs; make it with aio.coroutine, or "
                     "call aio.patch()");
  else
    refuse_c(L, L);
}

/* }===================================================================== */
