/*
** var.c - the context, opened to Lua: variables, bind, run, suppress.
**
** Lua side: context.var, bind, run, suppress (and those of key.c); a variable
** has get, set, let, with. A variable is the key of its value in the map of a
** context; nil as a value is stored as a light pointer.
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
#include "key.h"
#include "type.h"

#define LET "perilune.let"
#define BOUND "perilune.bound"

static const char var_type[] = "perilune.var";
static const char nil_value = 0;

/* In var:get and var:set. */
#define MAP_AT_HAND lua_upvalueindex(2)

/* {== Variables ======================================================== */

/* Frames are changed by those who run in them only. */
void peri_var_check_frame(lua_State *L, const peri_loop *l) {
  if (peri_frame_foreign(l))
    peri_error_raise(L, "EPERM", "cannot change the context inside __gc");
  if (l->in != L)
    peri_error_raise(L, "EPERM",
                     "cannot change the context in a coroutine that "
                     "coroutine.resume or coroutine.wrap runs; make it with "
                     "aio.coroutine, or call aio.patch()");
}

/* Pushes what the map of `c` has for the variable at `idx`, nil if nothing;
** returns its type. */
static int push_raw(lua_State *L, peri_loop *l, peri_context *c, int idx) {
  if (!c) {
    lua_pushnil(L);
    return LUA_TNIL;
  }
  peri_context_push_map(L, l, c);
  lua_pushvalue(L, idx);
  int type = lua_rawget(L, -2);
  lua_replace(L, -2);
  return type;
}

/* The context of this frame, as one that nobody else holds. */
static peri_context *own_context(lua_State *L, peri_loop *l) {
  peri_context *was = l->frame.context;
  if (was && was->refs == 1) return was;
  peri_context *c = peri_context_copy(L, l, l->frame.context);
  c->suppressed = was && was->suppressed;
  l->frame.context = c;
  peri_context_release(l, was);
  return c;
}

/* Sets what the map has for the variable at `var` to the value at `idx`; both
** count from the bottom. There is room, as in any C function. */
static void set_raw(lua_State *L, peri_loop *l, int var, int idx) {
  peri_context_push_map(L, l, own_context(L, l));
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
  peri_type_check(L, 1, var_type, sizeof(const char *));
}

/* The new context takes its place before anything else can fail. */
void peri_var_put(lua_State *L, peri_loop *l, peri_context **c) {
  check_var(L);
  encode(L, 2);
  peri_context *was = *c;
  *c = peri_context_copy(L, l, was);
  peri_context_release(l, was);
  peri_context_push_map(L, l, *c);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

/* context.var([name [, default]]) -> a variable. Never waits. */
static int var(lua_State *L) {
  if (!lua_isnoneornil(L, 1)) luaL_checkstring(L, 1);
  lua_settop(L, 2);
  const char **v = lua_newuserdatauv(L, sizeof *v, 2);
  *v = var_type;
  luaL_setmetatable(L, var_type);
  lua_insert(L, 1);
  lua_setiuservalue(L, 1, 1); /* the default */
  lua_setiuservalue(L, 1, 2); /* the name */
  return 1;
}

/* Pushes what the current context has for the value at 1: nothing, unless
** that is a variable. Returns its type. Only in var:get. */
static int push_now(lua_State *L, peri_loop *l) {
  peri_context *c = peri_context_now(l);
  if (!c) return LUA_TNIL;
  peri_context_map(l, c);
  lua_pushvalue(L, 1);
  return lua_rawget(L, MAP_AT_HAND);
}

/* var:get() -> its value in the current context, else the default. Never
** waits. */
static int var_get(lua_State *L) {
  lua_settop(L, 1);
  int type = push_now(L, PERI_LOOP(L));
  if (type == LUA_TNIL) {
    check_var(L);
    lua_getiuservalue(L, 1, 1);
  } else if (type == LUA_TLIGHTUSERDATA &&
             lua_touserdata(L, -1) == (const void *)&nil_value) {
    lua_pushnil(L);
  }
  return 1;
}

/* var:set(v) -> var. Changes the context of this frame only: of this task,
** callback or bound function. Raises in a stock coroutine. Never waits. */
static int var_set(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  check_var(L);
  luaL_checkany(L, 2);
  peri_var_check_frame(L, l);
  encode(L, 2);
  peri_context_map(l, own_context(L, l));
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  lua_rawset(L, MAP_AT_HAND);
  lua_settop(L, 1);
  return 1;
}

/* Closed by anyone else than who made it, it does nothing: the values of one
** frame are not for another. */
typedef struct let {
  lua_State *in;
  uint32_t task;
} let;

/* var:let(v) -> an object that, closed, puts back what was: to be assigned
** to a variable declared <close>. Raises in a stock coroutine. Never waits. */
static int var_let(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  check_var(L);
  luaL_checkany(L, 2);
  peri_var_check_frame(L, l);
  lua_settop(L, 2);
  encode(L, 2);
  let *b = lua_newuserdatauv(L, sizeof *b, 2);
  b->in = L;
  b->task = l->current->id;
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, 3, 1);
  push_raw(L, l, l->frame.context, 1);
  lua_setiuservalue(L, 3, 2);
  luaL_setmetatable(L, LET);
  set_raw(L, l, 1, 2);
  return 1;
}

