/*
** debug.c - what is noted in debug: cancellations that were swallowed, and
** steps that take long.
**
** Lua side: what task:info and the error hook give. Records are tables of Lua,
** under the task they are about, in a table with weak keys.
**
** SPDX-License-Identifier: MIT
*/
#include "debug.h"

#include "callback.h"
#include "error.h"
#include "trace.h"

/* {== Swallowed cancellations ========================================== */

/* While a task in which Cancelled was raised runs, `on` is the scope that was
** the cause; closing that forgets it. Waits that are not cancelled in between
** clear `raised`, and so the task has not left the cancelled scope if both are
** still there. */

/* A record has `raised`, where Cancelled was raised last, and, if it was
** swallowed, `waited`, where the task waited next, and `count`. The table has
** as well, for each "raised waited", that the hook was told of it. */

/* Pushes the table of records, and the record of `t` or nil. */
static int push_record(lua_State *L, peri_loop *l, const peri_task *t) {
  peri_error_room(L, 8);
  peri_stash_push(l, L, PERI_STASH_SWALLOWED);
  if (t == l->root) /* which has no userdata for others to see */
    lua_pushlightuserdata(L, l->root);
  else
    peri_task_push(L, l, t);
  return lua_rawget(L, -2) == LUA_TTABLE;
}

/* The same, with a new record if there is none. */
static void push_own_record(lua_State *L, peri_loop *l, const peri_task *t) {
  if (push_record(L, l, t)) return;
  lua_pop(L, 1);
  if (t == l->root)
    lua_pushlightuserdata(L, l->root);
  else
    peri_task_push(L, l, t);
  lua_createtable(L, 0, 3);
  lua_pushvalue(L, -1);
  lua_insert(L, -3);
  lua_rawset(L, -4);
}

static void note_raised(lua_State *L, peri_loop *l, const peri_task *t) {
  int top = lua_gettop(L);
  push_own_record(L, l, t);
  peri_trace_push_line(L, l);
  lua_setfield(L, -2, "raised");
  lua_settop(L, top);
}

/* Not in task.c: a wait that is not cancelled would pay for it. */
int peri_task_raise(lua_State *L, peri_loop *l, peri_task *t) {
  t->scope.raised = 1;
  t->on = (void *)(uintptr_t)peri_scope_culprit(t->inner);
  if (l->debug) note_raised(L, l, t);
  peri_scope_push_cancelled(L, l, t->inner);
  return lua_error(L);
}

/* Tells the hook, with the pair of lines on top, which it pops. */
static void report(lua_State *L, peri_loop *l, const peri_task *t,
                   int record) {
  lua_getfield(L, record, "raised");
  lua_getfield(L, record, "waited");
  lua_pushfstring(L, "the cancellation raised at %s did not end the task, "
                     "which waits again at %s", lua_tostring(L, -2),
                  lua_tostring(L, -1));
  if (t == l->root)
    lua_pushnil(L);
  else
    peri_task_push(L, l, t);
  luaL_traceback(L, L, NULL, 1);
  peri_report_stack(l, L, "swallowed");
}

/* Stack: the table, the record. */
static void note(lua_State *L, peri_loop *l, const peri_task *t) {
  int record = lua_gettop(L);
  if (lua_getfield(L, record, "raised") != LUA_TSTRING) return;
  peri_trace_push_line(L, l);
  lua_pushvalue(L, -1);
  lua_setfield(L, record, "waited");
  lua_getfield(L, record, "count");
  lua_pushinteger(L, lua_tointeger(L, -1) + 1);
  lua_setfield(L, record, "count");
  lua_pop(L, 1);
  lua_pushfstring(L, "%s %s", lua_tostring(L, -2), lua_tostring(L, -1));
  lua_pushvalue(L, -1);
  if (lua_rawget(L, record - 1) != LUA_TNIL) return;
  lua_pop(L, 1);
  lua_pushboolean(L, 1);
  lua_rawset(L, record - 1);
  report(L, l, t, record);
}

void peri_debug_swallowed(lua_State *L, peri_loop *l, peri_task *t) {
  if (t->on != peri_scope_culprit(t->inner)) return;
  l->swallowed++;
  if (!l->debug) return;
  int top = lua_gettop(L);
  push_own_record(L, l, t);
  note(L, l, t);
  lua_settop(L, top);
}

void peri_debug_info(lua_State *L, peri_loop *l, const peri_task *t) {
  static const char *const fields[] = {"raised", "waited", "count"};
  int top = lua_gettop(L);
  if (push_record(L, l, t) &&
      lua_getfield(L, top + 2, "count") != LUA_TNIL) {
    lua_createtable(L, 0, 3);
    for (int i = 0; i < 3; i++) {
      lua_getfield(L, top + 2, fields[i]);
      lua_setfield(L, -2, fields[i]);
    }
    lua_setfield(L, top, "swallowed");
  }
  lua_settop(L, top);
}

/* }===================================================================== */

/* {== Slow steps ======================================================= */

/* In protected mode, as it may be out of memory. The argument is the loop.
** The stash gets the stack, and the task if one runs. */
static int take_stack(lua_State *L) {
  peri_loop *l = lua_touserdata(L, 1);
  if (l->current != l->root && !l->callback) {
    peri_task_push(L, l, l->current);
    peri_trace_push_stacks(L, l, l->current, 1);
  } else {
    lua_pushnil(L);
    luaL_traceback(L, L, NULL, 1);
  }
  peri_stash_set(l, L, PERI_STASH_STALL_STACK);
  peri_stash_set(l, L, PERI_STASH_STALL_TASK);
  return 0;
}

void peri_debug_stall(lua_State *L, peri_loop *l) {
  if (!lua_checkstack(L, LUA_MINSTACK)) return;
  lua_pushcfunction(L, take_stack);
  lua_pushlightuserdata(L, l);
  if (lua_pcall(L, 1, 0, 0)) lua_pop(L, 1);
}

/* In protected mode. Stack: the loop, nanoseconds as a number. */
static int push_slow(lua_State *L) {
  peri_loop *l = lua_touserdata(L, 1);
  lua_Number seconds = lua_tonumber(L, 2);
  lua_pushfstring(L, "%f s passed without a wait", (LUAI_UACNUMBER)seconds);
  peri_stash_push(l, L, PERI_STASH_STALL_TASK);
  peri_stash_push(l, L, PERI_STASH_STALL_STACK);
  return 3;
}

/* To three places: that is as good as the clock of a busy machine. */
static lua_Number in_seconds(uint64_t ns) {
  return (lua_Number)(ns / 1000000) / 1000;
}

void peri_debug_slow(lua_State *L, peri_loop *l, uint64_t took) {
  if (!lua_checkstack(L, LUA_MINSTACK)) return;
  lua_pushcfunction(L, push_slow);
  lua_pushlightuserdata(L, l);
  lua_pushnumber(L, in_seconds(took));
  if (lua_pcall(L, 2, 3, 0))
    lua_pop(L, 1);
  else
    peri_report_stack(l, L, "slow");
  lua_pushnil(L);
  peri_stash_set(l, L, PERI_STASH_STALL_TASK);
  lua_pushnil(L);
  peri_stash_set(l, L, PERI_STASH_STALL_STACK);
}

/* }===================================================================== */
