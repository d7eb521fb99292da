/*
** callback.c - Lua callbacks on the loop, and the error hook.
**
** Lua side: a callback is a future of its function's returns. User value 1
** holds them, 2 the function, the others its arguments. The loop anchors a
** callback until it has run or was cancelled; one that waits for a future
** is kept by that future, which the loop keeps once it is settled.
**
** SPDX-License-Identifier: MIT
*/
#include "callback.h"

#include <math.h>
#include <stdio.h>

#include "clock.h"
#include "error.h"
#include "future.h"
#include "trace.h"
#include "var.h"

typedef struct peri_callback {
  peri_outcome out;
  peri_runnable run;
  peri_timer timer;
  peri_frame frame;
  peri_outcome *of;       /* the future that keeps it, or NULL */
  uint8_t nargs;
  uint8_t only_cancelled; /* not called if `of` ended in another way */
  uint8_t started;
  uint8_t held; /* has its context and room in the timer heap */
  uint16_t clock; /* of where it was made: its timer's, and while it runs */
} peri_callback;

#define MAX_ARGS 200

/* {== Calling ========================================================== */

static int raise_left_open(lua_State *L) {
  peri_trace_left_open(L, lua_touserdata(L, 1));
  return lua_error(L);
}

/* A callback has returned, with `nres` results or an error on top: the scopes
** that it has left open inside `outer` are closed, and that is an error. */
static int check_left(peri_loop *l, lua_State *L, const peri_scope *outer,
                      int nres, int status) {
  const peri_scope *s = l->current->inner;
  if (s == outer) return status;
  while (s && s != outer) s = s->parent;
  if (!s) return status; /* it has closed those of the main chunk */
  if (!status) {
    lua_pop(L, nres);
    lua_pushcfunction(L, raise_left_open);
    lua_pushlightuserdata(L, l);
    status = lua_pcall(L, 1, 0, 0);
  }
  peri_task_unwind(L, l, outer); /* without waiting: this is a callback */
  return status;
}

/* What was before a callback. */
typedef struct entry {
  peri_frame outer;
  lua_State *in;
  peri_logical *logical; /* lives while it is called in */
  unsigned finalizer;
} entry;

static entry enter(peri_loop *l, lua_State *L, const peri_frame *f) {
  peri_frame own = f ? peri_frame_retain(*f) : peri_frame_root(l);
  entry e = {peri_frame_swap(l, own), l->in,
             peri_logical_retain(own.logical), l->finalizer};
  peri_logical_enter(e.logical);
  l->in = L;
  l->finalizer = peri_in_finalizer(l);
  return e;
}

static void leave(peri_loop *l, const entry *e) {
  peri_frame own = peri_frame_swap(l, e->outer);
  peri_frame_release(l, &own);
  peri_logical_leave(l, e->logical);
  peri_logical_release(l, e->logical);
  l->in = e->in;
  l->finalizer = e->finalizer & 1;
}

int peri_callback_call(peri_loop *l, lua_State *L, const peri_frame *f,
                       int nargs, int nres) {
  int handler = lua_gettop(L) - nargs;
  if (!lua_checkstack(L, LUA_MINSTACK)) {
    lua_settop(L, handler - 1);
    lua_pushliteral(L, "not enough memory for the stack");
    return LUA_ERRRUN;
  }
  unsigned outer = l->callback;
  lua_State *called = l->called;
  const peri_scope *inner = l->current->inner, *limit = l->limit;
  entry e = enter(l, L, f);
  peri_stash_push(l, L, PERI_STASH_HANDLER);
  lua_insert(L, handler);
  l->callback = 1;
  l->called = L;
  l->limit = inner;
  int status = lua_pcall(L, nargs, nres, handler);
  status = check_left(l, L, inner, nres, status);
  l->limit = limit;
  l->called = called;
  l->callback = outer;
  leave(l, &e);
  lua_remove(L, handler);
  return status;
}

/* }===================================================================== */

/* {== The error hook =================================================== */

