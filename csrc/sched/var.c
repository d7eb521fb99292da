/*
** var.c - the context, opened to Lua: variables, bind, run, suppress.
**
** Lua side: context.var, bind, run, suppress; a variable has get, set, let,
** with. A variable is the key of its value in the map of a context; nil as
** a value is stored as a light pointer.
**
** A frame (of a task, a callback, or one of the functions below) holds one
** reference to its context. A map that nobody else holds is changed in
** place, any other is copied first.
**
** SPDX-License-Identifier: MIT
*/
#include "var.h"

#include "context.h"
#include "error.h"

#define VAR "perilune.var"
#define LET "perilune.let"
#define BOUND "perilune.bound"

static const char nil_value = 0;

/* {== Variables ======================================================== */

/* Raises where a change would be lost or leak: in a stock coroutine. */
static void check_frame(lua_State *L, peri_loop *l) {
  int ours = l->callback ? L == l->called : peri_task_runs_in(l, L);
  if (!ours)
    peri_error_raise(L, "EPERM",
                     "cannot change the context in a coroutine that "
                     "coroutine.resume or coroutine.wrap runs; make it with "
                     "aio.coroutine, or call aio.patch()");
}

/* Pushes what the map has for the variable at `idx`, nil if nothing. */
static void push_raw(lua_State *L, peri_loop *l, int idx) {
  idx = lua_absindex(L, idx);
  if (!l->context) {
    lua_pushnil(L);
    return;
  }
  peri_context_push_map(L, l, l->context);
  lua_pushvalue(L, idx);
  lua_rawget(L, -2);
  lua_remove(L, -2);
}

/* Sets what the map has for the variable at `var` to the value at `idx`. */
static void set_raw(lua_State *L, peri_loop *l, int var, int idx) {
  var = lua_absindex(L, var);
  idx = lua_absindex(L, idx);
  peri_error_room(L, 4);
  if (!l->context || l->context->refs > 1) {
    peri_context *c = peri_context_copy(L, l);
    c->suppressed = l->context && l->context->suppressed;
    peri_context_release(l, peri_context_swap(l, c));
  }
  peri_context_push_map(L, l, l->context);
  lua_pushvalue(L, var);
  lua_pushvalue(L, idx);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

/* A value as it is stored. */
static void encode(lua_State *L, int idx) {
  if (!lua_isnil(L, idx)) return;
  lua_pushlightuserdata(L, (void *)(uintptr_t)&nil_value);
  lua_replace(L, idx);
}

static void check_var(lua_State *L) {
  luaL_checkudata(L, 1, VAR);
}

/* context.var([name [, default]]) -> a variable. Never waits. */
static int var(lua_State *L) {
  if (!lua_isnoneornil(L, 1)) luaL_checkstring(L, 1);
  lua_settop(L, 2);
  lua_newuserdatauv(L, 1, 2);
  luaL_setmetatable(L, VAR);
  lua_insert(L, 1);
  lua_setiuservalue(L, 1, 1); /* the default */
  lua_setiuservalue(L, 1, 2); /* the name */
  return 1;
}

/* var:get() -> its value in the current context, else the default. Never
** waits. */
static int var_get(lua_State *L) {
  check_var(L);
  push_raw(L, PERI_LOOP(L), 1);
  if (lua_islightuserdata(L, -1) && lua_touserdata(L, -1) == &nil_value)
    lua_pushnil(L);
  else if (lua_isnil(L, -1))
    lua_getiuservalue(L, 1, 1);
  return 1;
}

/* var:set(v) -> var. Changes the context of this frame only: of this task,
** callback or bound function. Raises in a stock coroutine. Never waits. */
static int var_set(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  check_var(L);
  luaL_checkany(L, 2);
  check_frame(L, l);
  lua_settop(L, 2);
  encode(L, 2);
  set_raw(L, l, 1, 2);
  lua_settop(L, 1);
  return 1;
}

/* var:let(v) -> an object that, closed, puts back what was: to be assigned
** to a variable declared <close>. Raises in a stock coroutine. Never waits. */
static int var_let(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  check_var(L);
  luaL_checkany(L, 2);
  check_frame(L, l);
  lua_settop(L, 2);
  encode(L, 2);
  lua_newuserdatauv(L, 1, 2);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, 3, 1);
  push_raw(L, l, 1);
  lua_setiuservalue(L, 3, 2);
  luaL_setmetatable(L, LET);
  set_raw(L, l, 1, 2);
  return 1;
}

static int let_close(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  luaL_checkudata(L, 1, LET);
  lua_settop(L, 1);
  if (lua_getiuservalue(L, 1, 1) == LUA_TNIL) return 0;
  lua_getiuservalue(L, 1, 2);
  set_raw(L, l, 2, 3);
  lua_pushnil(L);
  lua_setiuservalue(L, 1, 1); /* closing again does nothing */
  return 0;
}

static int var_tostring(lua_State *L) {
  check_var(L);
  lua_getiuservalue(L, 1, 2);
  lua_pushfstring(L, "context variable: %s",
                  lua_isnil(L, -1) ? "?" : lua_tostring(L, -1));
  return 1;
}

/* }===================================================================== */

/* {== Calling in another context ======================================= */

/* Holds a reference, and gives it up when it is collected. */
typedef struct bound {
  peri_context *context;
} bound;

