/*
** coro.c - waits that pass through generators.
**
** Lua side: aio.coroutine: create, resume, wrap, close, status, which behave
** as Lua's, except that a wait inside suspends the whole task and not just
** the generator: the resume that runs the generator is itself suspended,
** and resumes the generator again when the task goes on.
**
** What we know of a coroutine is a userdata, in a table with weak keys.
**
** SPDX-License-Identifier: MIT
*/
#include "coro.h"

#include "context.h"
#include "error.h"
#include "hook.h"
#include "trace.h"

#define GENERATOR "perilune.generator"

static const char not_yours[] = "cannot resume a task from outside the loop";

typedef struct generator {
  peri_frame frame;      /* its own, while it does not run */
  peri_frame outer;      /* of who resumed it, while it runs */
  peri_logical *logical; /* that it was made in; lives while it runs */
  lua_State *in;         /* where the frame of who resumed it is */
  peri_scope *inner;     /* innermost scope when it was resumed */
  uint8_t busy;          /* runs, or waits: cannot be resumed */
  uint8_t relays;        /* waits inside suspend the task, */
  uint8_t pins;          /* ... which they cannot where it was resumed */
  uint8_t finalizer;     /* it was resumed inside __gc */
} generator;

/* {== What we know of a coroutine ====================================== */

static int generator_gc(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  generator *g = luaL_checkudata(L, 1, GENERATOR);
  peri_frame_release(l, &g->frame);
  peri_frame_release(l, &g->outer);
  if (g->busy) peri_logical_leave(l, g->logical);
  peri_logical_release(l, g->logical);
  g->logical = NULL;
  g->busy = 0;
  return 0;
}

/* Makes the record of the coroutine on top; it keeps the context in which
** it was created. */
static generator *generator_new(lua_State *L, peri_loop *l) {
  peri_task_logical(L, l);
  peri_stash_push(l, L, PERI_STASH_CORO);
  lua_pushvalue(L, -2);
  generator *g = lua_newuserdatauv(L, sizeof *g, 0);
  g->frame = g->outer = (peri_frame){NULL, NULL};
  g->logical = NULL;
  g->inner = NULL;
  g->busy = g->relays = g->pins = 0;
  luaL_setmetatable(L, GENERATOR);
  lua_rawset(L, -3);
  lua_pop(L, 1);
  g->frame = peri_frame_foreign(l) ? peri_frame_root(l)
                                   : peri_frame_retain(l->frame);
  g->logical = peri_logical_retain(g->frame.logical);
  return g;
}

/* The record of the coroutine at `idx`, or NULL. */
static generator *generator_of(lua_State *L, peri_loop *l, int idx) {
  idx = lua_absindex(L, idx);
  peri_stash_push(l, L, PERI_STASH_CORO);
  lua_pushvalue(L, idx);
  lua_rawget(L, -2);
  generator *g = lua_touserdata(L, -1);
  lua_pop(L, 2);
  return g;
}

static lua_State *check_coroutine(lua_State *L) {
  lua_State *co = lua_tothread(L, 1);
  if (!co) luaL_typeerror(L, 1, "coroutine");
  return co;
}

/* }===================================================================== */

/* {== Resuming ========================================================= */

/* What a resume leaves: true and the values, or false and a message. */
static int refuse(lua_State *L, const char *message) {
  lua_pushboolean(L, 0);
  lua_pushstring(L, message);
  return 2;
}

/* The frame of the generator, whose coroutine `co` is, becomes current. */
static void enter_frame(peri_loop *l, generator *g, lua_State *co) {
  g->busy = 1;
  g->in = l->in;
  g->finalizer = l->finalizer;
  g->outer = peri_frame_swap(l, g->frame);
  g->frame = (peri_frame){NULL, NULL};
  peri_logical_enter(g->logical);
  l->in = co;
  l->finalizer = peri_in_finalizer(l);
}

static void leave_frame(peri_loop *l, generator *g) {
  g->busy = 0;
  g->frame = peri_frame_swap(l, g->outer);
  g->outer = (peri_frame){NULL, NULL};
  peri_logical_leave(l, g->logical);
  l->in = g->in;
  l->finalizer = g->finalizer & 1;
}

