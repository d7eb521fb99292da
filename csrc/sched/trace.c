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

#include "error.h"

#define RING 16 /* failures remembered */

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

/* {== Who waits for what =============================================== */

/* The innermost Lua function of the coroutine is the one to name. */
void peri_trace_where(lua_State *L, const peri_task *t) {
  lua_Debug ar;
  for (int i = 0; t->co && lua_getstack(t->co, i, &ar); i++) {
    lua_getinfo(t->co, "Sl", &ar);
    if (ar.currentline <= 0) continue;
    lua_pushfstring(L, "%s:%d", ar.short_src, ar.currentline);
    return;
  }
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
  peri_trace_where(L, t);
  const char *line =
    lua_pushfstring(L, "\n  %s waits for %s at %s", name,
                    t->wait ? t->wait->name : "?", lua_tostring(L, -1));
  lua_replace(L, top + 1);
  lua_settop(L, top + 1);
  (void)line;
  luaL_addvalue(b);
}

#define LISTED 20 /* tasks named in the report */

int peri_trace_deadlock(lua_State *L, peri_loop *l, peri_task *t) {
  peri_trace_check_fork(L, l);
  luaL_Buffer b;
  uint32_t listed = 0;
  const char *what = t->wait ? t->wait->name : "?";
  peri_error_room(L, LUA_MINSTACK);
  luaL_buffinit(L, &b);
  for (uint32_t i = 1; i <= l->slots && listed < LISTED; i++) {
    lua_rawgeti(l->stash, PERI_STASH_TASKS, i);
    peri_task *other = lua_touserdata(l->stash, -1);
    lua_pop(l->stash, 1);
    if (!other || other->out.phase != PERI_ARMED) continue;
    add_task(L, l, &b, other);
    listed++;
  }
  luaL_pushresult(&b);
  peri_error_new(L, "EDEADLK",
                 "nothing can wake this wait (%s): no timer, no open handle "
                 "and no other task is left to do it%s%s",
                 what, listed ? "; waiting are" : "", lua_tostring(L, -1));
  return lua_error(L);
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
** across. */
static void push_culprit(lua_State *L) {
  lua_Debug ar;
  for (int i = 1; lua_getstack(L, i, &ar); i++) {
    lua_getinfo(L, "nSf", &ar);
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
    peri_error_raise(L, "EPERM", "the Lua state is being closed");
  if (l->hosted)
    peri_error_raise(L, "EPERM",
                     "cannot wait outside of a task: the host steps this "
                     "loop; wait in a task made by spawn");
  if (in_finalizer(L))
    peri_error_raise(L, "EPERM", "cannot wait inside __gc");
}

static void refuse_c(lua_State *L) {
  if (in_finalizer(L))
    peri_error_raise(L, "EPERM", "cannot wait inside __gc");
  push_culprit(L);
  peri_error_raise(L, "EPERM",
                   "cannot wait inside %s, which Lua cannot suspend; wait "
                   "before or after it",
                   lua_tostring(L, -1));
}

void peri_trace_check_wait(lua_State *L, peri_loop *l) {
  peri_error_room(L, LUA_MINSTACK);
  peri_trace_check_fork(L, l);
  if (l->callback)
    peri_error_raise(L, "EPERM",
                     "cannot wait in a callback; spawn a task there");
  if (l->current == l->root)
    refuse_outside(L, l);
  else if (l->top != L)
    peri_error_raise(L, "EPERM",
                     "cannot wait in a coroutine that coroutine.resume or "
                     "coroutine.wrap runs; make it with aio.coroutine, or "
                     "call aio.patch()");
  else
    refuse_c(L);
}

/* }===================================================================== */