/* Pushes the traceback: the one at 3, or that of the last failure with this
** value. */
static void push_trace(lua_State *L, peri_loop *l) {
  if (lua_isnil(L, 3))
    peri_trace_push(L, l, 1);
  else
    lua_pushvalue(L, 3);
}

/* Pushes what the hook gets besides the error. Stack: error, task (light, or
** itself, or nil), traceback or nil, kind, light frame. */
static void push_info(lua_State *L, peri_loop *l) {
  const peri_task *t = lua_touserdata(L, 2);
  lua_createtable(L, 0, 4);
  lua_pushvalue(L, 4);
  lua_setfield(L, -2, "kind");
  push_trace(L, l);
  lua_setfield(L, -2, "traceback");
  peri_var_push_caller(L, l, lua_touserdata(L, 5));
  lua_setfield(L, -2, "context");
  if (t && lua_islightuserdata(L, 2))
    peri_task_push(L, l, t);
  else if (t)
    lua_pushvalue(L, 2);
  else
    lua_pushnil(L);
  lua_setfield(L, -2, "task");
}

static int call_hook(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  lua_pushstring(L, lua_touserdata(L, 4)); /* may allocate: not before */
  lua_replace(L, 4);
  push_info(L, l);
  peri_stash_push(l, L, PERI_STASH_ON_ERROR);
  if (lua_isnil(L, -1)) return 0;
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 6);
  lua_call(L, 2, 0);
  return 0;
}

static int show(lua_State *L) {
  peri_error_text(L, 1);
  return 1;
}

/* The hook itself went wrong, or there is no memory to call it: there is
** nobody left to tell. */
static void lost(lua_State *L, peri_loop *l) {
  lua_pushcfunction(L, show);
  lua_insert(L, -2);
  const char *why = lua_pcall(L, 1, 1, 0) ? NULL : lua_tostring(L, -1);
  if (!why) why = "(no message)";
  if (l->lost)
    l->lost(l, why);
  else
    lua_writestringerror("perilune: the error hook failed: %s\n", why);
  lua_pop(L, 1);
}

/* Takes the error, task and traceback on top; there is room. */
static void tell(peri_loop *l, lua_State *L, const char *kind,
                 const peri_frame *f) {
  peri_stash_push(l, L, PERI_STASH_HOOK);
  lua_insert(L, -4);
  lua_pushlightuserdata(L, (void *)(uintptr_t)kind);
  lua_pushlightuserdata(L, (void *)(uintptr_t)f);
  if (peri_callback_call(l, L, NULL, 5, 0)) lost(L, l);
}

static void report_in(peri_loop *l, lua_State *L, const char *kind,
                      const peri_task *t, const peri_frame *f) {
  if (!lua_checkstack(L, LUA_MINSTACK)) {
    lua_pop(L, 1);
    return;
  }
  lua_pushlightuserdata(L, (void *)(uintptr_t)t);
  lua_pushnil(L);
  tell(l, L, kind, f);
}

void peri_report(peri_loop *l, lua_State *L, const char *kind,
                 const peri_task *t) {
  peri_frame f = t ? peri_task_frame(l, t) : l->frame;
  report_in(l, L, kind, t, t ? &f : NULL);
}

void peri_report_stack(peri_loop *l, lua_State *L, const char *kind) {
  peri_frame f = l->frame; /* which is not current while the hook runs */
  if (lua_checkstack(L, LUA_MINSTACK))
    tell(l, L, kind, &f);
  else
    lua_pop(L, 3);
}

/* Stack: describe, its object, the loop. */
static int describe_leak(lua_State *L) {
  peri_loop *l = lua_touserdata(L, 3);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  lua_call(L, 1, 1);
  peri_push_anchored(l, L, lua_touserdata(L, 2));
  peri_trace_push_made(L, l, -1);
  if (lua_isnil(L, -1))
    lua_settop(L, 4);
  else
    lua_pushfstring(L, "%s, made at %s", lua_tostring(L, 4),
                    lua_tostring(L, -1));
  return 1;
}