static void enter(lua_State *L, peri_loop *l, generator *g, lua_State *co) {
  g->relays = l->top == L;
  g->pins = g->relays && !l->pinned && !lua_isyieldable(L);
  if (g->pins) l->pinned = 1;
  g->inner = l->current->inner;
  enter_frame(l, g, co);
  if (g->relays) l->top = co;
}

static void leave(lua_State *L, peri_loop *l, generator *g) {
  leave_frame(l, g);
  if (g->relays) l->top = L;
  if (g->pins) l->pinned = 0;
  peri_hook_left(l, L);
}

/* Calls coroutine.close with the `n` arguments on top, in the frame of the
** generator: its handlers may put back what they changed there. */
static int close_inside(lua_State *L, peri_loop *l, generator *g,
                        lua_State *co, int n, int nres) {
  peri_stash_push(l, L, PERI_STASH_CLOSE);
  lua_insert(L, -n - 1);
  if (g) enter_frame(l, g, co);
  int status = lua_pcall(L, n, nres, 0);
  if (g) leave_frame(l, g);
  return status;
}

static int done(lua_State *L, lua_State *co, int n);
static int unwind_k(lua_State *L, int status, lua_KContext ctx);
static const peri_wait unwinding = {"end of a group left open", NULL,
                                    unwind_k};

/* The blocks that the generator has left open are left. A group may have to
** be waited for. */
static int unwind(lua_State *L, peri_loop *l, generator *g) {
  peri_scope *s = l->current->inner;
  while (s && s != g->inner) s = s->parent;
  peri_block *b = s ? peri_task_unwind(L, l, g->inner) : NULL;
  if (b) return peri_task_park(L, l, &unwinding, b, (lua_KContext)g);
  lua_pushboolean(L, 0);
  lua_insert(L, -2);
  return done(L, lua_tothread(L, 1), 2);
}

static int unwind_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return unwind(L, PERI_LOOP(L), (generator *)ctx);
}

/* The coroutine at 1 has left a scope open at a yield: it cannot go on. */
static int left_open(lua_State *L, peri_loop *l, generator *g) {
  lua_settop(L, 1);
  peri_trace_left_open(L, l);
  lua_pushvalue(L, 1);
  /* Errors of its handlers are not raised. */
  close_inside(L, l, g, lua_tothread(L, 1), 1, 0);
  lua_settop(L, 2);
  return unwind(L, l, g);
}

/* Values or an error have come out of the generator. */
static int come_out(lua_State *L, peri_loop *l, lua_State *co, generator *g,
                    int status, int nres) {
  leave(L, l, g);
  if (status != LUA_OK && status != LUA_YIELD) {
    lua_pushboolean(L, 0);
    lua_xmove(co, L, 1);
    return 2;
  }
  if (!lua_checkstack(L, nres + 1)) {
    lua_pop(co, nres);
    return refuse(L, "too many results to resume");
  }
  lua_pushboolean(L, 1);
  lua_xmove(co, L, nres);
  return nres + 1;
}

static int run(lua_State *L, peri_loop *l, lua_State *co, generator *g,
               int nargs);

/* The task goes on, and so does the generator at 1 that it waited in. */
static int relay_k(lua_State *L, int status, lua_KContext ctx) {
  peri_loop *l = PERI_LOOP(L);
  generator *g = (generator *)ctx;
  lua_State *co = lua_tothread(L, 1);
  (void)status;
  if (l->top != L) { /* somebody else resumed us */
    lua_pushboolean(L, 0);
    lua_pushstring(L, not_yours);
    return lua_yieldk(L, 2, ctx, relay_k);
  }
  l->top = l->in = co;
  if (lua_status(co) != LUA_YIELD) /* somebody has closed it: no wait is left */
    l->current->out.phase = PERI_RUNNING;
  return run(L, l, co, g, 0);
}