static bound *bound_new(lua_State *L) {
  bound *b = lua_newuserdatauv(L, sizeof *b, 0);
  b->context = NULL;
  luaL_setmetatable(L, BOUND);
  return b;
}

static int bound_gc(lua_State *L) {
  bound *b = lua_touserdata(L, 1);
  peri_context_release(PERI_LOOP(L), b->context);
  b->context = NULL;
  return 0;
}

/* The function has returned: back to the context of before. */
static int inside_k(lua_State *L, int status, lua_KContext ctx) {
  peri_loop *l = PERI_LOOP(L);
  bound *b = lua_touserdata(L, 1);
  peri_context *was = b ? b->context : NULL;
  (void)ctx;
  if (b) b->context = NULL;
  peri_context_release(l, peri_context_swap(l, was));
  l->passing = status != LUA_OK && status != LUA_YIELD;
  if (l->passing) return lua_error(L);
  return lua_gettop(L) - 2;
}

/* Calls the function at `fn` with what is above it, in the context `c`,
** whose reference it takes over. What is below the function goes. The context
** of before is held by an object in the frame, if there is one: a generator
** that is dropped never comes back here. */
static int call_inside(lua_State *L, peri_loop *l, int fn, peri_context *c) {
  bound *b = NULL;
  if (l->context)
    b = bound_new(L);
  else
    lua_pushnil(L);
  lua_insert(L, fn);
  peri_stash_push(l, L, PERI_STASH_HANDLER);
  lua_insert(L, fn + 1);
  for (; fn > 1; fn--) lua_remove(L, 1);
  peri_context *was = peri_context_swap(l, c);
  if (b) b->context = was;
  int status = lua_pcallk(L, lua_gettop(L) - 3, LUA_MULTRET, 2, 0, inside_k);
  return inside_k(L, status, 0);
}

/* A copy of the current context, for a frame of its own. */
static peri_context *own_copy(lua_State *L, peri_loop *l) {
  peri_context *c = peri_context_copy(L, l);
  c->suppressed = l->context && l->context->suppressed;
  return c;
}

/* var:with(v, fn, ...) -> the values of fn, called with var set to v. Waits
** if fn does. */
static int var_with(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  check_var(L);
  luaL_checkany(L, 2);
  peri_check_callable(L, 3);
  check_frame(L, l);
  encode(L, 2);
  peri_context *c = own_copy(L, l);
  peri_context_push_map(L, l, c);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  lua_rawset(L, -3);
  lua_pop(L, 1);
  return call_inside(L, l, 3, c);
}

/* context.run(fn, ...) -> the values of fn, called in a new logical context
** with the same values. Waits if fn does. */
static int run(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_check_callable(L, 1);
  check_frame(L, l);
  return call_inside(L, l, 1, own_copy(L, l));
}

/* context.suppress(fn, ...) -> the values of fn. What is registered inside
** gets the root context. Waits if fn does. */
static int suppress(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_check_callable(L, 1);
  check_frame(L, l);
  peri_context *c = own_copy(L, l);
  c->suppressed = 1;
  return call_inside(L, l, 1, c);
}

/* }===================================================================== */

/* {== Bound functions ================================================== */

/* Upvalues: loop, function, the context. */
static int call_bound(lua_State *L) {
  bound *b = lua_touserdata(L, lua_upvalueindex(3));
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_insert(L, 1);
  return call_inside(L, PERI_LOOP(L), 1, peri_context_retain(b->context));
}

static int call_in(lua_State *L) {
  bound *b = lua_touserdata(L, lua_upvalueindex(2));
  peri_check_callable(L, 1);
  return call_inside(L, PERI_LOOP(L), 1, peri_context_retain(b->context));
}

void peri_var_push_caller(lua_State *L, peri_loop *l, peri_context *c) {
  peri_stash_push(l, L, PERI_STASH_LOOP);
  bound *b = bound_new(L);
  b->context = peri_context_retain(c);
  lua_pushcclosure(L, call_in, 2);
}

/* context.bind(fn) -> function that calls fn in the context of now. Waits if
** fn does. */
static int bind(lua_State *L) {
  peri_check_callable(L, 1);
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  bound *b = bound_new(L);
  lua_pushcclosure(L, call_bound, 3);
  b->context = peri_context_capture(PERI_LOOP(L));
  return 1;
}

/* }===================================================================== */

static void new_type(lua_State *L, peri_loop *l, const char *name,
                     const luaL_Reg *methods) {
  luaL_newmetatable(L, name);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, methods, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

void peri_var_open(lua_State *L, peri_loop *l) {
  static const luaL_Reg functions[] = {
    {"var", var}, {"bind", bind}, {"run", run}, {"suppress", suppress},
    {NULL, NULL}};
  static const luaL_Reg of_var[] = {
    {"get", var_get}, {"set", var_set}, {"let", var_let},
    {"with", var_with}, {"__tostring", var_tostring}, {NULL, NULL}};
  static const luaL_Reg of_let[] = {{"__close", let_close}, {NULL, NULL}};
  static const luaL_Reg of_bound[] = {{"__gc", bound_gc}, {NULL, NULL}};
  new_type(L, l, VAR, of_var);
  new_type(L, l, LET, of_let);
  new_type(L, l, BOUND, of_bound);
  luaL_newlibtable(L, functions);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, functions, 1);
  lua_setfield(L, -2, "context");
}