static int let_close(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  const let *b = luaL_checkudata(L, 1, LET);
  lua_settop(L, 1);
  if (b->in != l->in || b->task != l->current->id) return 0;
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

/* {== Calling in another frame ========================================= */

/*
** Holds a frame, and gives it up when it is collected. A bound function has
** one with the frame it is called in. A call under way has one on its stack,
** to be closed, with the frame of before: so that it comes back whichever way
** the call ends, by force as well, before outer handlers run.
*/
typedef struct bound {
  peri_frame frame;
  peri_logical *inner; /* lives as long as the call; or NULL */
  lua_State *in;       /* where the frame of before is */
  uint8_t finalizer;   /* is that inside __gc? */
  uint8_t called;      /* the call is under way */
} bound;

static bound *bound_new(lua_State *L, peri_loop *l) {
  bound *b = lua_newuserdatauv(L, sizeof *b, 0);
  b->frame = (peri_frame){NULL, NULL};
  b->inner = NULL;
  b->called = 0;
  peri_stash_push(l, L, PERI_STASH_BOUND);
  lua_setmetatable(L, -2);
  return b;
}

static void live_in(bound *b, peri_logical *g) {
  b->inner = peri_logical_retain(g);
  peri_logical_enter(g);
}

static int bound_gc(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  bound *b = lua_touserdata(L, 1);
  peri_frame_release(l, &b->frame);
  peri_logical_leave(l, b->inner);
  peri_logical_release(l, b->inner);
  b->inner = NULL;
  return 0;
}

/* The call has ended: back to the frame of before, unless somebody else than
** the one whose frame this is closes the coroutine. */
static int bound_close(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  bound *b = lua_touserdata(L, 1);
  if (!b->called) return 0;
  b->called = 0;
  if (l->in == L) {
    b->frame = peri_frame_swap(l, b->frame);
    l->in = b->in;
    l->finalizer = b->finalizer & 1;
  }
  return bound_gc(L);
}

static int inside_k(lua_State *L, int status, lua_KContext ctx) {
  (void)ctx;
  if (status == LUA_OK || status == LUA_YIELD) return lua_gettop(L) - 2;
  PERI_LOOP(L)->passing = 1;
  return lua_error(L);
}

/* Makes the frame of the object at 1 current, which gets that of before. */
static void enter(lua_State *L, peri_loop *l) {
  bound *b = lua_touserdata(L, 1);
  lua_toclose(L, 1);
  b->in = l->in;
  b->finalizer = l->finalizer;
  b->called = 1;
  b->frame = peri_frame_swap(l, b->frame);
  l->in = L;
  l->finalizer = peri_in_finalizer(l);
}

/* Calls the function at `fn` with what is above it, in the frame of the
** object on top. What is below the function goes. Where the frame is not that
** of L (a stock coroutine) the call cannot be left by a yield. */
static int call_inside(lua_State *L, peri_loop *l, int fn) {
  int ours = l->in == L;
  lua_insert(L, fn);
  peri_stash_push(l, L, PERI_STASH_HANDLER);
  lua_insert(L, fn + 1);
  for (; fn > 1; fn--) lua_remove(L, 1);
  enter(L, l);
  int nargs = lua_gettop(L) - 3;
  int status = ours ? lua_pcallk(L, nargs, LUA_MULTRET, 2, 0, inside_k)
                    : lua_pcall(L, nargs, LUA_MULTRET, 2);
  return inside_k(L, status, 0);
}

/* Pushes an object with a copy of the current frame. */
static bound *own_frame(lua_State *L, peri_loop *l) {
  bound *b = bound_new(L, l);
  peri_context *c = peri_context_copy(L, l, l->frame.context);
  b->frame.context = c;
  c->suppressed = l->frame.context && l->frame.context->suppressed;
  b->frame.logical = peri_logical_retain(l->frame.logical);
  return b;
}

/* var:with(v, fn, ...) -> the values of fn, called with var set to v. Waits
** if fn does. */
static int var_with(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  check_var(L);
  luaL_checkany(L, 2);
  peri_check_callable(L, 3);
  peri_var_check_frame(L, l);
  encode(L, 2);
  bound *b = own_frame(L, l);
  peri_context_push_map(L, l, b->frame.context);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  lua_rawset(L, -3);
  lua_pop(L, 1);
  return call_inside(L, l, 3);
}

/* context.run(fn, ...) -> the values of fn, called in a new logical context
** with the same values. That ends with the call, if what was begun in it has
** ended as well. Waits if fn does. */
static int run(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_check_callable(L, 1);
  peri_var_check_frame(L, l);
  bound *b = own_frame(L, l);
  peri_logical *g = peri_logical_new(L, l);
  peri_logical_release(l, b->frame.logical);
  b->frame.logical = g;
  live_in(b, g);
  return call_inside(L, l, 1);
}

/* context.suppress(fn, ...) -> the values of fn. What is registered inside
** gets the root context. Waits if fn does. */
static int suppress(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_check_callable(L, 1);
  peri_var_check_frame(L, l);
  own_frame(L, l)->frame.context->suppressed = 1;
  return call_inside(L, l, 1);
}

/* }===================================================================== */

/* {== Bound functions ================================================== */

/* Calls the function at 1 in the frame of the object at `idx`. */
static int call_in_frame(lua_State *L, int idx) {
  peri_loop *l = PERI_LOOP(L);
  const bound *of = lua_touserdata(L, idx);
  bound *b = bound_new(L, l);
  b->frame = peri_frame_retain(of->frame);
  live_in(b, b->frame.logical);
  return call_inside(L, l, 1);
}

/* Upvalues: loop, function, the frame. */
static int call_bound(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_insert(L, 1);
  return call_in_frame(L, lua_upvalueindex(3));
}

static int call_in(lua_State *L) {
  peri_check_callable(L, 1);
  return call_in_frame(L, lua_upvalueindex(2));
}

/* A task in whose logical context nothing was registered has none yet. */
void peri_var_push_caller(lua_State *L, peri_loop *l, const peri_frame *f) {
  peri_stash_push(l, L, PERI_STASH_LOOP);
  bound *b = bound_new(L, l);
  b->frame = f ? peri_frame_retain(*f) : peri_frame_root(l);
  if (!b->frame.logical) b->frame.logical = peri_logical_new(L, l);
  lua_pushcclosure(L, call_in, 2);
}

void peri_var_bind(lua_State *L, peri_loop *l) {
  peri_task_logical(L, l);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  lua_insert(L, -2);
  bound *b = bound_new(L, l);
  lua_pushcclosure(L, call_bound, 3);
  b->frame = peri_frame_capture(l);
}

/* context.bind(fn) -> function that calls fn in the context of now. Waits if
** fn does; in a stock coroutine it cannot be left by a yield. */
static int bind(lua_State *L) {
  peri_check_callable(L, 1);
  lua_settop(L, 1);
  peri_var_bind(L, PERI_LOOP(L));
  return 1;
}

/* }===================================================================== */

/* The methods that have the map at hand. */
static void add_quick(lua_State *L, peri_loop *l, const char *name,
                      lua_CFunction fn, int place) {
  luaL_getmetatable(L, var_type);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  lua_pushnil(L);
  lua_pushcclosure(L, fn, 2);
  lua_pushvalue(L, -1);
  peri_stash_set(l, L, place);
  lua_setfield(L, -2, name);
  lua_pop(L, 1);
}

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
    {"let", var_let}, {"with", var_with}, {"__tostring", var_tostring}, {NULL, NULL}};
  static const luaL_Reg of_let[] = {{"__close", let_close}, {NULL, NULL}};
  static const luaL_Reg of_bound[] = {
    {"__gc", bound_gc}, {"__close", bound_close}, {NULL, NULL}};
  new_type(L, l, var_type, of_var);
  add_quick(L, l, "get", var_get, PERI_STASH_GET);
  add_quick(L, l, "set", var_set, PERI_STASH_SET);
  new_type(L, l, LET, of_let);
  new_type(L, l, BOUND, of_bound);
  luaL_getmetatable(L, BOUND);
  peri_stash_set(l, L, PERI_STASH_BOUND);
  luaL_newlibtable(L, functions);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, functions, 1);
  peri_key_functions(L, l);
  lua_setfield(L, -2, "context");
}