void peri_report_leak(peri_loop *l, lua_State *L, lua_CFunction describe,
                      void *object) {
  if (!l->debug || !lua_checkstack(L, LUA_MINSTACK)) return;
  lua_pushcfunction(L, describe_leak);
  lua_pushcfunction(L, describe);
  lua_pushlightuserdata(L, object);
  lua_pushlightuserdata(L, l);
  peri_callback_call(l, L, NULL, 3, 1); /* an error will do as well */
  peri_report(l, L, "leak", NULL);
}

/* loop:on_error(fn) -> loop. fn(err, info) hears of failures that nobody
** took. Never waits. Wrapped by run.lua, which has a default. */
static int on_error(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) peri_check_callable(L, 2);
  lua_pushvalue(L, 2);
  peri_stash_set(l, L, PERI_STASH_ON_ERROR);
  lua_settop(L, 1);
  return 1;
}

/* }===================================================================== */

/* {== Running ========================================================== */

/* Pushes the userdata of a callback that the loop keeps. */
static void push_callback(lua_State *L, peri_loop *l, peri_callback *b) {
  if (!b->of) {
    peri_push_anchored(l, L, b);
    return;
  }
  peri_push_anchored(l, L, b->of);
  lua_getiuservalue(L, -1, 2);
  lua_rawgetp(L, -1, b);
  lua_replace(L, -3);
  lua_pop(L, 1);
}

/* A future lets its callbacks go one by one; with the last one the loop
** lets go of the future. The keys exist: nothing is allocated. */
static void let_go(lua_State *L, peri_loop *l, peri_callback *b) {
  peri_outcome *of = b->of;
  if (!of) {
    peri_unanchor(l, b);
    return;
  }
  b->of = NULL;
  peri_push_anchored(l, L, of);
  if (!lua_isuserdata(L, -1)) { /* the future is not settled */
    lua_pop(L, 1);
    return;
  }
  lua_getiuservalue(L, -1, 2);
  lua_pushnil(L);
  lua_rawsetp(L, -2, b);
  lua_pushnil(L);
  if (lua_next(L, -2))
    lua_pop(L, 2);
  else
    peri_unanchor(l, of);
  lua_pop(L, 2);
}

/* Gives up what a callback holds in C; doing so twice is fine. */
static void dispose(peri_loop *l, peri_callback *b) {
  if (!b->held) return;
  b->held = 0;
  peri_logical_leave(l, b->frame.logical);
  peri_frame_release(l, &b->frame);
  peri_heap_unreserve(&l->timers);
}

static void end(lua_State *L, peri_loop *l, peri_callback *b) {
  dispose(l, b);
  let_go(L, l, b);
}

/* One that a future kept, and that was collected along with it. */
static int callback_gc(lua_State *L) {
  if (peri_gc_is_called(PERI_LOOP(L))) return 0;
  peri_callback *b = lua_touserdata(L, 1);
  int with_future = b->of && b->of->state == PERI_PENDING;
  if (with_future ||
      (peri_link_alone(&b->run.link) && !peri_timer_armed(&b->timer)))
    dispose(PERI_LOOP(L), b);
  return 0;
}

/* In protected mode: calls, and stores what it returned. Stack: the
** callback. */
static int run_body(lua_State *L) {
  peri_callback *b = lua_touserdata(L, 1);
  peri_error_room(L, b->nargs + 2);
  for (int i = 0; i <= b->nargs; i++) lua_getiuservalue(L, 1, 2 + i);
  lua_call(L, b->nargs, LUA_MULTRET);
  peri_outcome_store(L, &b->out, 1, lua_gettop(L) - 1);
  return 0;
}

static void report(peri_loop *l, peri_runnable *r, lua_State *L) {
  peri_callback *b = PERI_OF(r, peri_callback, run);
  push_callback(L, l, b);
  int idx = lua_gettop(L);
  if (!(b->out.flags & PERI_TAKEN)) {
    lua_getiuservalue(L, idx, 1);
    report_in(l, L, "callback", NULL, &b->frame);
  }
  end(L, l, b);
  lua_settop(L, idx - 1);
}