/* Pushes false and the error after closing what the coroutine left open. */
static void close_failed(lua_State *L, peri_loop *l, lua_State *co) {
  if (lua_status(co) == LUA_OK || lua_status(co) == LUA_YIELD) return;
  lua_pushvalue(L, 1);
  if (close_inside(L, l, generator_of(L, l, 1), co, 1, 2)) {
    lua_replace(L, -2);
    return;
  }
  if (lua_toboolean(L, -2) || lua_isnil(L, -1)) {
    lua_pop(L, 2);
    return;
  }
  lua_remove(L, -2); /* a handler may have changed the error */
  lua_replace(L, -2);
}

/* As the stock wrap does: raises the error, a string with the position of
** the caller in front. */
static int raise_from(lua_State *L, peri_loop *l, lua_State *co) {
  close_failed(L, l, co);
  if (lua_type(L, -1) == LUA_TSTRING) {
    luaL_where(L, 1);
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  return lua_error(L);
}

/* The end of a resume, with its `n` values on top, and of a wrap (which has
** a second upvalue): that raises where the other returns false. */
static int done(lua_State *L, lua_State *co, int n) {
  if (!lua_isthread(L, lua_upvalueindex(2)) || lua_toboolean(L, -n))
    return lua_isthread(L, lua_upvalueindex(2)) ? n - 1 : n;
  return raise_from(L, PERI_LOOP(L), co);
}

/* What a task waits on is at the bottom of the frame where it waits, and comes
** up, above the coroutine at 1: somebody may close that, but not the task. */
static void hold(lua_State *L, lua_State *co) {
  lua_settop(L, 1);
  int at = lua_isthread(co, 1) ? 2 : 1;
  if (lua_gettop(co) < at || !lua_checkstack(co, 1)) return;
  lua_pushvalue(co, at);
  lua_xmove(co, L, 1);
}

static int run(lua_State *L, peri_loop *l, lua_State *co, generator *g,
               int nargs) {
  int nres = 0;
  int status = lua_resume(co, L, nargs, &nres);
  if (status == LUA_YIELD && g->relays &&
      l->current->out.phase != PERI_RUNNING) {
    hold(L, co);
    return lua_yieldk(L, 0, (lua_KContext)g, relay_k);
  }
  if (status <= LUA_YIELD && g->inner != l->current->inner) {
    leave(L, l, g);
    return left_open(L, l, g);
  }
  return done(L, co, come_out(L, l, co, g, status, nres));
}

/* Moves the arguments above 1 to the coroutine at 1 and runs it. */
static int resume_at_1(lua_State *L, peri_loop *l, lua_State *co) {
  int nargs = lua_gettop(L) - 1;
  generator *g = generator_of(L, l, 1);
  if (!g && co != L && peri_task_is_coroutine(co))
    return done(L, co, refuse(L, not_yours));
  lua_Debug ar;
  int suspended = lua_status(co) == LUA_YIELD;
  if ((g && g->busy) || co == L ||
      (!suspended && lua_status(co) == LUA_OK && lua_getstack(co, 0, &ar)))
    return done(L, co, refuse(L, "cannot resume non-suspended coroutine"));
  if (!suspended && (lua_status(co) != LUA_OK || lua_gettop(co) == 0))
    return done(L, co, refuse(L, "cannot resume dead coroutine"));
  if (!lua_checkstack(co, nargs))
    return done(L, co, refuse(L, "too many arguments to resume"));
  if (!g) { /* an idle coroutine of a task is dead, and gets no record */
    lua_pushvalue(L, 1);
    g = generator_new(L, l);
    lua_pop(L, 1);
  }
  lua_xmove(L, co, nargs);
  enter(L, l, g, co);
  return run(L, l, co, g, suspended ? nargs : lua_gettop(co) - 1);
}

/* aio.coroutine.resume(co, ...) -> true, values..., or false, error. Waits
** if what it runs does. */
static int coro_resume(lua_State *L) {
  lua_State *co = check_coroutine(L);
  return resume_at_1(L, PERI_LOOP(L), co);
}

/* }===================================================================== */

/* {== Wrap ============================================================= */

static int wrapped(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_insert(L, 1);
  return resume_at_1(L, PERI_LOOP(L), lua_tothread(L, 1));
}

static int body_k(lua_State *L, int status, lua_KContext ctx) {
  (void)ctx;
  if (status == LUA_OK || status == LUA_YIELD) return lua_gettop(L) - 1;
  PERI_LOOP(L)->passing = 1;
  return lua_error(L);
}

/* What a generator runs: as in a task, the protected call is inside it, so
** that closing a variable may wait while an error unwinds. */
static int generator_body(lua_State *L) {
  peri_stash_push(PERI_LOOP(L), L, PERI_STASH_HANDLER);
  lua_insert(L, 1);
  int status = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 1, 0, body_k);
  return body_k(L, status, 0);
}

