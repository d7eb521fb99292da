/*
** inspect.c - looking at tasks: methods of tasks, and who is alive.
**
** Lua side: task:traceback, task:info; core.task, tasks, traceback,
** is_cancelled, error, fail.
**
** SPDX-License-Identifier: MIT
*/
#include "inspect.h"

#include "debug.h"
#include "error.h"
#include "future.h"
#include "group.h"
#include "trace.h"

/* {== Methods of tasks ================================================= */

/* task:traceback() -> the stack of a task that has not ended, through its
** generators; of one that failed, where that was; else nil. Never waits. */
static int task_traceback(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_task *t = peri_task_check(L, l, 1);
  lua_settop(L, 1);
  if (t->out.state == PERI_FAILED) {
    lua_getiuservalue(L, 1, 1);
    peri_trace_push(L, l, -1);
  } else if (!t->co) {
    lua_pushnil(L);
  } else if (t == l->current && !peri_task_runs_in(l, L)) {
    luaL_traceback(L, L, NULL, 1); /* a stock coroutine, or a callback */
  } else {
    peri_trace_push_stacks(L, l, t, 1);
  }
  return 1;
}

const char *peri_task_state(const peri_loop *l, const peri_task *t) {
  static const char *const names[] = {"", "ok", "failed", "cancelled"};
  if (t->out.state != PERI_PENDING) return names[t->out.state];
  if (t == l->current) return "running";
  return t->out.phase == PERI_ARMED ? "waiting" : "ready";
}

static void push_parent(lua_State *L, peri_loop *l, const peri_task *t) {
  peri_task *parent = peri_group_parent(peri_task_owner(t));
  if (parent && parent != l->root)
    peri_task_push(L, l, parent);
  else
    lua_pushnil(L);
}

static void info_live(lua_State *L, peri_loop *l, const peri_task *t) {
  push_parent(L, l, t);
  lua_setfield(L, -2, "parent");
  peri_trace_where(L, l, t);
  lua_setfield(L, -2, "where");
  if (t->out.phase != PERI_ARMED) return;
  peri_trace_wait(L, l, t);
  lua_setfield(L, -2, "waiting_on");
  uint32_t ms = (uint32_t)(l->now / 1000000) - t->since;
  lua_pushnumber(L, ((lua_Number)l->now / 1e9) - (lua_Number)ms / 1000);
  lua_setfield(L, -2, "since");
}

/* Sets a field of the table on top to what the stash has for the task at 1,
** if anything. */
static void info_noted(lua_State *L, peri_loop *l, int index,
                       const char *name) {
  peri_stash_push(l, L, index);
  lua_pushvalue(L, 1);
  lua_rawget(L, -2);
  lua_setfield(L, -3, name);
  lua_pop(L, 1);
}

/* task:info() -> table: id, name, state ("ready", "running", "waiting", or
** how it ended), waiting_on and since (loop:time's clock) if it waits, where
** (file:line) and parent (a task) if it has not ended; in debug, spawned_at
** (file:line) and swallowed, a table with count, raised and waited (file:line)
** if it swallowed a cancellation. Never waits. */
static int task_info(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_task *t = peri_task_check(L, l, 1);
  lua_settop(L, 1);
  lua_createtable(L, 0, 8);
  lua_pushinteger(L, t->id);
  lua_setfield(L, -2, "id");
  lua_pushstring(L, peri_task_state(l, t));
  lua_setfield(L, -2, "state");
  info_noted(L, l, PERI_STASH_NAMES, "name");
  info_noted(L, l, PERI_STASH_MADE, "spawned_at");
  if (t->co) info_live(L, l, t);
  if (t->co) peri_debug_info(L, l, t);
  return 1;
}

/* }===================================================================== */

/* {== Functions ======================================================== */

/* aio.task() -> the running task; nil in the main chunk and in callbacks.
** Never waits. */
static int task(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  if (l->current == l->root)
    lua_pushnil(L);
  else
    peri_task_push(L, l, l->current);
  return 1;
}

/* core.tasks() -> list of the tasks that have not ended, in no order. */
static int tasks(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  lua_newtable(L);
  lua_Integer n = 0;
  for (uint32_t i = 1; i <= l->slots; i++) {
    lua_rawgeti(l->stash, PERI_STASH_TASKS, i);
    peri_task *t = lua_touserdata(l->stash, -1);
    if (!t || !t->co) {
      lua_pop(l->stash, 1);
      continue;
    }
    lua_xmove(l->stash, L, 1);
    lua_rawseti(L, -2, ++n);
  }
  return 1;
}

/* aio.traceback(e) -> the stack of the last task failure with this value,
** or nil. The last 16 failures are remembered. Never waits. */
static int traceback(lua_State *L) {
  luaL_checkany(L, 1);
  peri_trace_push(L, PERI_LOOP(L), 1);
  return 1;
}

/* aio.is_cancelled(e) -> true if e is a Cancelled object: what a wait in a
** cancelled scope raises. Never waits. */
static int is_cancelled(lua_State *L) {
  luaL_checkany(L, 1);
  lua_pushboolean(L, peri_cancelled_is(L, 1));
  return 1;
}

/* core.error(code, text [, fields]) -> error object. */
static int error_new(lua_State *L) {
  const char *code = luaL_checkstring(L, 1);
  const char *text = luaL_checkstring(L, 2);
  lua_settop(L, 3);
  peri_error_new(L, code, "%s", text);
  if (!lua_istable(L, 3)) return 1;
  for (lua_pushnil(L); lua_next(L, 3);) {
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, -4);
  }
  return 1;
}

static int pcall_k(lua_State *L, int status, lua_KContext ctx) {
  (void)ctx;
  if (status == LUA_OK || status == LUA_YIELD) {
    lua_pushboolean(L, 1);
    lua_replace(L, 1);
    return lua_gettop(L);
  }
  if (peri_cancelled_is(L, -1)) return lua_error(L);
  lua_pushboolean(L, 0);
  lua_insert(L, -2);
  return 2;
}

/* aio.pcall(fn, ...) -> as pcall, but lets a cancellation pass. Waits if fn
** does. */
static int protected_call(lua_State *L) {
  luaL_checkany(L, 1);
  lua_pushboolean(L, 1);
  lua_insert(L, 1);
  int status = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, pcall_k);
  return pcall_k(L, status, 0);
}

/* }===================================================================== */

static const luaL_Reg functions[] = {
  {"task", task}, {"tasks", tasks}, {"traceback", traceback},
  {"is_cancelled", is_cancelled}, {"error", error_new},
  {"pcall", protected_call}, {NULL, NULL}};

static const luaL_Reg of_task[] = {
  {"traceback", task_traceback}, {"info", task_info}, {NULL, NULL}};

void peri_inspect_open(lua_State *L, peri_loop *l) {
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, functions, 1);
  luaL_newmetatable(L, "perilune.task");
  peri_future_methods(L, l);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, of_task, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  l->kinds[PERI_TASK] = lua_topointer(L, -1);
  peri_stash_set(l, L, PERI_STASH_TASK);
}