/* The error on top becomes the outcome of the callback below it; pops it.
** Unless it is taken it is reported one turn later. */
static void failed(lua_State *L, peri_loop *l, peri_callback *b) {
  lua_setiuservalue(L, -2, 1);
  b->out.flags = (uint8_t)((b->out.flags & ~PERI_MANY) | PERI_ONE);
  peri_outcome_settle(l, &b->out, PERI_FAILED);
  b->run.run = report;
  peri_loop_ready(l, &b->run);
}

/* Calls it where waits, if there could be any, would go by its clock: so what
** it spawns and schedules does. Stack: the callback, of which one is left. */
static int call(peri_loop *l, lua_State *L, const peri_callback *b) {
  peri_scope *here = l->current->inner;
  unsigned clock = here->clock;
  lua_pushcfunction(L, run_body);
  lua_pushvalue(L, -2);
  here->clock = b->clock;
  int status = peri_callback_call(l, L, &b->frame, 1, 0);
  here->clock = clock & UINT16_MAX;
  return status;
}

static void callback_run(peri_loop *l, peri_runnable *r, lua_State *L) {
  peri_callback *b = PERI_OF(r, peri_callback, run);
  if (!lua_checkstack(L, LUA_MINSTACK)) return;
  push_callback(L, l, b);
  b->started = 1;
  int idx = lua_gettop(L);
  if (b->only_cancelled && b->of && b->of->state != PERI_ENDED) {
    peri_outcome_settle(l, &b->out, PERI_ENDED);
    end(L, l, b);
  } else if (call(l, L, b)) {
    failed(L, l, b);
  } else {
    peri_outcome_settle(l, &b->out, PERI_DONE);
    end(L, l, b);
  }
  lua_settop(L, idx - 1);
}

/* A callback that was cancelled before it ran: only lets itself go. */
static void withdrawn(peri_loop *l, peri_runnable *r, lua_State *L) {
  if (lua_checkstack(L, 4)) end(L, l, PERI_OF(r, peri_callback, run));
}

static void on_timer(peri_loop *l, peri_timer *t) {
  peri_loop_ready(l, &PERI_OF(t, peri_callback, timer)->run);
}

/* }===================================================================== */

/* {== Making =========================================================== */

/* Replaces the function and its `nargs` arguments on top of L by a callback
** that is on no list yet and that nothing keeps. */
static peri_callback *callback_new(lua_State *L, peri_loop *l, int nargs) {
  peri_error_room(L, 4);
  peri_task_logical(L, l);
  if (nargs > MAX_ARGS) luaL_error(L, "too many arguments");
  peri_callback *b = lua_newuserdatauv(L, sizeof *b, 2 + nargs);
  peri_outcome_init(&b->out, PERI_CALLBACK);
  peri_link_init(&b->run.link);
  b->run.run = callback_run;
  peri_timer_init(&b->timer, on_timer);
  b->frame = (peri_frame){NULL, NULL};
  b->of = NULL;
  b->clock = peri_clock_capture(l);
  b->nargs = (uint8_t)nargs;
  b->only_cancelled = b->started = b->held = 0;
  lua_insert(L, -nargs - 2);
  for (int i = nargs; i >= 0; i--) lua_setiuservalue(L, -i - 2, 2 + i);
  peri_stash_push(l, L, PERI_STASH_CALLBACK);
  lua_setmetatable(L, -2);
  return b;
}

/* The last step that can fail; after it the callback is on its way. */
static void adopt(peri_loop *l, peri_callback *b, lua_State *L) {
  if (peri_heap_reserve(l, &l->timers)) {
    peri_unanchor(l, b);
    luaL_error(L, "not enough memory");
  }
  b->frame = peri_frame_capture(l);
  peri_logical_enter(b->frame.logical);
  b->held = 1;
}

/* To be called at `when`, or NULL: in the next turn. */
static int schedule(lua_State *L, int first, const uint64_t *when) {
  peri_loop *l = PERI_LOOP(L);
  peri_check_callable(L, first);
  if (peri_loop_forked(l)) peri_trace_check_fork(L, l);
  peri_callback *b = callback_new(L, l, lua_gettop(L) - first);
  peri_anchor(L, l, -1, b);
  adopt(l, b, L);
  if (when)
    peri_clock_arm(l, b->clock, &b->timer, *when);
  else
    peri_loop_ready(l, &b->run);
  return 1;
}