/* aio.coroutine.create(fn) -> coroutine in the current context. Never
** waits. */
static int create(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_State *co = lua_newthread(L);
  peri_stash_push(l, co, PERI_STASH_GENERATOR);
  lua_pushvalue(L, 1);
  lua_xmove(L, co, 1);
  generator_new(L, l);
  return 1;
}

/* aio.coroutine.wrap(fn) -> function that resumes a new coroutine. Waits if
** fn does. */
static int wrap(lua_State *L) {
  create(L);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, -2);
  lua_pushcclosure(L, wrapped, 2);
  return 1;
}

/* }===================================================================== */

/* {== Status and close ================================================= */

static const char *status_of(lua_State *L, lua_State *co) {
  lua_Debug ar;
  if (co == L) return "running";
  if (lua_status(co) == LUA_YIELD) return "suspended";
  if (lua_status(co) != LUA_OK) return "dead";
  if (lua_getstack(co, 0, &ar)) return "normal";
  return lua_gettop(co) == 0 ? "dead" : "suspended";
}

/* aio.coroutine.status(co) -> as Lua's; a generator that waits is
** "normal". Never waits. */
static int status(lua_State *L) {
  lua_State *co = check_coroutine(L);
  generator *g = generator_of(L, PERI_LOOP(L), 1);
  if (g && g->busy && lua_status(co) == LUA_YIELD)
    lua_pushliteral(L, "normal");
  else
    lua_pushstring(L, status_of(L, co));
  return 1;
}

/* aio.coroutine.close(co) -> as Lua's. Never waits; handlers it runs cannot
** either. */
static int coro_close(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  lua_State *co = check_coroutine(L);
  generator *g = generator_of(L, l, 1);
  if (!g && co != L && peri_task_is_coroutine(co))
    return luaL_error(L, "cannot close a task from outside the loop");
  if (g && g->busy)
    return luaL_error(L, "cannot close a normal coroutine");
  if (close_inside(L, l, g, co, lua_gettop(L), LUA_MULTRET))
    return lua_error(L);
  return lua_gettop(L);
}

/* }===================================================================== */

lua_State *peri_coro_inner(lua_State *co) {
  lua_Debug ar;
  if (!lua_getstack(co, 0, &ar)) return NULL;
  lua_getinfo(co, "f", &ar);
  lua_CFunction f = lua_tocfunction(co, -1);
  lua_pop(co, 1);
  if (f != coro_resume && f != wrapped) return NULL;
  return lua_tothread(co, 1);
}

void peri_coro_leave(lua_State *L, peri_loop *l, lua_State *co) {
  lua_pushthread(co);
  lua_xmove(co, L, 1);
  generator *g = generator_of(L, l, -1);
  lua_pop(L, 1);
  if (g && g->busy) leave_frame(l, g);
}

static void open_generator(lua_State *L, peri_loop *l) {
  luaL_newmetatable(L, GENERATOR);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  lua_pushcclosure(L, generator_gc, 1);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
}

static void open_body(lua_State *L, peri_loop *l) {
  peri_stash_push(l, L, PERI_STASH_LOOP);
  lua_pushcclosure(L, generator_body, 1);
  peri_stash_set(l, L, PERI_STASH_GENERATOR);
}

void peri_coro_open(lua_State *L, peri_loop *l) {
  static const luaL_Reg functions[] = {
    {"create", create}, {"resume", coro_resume}, {"wrap", wrap},
    {"status", status}, {"close", coro_close}, {NULL, NULL}};
  open_generator(L, l);
  open_body(L, l);
  luaL_newlibtable(L, functions);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, functions, 1);
  lua_setfield(L, -2, "coroutine");
}