/* loop:call_soon(fn, ...) -> callback. Called in the next turn. Never
** waits. */
static int call_soon(lua_State *L) {
  return schedule(L, 2, NULL);
}

static lua_Number check_time(lua_State *L, int arg) {
  lua_Number s = luaL_checknumber(L, arg);
  luaL_argcheck(L, !isnan(s), arg, "number of seconds expected, got NaN");
  return s;
}

/* loop:call_later(s, fn, ...) -> callback. Called after s seconds, by the clock
** of the scope; a negative delay is 0. Raises for NaN. Never waits. */
static int call_later(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  lua_Number s = check_time(L, 2);
  peri_loop_clock(l);
  uint64_t when = peri_clock_after(l, peri_clock_capture(l), s);
  return schedule(L, 3, &when);
}

/* loop:call_at(t, fn, ...) -> callback. Called at t on the clock of the scope
** (aio.now); at once if that is past. Raises for NaN. Never waits. */
static int call_at(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  lua_Number t = check_time(L, 2);
  peri_loop_clock(l);
  unsigned clock = peri_clock_capture(l);
  lua_Number now = (lua_Number)peri_clock_now(l, clock) / 1e9;
  uint64_t when = peri_clock_after(l, clock, t - now);
  return schedule(L, 3, &when);
}

/* A plain future may never be done and may be dropped then, with those that
** wait for it: so it keeps them, in its second user value. */
static void keep_with(lua_State *L, peri_callback *b) {
  if (lua_getiuservalue(L, 1, 2) == LUA_TNIL) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, 2);
  }
  lua_pushvalue(L, -2);
  lua_rawsetp(L, -2, b);
  lua_pop(L, 1);
}

void peri_callback_observe(lua_State *L, peri_loop *l, peri_outcome *o,
                           int only_cancelled) {
  lua_pushvalue(L, 2);
  lua_pushvalue(L, 1);
  peri_callback *b = callback_new(L, l, 1);
  b->only_cancelled = (uint8_t)only_cancelled;
  if (o->kind == PERI_FUTURE) {
    keep_with(L, b);
    if (o->state != PERI_PENDING) peri_anchor(L, l, 1, o);
  } else {
    peri_anchor(L, l, -1, b);
  }
  adopt(l, b, L);
  if (o->kind == PERI_FUTURE) {
    b->of = o;
    o->flags |= PERI_OBSERVED;
  }
  if (o->state == PERI_PENDING)
    peri_waitlist_add(&o->waiters, &b->run);
  else
    peri_loop_ready(l, &b->run);
}

/* A callback that waits in a future's list is left there: its turn comes,
** and it is found to be done. */
int peri_callback_withdraw(peri_loop *l, peri_outcome *o) {
  peri_callback *b = PERI_OF(o, peri_callback, out);
  if (b->started || o->state != PERI_PENDING) return 0;
  b->started = 1;
  if (peri_timer_armed(&b->timer)) {
    peri_clock_disarm(l, b->clock, &b->timer);
    peri_loop_ready(l, &b->run);
  }
  b->run.run = withdrawn;
  return 1;
}

/* }===================================================================== */

/* {== Opening ========================================================== */

static const luaL_Reg methods[] = {
  {"call_soon", call_soon}, {"call_later", call_later},
  {"call_at", call_at}, {"on_error", on_error}, {NULL, NULL}};

void peri_callback_open(lua_State *L, peri_loop *l) {
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, methods, 1);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  lua_pushcclosure(L, call_hook, 1);
  peri_stash_set(l, L, PERI_STASH_HOOK);
  luaL_newmetatable(L, "perilune.callback");
  peri_future_methods(L, l);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  lua_pushcclosure(L, callback_gc, 1);
  lua_setfield(L, -2, "__gc");
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  l->kinds[PERI_CALLBACK] = lua_topointer(L, -1);
  peri_stash_set(l, L, PERI_STASH_CALLBACK);
}

/* }===================================================================== */
