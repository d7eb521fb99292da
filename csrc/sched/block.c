/*
** block.c - scopes, opened to Lua: timeout, shield, scope.
**
** Lua side: aio.timeout and aio.shield take a block from a list of free
** ones, so that entering and leaving allocates nothing. aio.scope makes a
** userdata, which the loop anchors while the scope is open.
**
** SPDX-License-Identifier: MIT
*/
#include "block.h"

#include <math.h>
#include <stdio.h>

#include "clock.h"
#include "error.h"
#include "trace.h"

#define SCOPE "perilune.scope"

/* {== Open and close =================================================== */

void peri_block_open(peri_loop *l, peri_block *b) {
  peri_task *t = l->current;
  b->task = t;
  b->culprit = NULL;
  peri_scope_init(&b->scope, t->inner, PERI_SCOPE_BLOCK);
  b->clock = b->scope.clock;
  t->inner = &b->scope;
}

void peri_block_close(peri_loop *l, peri_block *b) {
  assert(b->task && b->task->inner == &b->scope);
  b->task->inner = b->scope.parent;
  if (b->scope.cause) b->task->on = NULL; /* see peri_debug_swallowed */
  b->task = NULL;
  peri_scope_remove(l, &b->scope);
}

/* A group that still has children ends by itself, as background work: the
** owner of the task may be gone before. */
void peri_block_disown(peri_loop *l, peri_task *t, const peri_scope *limit) {
  while (t->inner != limit) {
    peri_block *b = PERI_OF(t->inner, peri_block, scope);
    t->inner = b->scope.parent;
    b->task = NULL;
    if (b->abandon(l, b))
      peri_scope_remove(l, &b->scope);
    else
      peri_scope_move(&b->scope, &l->background->scope);
  }
}

/* False where nothing can be suspended, or closed by coroutine.close. */
static int can_wait(lua_State *L, const peri_loop *l) {
  if (l->callback) return 0;
  if (l->current == l->root) return !l->running && !l->hosted && !l->closing;
  return peri_task_can_yield(L, l);
}

peri_block *peri_task_unwind(lua_State *L, peri_loop *l,
                             const peri_scope *limit) {
  peri_task *t = l->current;
  if (!can_wait(L, l)) peri_block_disown(l, t, limit);
  while (t->inner != limit) {
    peri_block *b = PERI_OF(t->inner, peri_block, scope);
    if (!b->abandon(l, b)) return b;
    peri_block_close(l, b);
  }
  return NULL;
}

/* }===================================================================== */

/* {== Making =========================================================== */

static void on_deadline(peri_loop *l, peri_timer *t) {
  peri_block *b = PERI_OF(t, peri_block, deadline);
  peri_scope_cancel(l, &b->scope, PERI_CAUSE_DEADLINE);
}

static void block_init(peri_block *b, int (*abandon)(peri_loop *,
                                                     peri_block *)) {
  peri_timer_init(&b->deadline, on_deadline);
  b->task = NULL;
  b->abandon = abandon;
  b->limit = HUGE_VAL;
  b->where[0] = '?'; /* function forms do not look for it */
  b->where[1] = '\0';
  b->in = NULL;
  b->waiters = NULL;
}

void peri_block_where(lua_State *L, peri_block *b) {
  lua_Debug ar;
  b->where[0] = '?';
  b->where[1] = '\0';
  if (!lua_getstack(L, peri_error_level(L), &ar)) return;
  lua_getinfo(L, "Sl", &ar);
  if (ar.currentline > 0)
    snprintf(b->where, sizeof b->where, "%s:%d", ar.short_src,
             ar.currentline);
}

static void set_limit(peri_loop *l, peri_block *b, double seconds) {
  b->limit = seconds;
  peri_loop_clock(l);
  if (seconds <= 0)
    peri_scope_cancel(l, &b->scope, PERI_CAUSE_DEADLINE);
  else if (seconds < HUGE_VAL)
    peri_clock_arm(l, b->clock, &b->deadline,
                   peri_clock_after(l, b->clock, seconds));
}

static void lift_limit(peri_loop *l, peri_block *b) {
  peri_clock_disarm(l, b->clock, &b->deadline);
}

/* When the deadline is, if that is armed. */
static uint64_t deadline(peri_loop *l, const peri_block *b) {
  return peri_timer_when(peri_clock_heap(l, b->clock), &b->deadline);
}

/* The body ended with the error on top: is it the cancellation of this very
** block, which ends here? One from outside wins. */
static int is_own(lua_State *L, const peri_block *b) {
  return b->scope.cause && !peri_scope_outer_cancelled(&b->scope) &&
         peri_cancelled_is(L, -1);
}

static const char *code_of(const peri_block *b) {
  return b->scope.cause == PERI_CAUSE_DEADLINE ? "ETIMEDOUT" : "ECANCELED";
}

/* Pushes what messages call the scope whose object is at `idx`, if it has
** one. */
static const char *push_title(lua_State *L, int idx) {
  const char *name = NULL;
  peri_error_room(L, 4);
  if (lua_isuserdata(L, idx)) {
    lua_getiuservalue(L, idx, 1);
    name = lua_tostring(L, -1);
  }
  return name ? lua_pushfstring(L, "the scope \"%s\"", name)
              : lua_pushliteral(L, "the scope");
}

/* Pushes nil, message, code. The message begins with the code. The object of
** the scope, if any, is at 1. */
static int push_failure(lua_State *L, const char *code, double limit) {
  const char *title = push_title(L, 1);
  int named = title[sizeof "the scope" - 1] != '\0';
  if (*code == 'E' && code[1] == 'C')
    return peri_error_fail(L, code, "%s was cancelled", title);
  if (limit < HUGE_VAL)
    return peri_error_fail(L, code, "%s%stimed out after %f s",
                           named ? title : "", named ? " " : "",
                           (LUAI_UACNUMBER)(limit > 0 ? limit : 0));
  return peri_error_fail(L, code, "the deadline of %s has passed", title);
}

/* Pushes the error object for the scope at 1, with the reason it was
** cancelled with, if any. */
static void push_failure_object(lua_State *L, peri_loop *l,
                                const char *code, peri_block *b) {
  const char *at = b->where, *title = push_title(L, 1);
  peri_scope_push_cancelled(L, l, &b->scope);
  lua_getfield(L, -1, "reason");
  if (*code == 'E' && code[1] == 'C')
    peri_error_new(L, code, "%s opened at %s was cancelled", title, at);
  else if (b->limit < HUGE_VAL)
    peri_error_new(L, code, "%s opened at %s timed out after %f s", title, at,
                   (LUAI_UACNUMBER)b->limit);
  else
    peri_error_new(L, code, "the deadline of %s opened at %s has passed",
                   title, at);
  lua_insert(L, -2);
  lua_setfield(L, -2, "reason");
}

/* nil and math.huge are no limit. */
static double check_limit(lua_State *L, int arg) {
  if (lua_isnoneornil(L, arg)) return HUGE_VAL;
  lua_Number s = luaL_checknumber(L, arg);
  luaL_argcheck(L, !isnan(s), arg, "number of seconds expected, got NaN");
  return s;
}

/* }===================================================================== */

/* {== Function forms =================================================== */

/* Puts a block back; its room in the timer heap stays with it. */
static void give_block(peri_loop *l, peri_block *b) {
  lift_limit(l, b);
  b->next = l->blocks;
  l->blocks = b;
}

static int abandon_block(peri_loop *l, peri_block *b) {
  (void)l;
  give_block(l, b);
  return 1;
}

static peri_block *take_block(lua_State *L, peri_loop *l) {
  peri_block *b = l->blocks;
  if (b) {
    l->blocks = b->next;
    return b;
  }
  b = peri_alloc(l, sizeof *b);
  if (!b) luaL_error(L, "not enough memory");
  if (peri_heap_reserve(l, &l->timers)) {
    peri_free(l, b, sizeof *b);
    luaL_error(L, "not enough memory");
  }
  block_init(b, abandon_block);
  return b;
}

void peri_block_free_all(peri_loop *l) {
  while (l->blocks) {
    peri_block *b = l->blocks;
    l->blocks = b->next;
    peri_free(l, b, sizeof *b);
    peri_heap_unreserve(&l->timers);
  }
}

static int body_k(lua_State *L, int status, lua_KContext ctx);
static int left_k(lua_State *L, int status, lua_KContext ctx);

static const peri_wait leaving = {"end of a group left open", NULL, left_k};

static int left_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return body_k(L, LUA_ERRRUN, ctx);
}

/*
** A stock coroutine of the main chunk may outlive its place among the blocks:
** one that was opened before is closed, and so this one as well. It may be in
** use again then, but not by a frame of the same coroutine, as those inside
** have ended.
*/
static int is_open(lua_State *L, const peri_loop *l, const peri_block *b) {
  const peri_scope *s = l->current->inner;
  while (s && s != &b->scope) s = s->parent;
  return s && b->task == l->current && b->in == L;
}

/* What is on the stack below the values: the handler, and below that the
** scope, if there is an object. */
static int below(lua_State *L) {
  return lua_isuserdata(L, 1) ? 2 : 1;
}

/* Returns, or raises, what the body has left. */
static int pass_on(lua_State *L, peri_loop *l, int good) {
  l->passing = !good;
  if (!good) return lua_error(L);
  if (lua_gettop(L) == below(L)) lua_pushboolean(L, 1);
  return lua_gettop(L) - below(L);
}

/* Leaves what the body has left open, which is an error if it had none. */
static int leave_inner(lua_State *L, peri_loop *l, peri_block *b, int good) {
  if (good) {
    lua_settop(L, below(L));
    peri_trace_left_open(L, l);
  }
  peri_block *inner = peri_task_unwind(L, l, &b->scope);
  if (inner)
    return peri_task_park(L, l, &leaving, inner, (lua_KContext)b);
  return body_k(L, LUA_ERRRUN, (lua_KContext)b);
}

/* The body has ended: with its values above the handler, or with an error on
** top. */
static int body_k(lua_State *L, int status, lua_KContext ctx) {
  peri_loop *l = PERI_LOOP(L);
  peri_block *b = (peri_block *)ctx;
  int good = status == LUA_OK || status == LUA_YIELD;
  if (!is_open(L, l, b)) return pass_on(L, l, good);
  if (l->current->inner != &b->scope) return leave_inner(L, l, b, good);
  int own = !good && is_own(L, b);
  const char *code = code_of(b);
  double limit = b->limit;
  peri_block_close(l, b);
  b->abandon(l, b);
  if (own) return push_failure(L, code, limit);
  return pass_on(L, l, good);
}

/* Calls the function above `handler` with what follows it, inside the open
** block. The message handler takes the place of what is there. */
static int call_inside(lua_State *L, peri_loop *l, peri_block *b,
                       int handler) {
  b->in = L;
  peri_stash_push(l, L, PERI_STASH_HANDLER);
  lua_replace(L, handler);
  int status = lua_pcallk(L, lua_gettop(L) - handler - 1, LUA_MULTRET,
                          handler, (lua_KContext)b, body_k);
  return body_k(L, status, (lua_KContext)b);
}

/* Blocks are for the running task: not for a stock coroutine, which could be
** left with one open. In a callback they are closed at its end. */
static void check_place(lua_State *L, peri_loop *l) {
  if (!peri_task_runs_in(l, L) && !l->callback) peri_wait_enter(L, l);
}

/* aio.timeout(s, fn, ...) -> the values of fn (true if none), or nil,
** message, "ETIMEDOUT". Runs fn in this task; waits if fn does. s in
** seconds; nil and math.huge are no limit, 0 and less cancel at the first
** wait. Raises for NaN, and what fn raises. */
static int timeout(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  double s = check_limit(L, 1);
  peri_check_callable(L, 2);
  check_place(L, l);
  peri_block *b = take_block(L, l);
  peri_block_open(l, b);
  set_limit(l, b, s);
  return call_inside(L, l, b, 1);
}

/* The grace is real time. */
static double grace_left(const peri_loop *l) {
  if (!l->grace_end) return (double)l->grace / 1e9;
  return l->grace_end > l->now ? (double)(l->grace_end - l->now) / 1e9 : 0;
}

/* aio.shield(s, fn, ...) -> as aio.timeout. Waits if fn does, which is not
** cancelled from outside for at most s seconds; nil is the grace (at shutdown,
** what is left of it), in real time whatever the scope's clock. */
static int shield(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  int grace = lua_isnoneornil(L, 1);
  double s = grace ? grace_left(l) : check_limit(L, 1);
  peri_check_callable(L, 2);
  check_place(L, l);
  peri_block *b = take_block(L, l);
  peri_block_open(l, b);
  if (grace) b->clock = 0;
  peri_scope_shield(&b->scope);
  set_limit(l, b, s);
  return call_inside(L, l, b, 1);
}

/* }===================================================================== */

/* {== Scope objects ==================================================== */

static int abandon_scope(peri_loop *l, peri_block *b) {
  lift_limit(l, b);
  peri_heap_unreserve(&l->timers);
  peri_unanchor(l, b);
  return 1;
}

peri_block *peri_block_check(lua_State *L, int idx) {
  return luaL_checkudata(L, idx, SCOPE);
}

static peri_block *check_scope(lua_State *L) {
  return peri_block_check(L, 1);
}

static void check_name(lua_State *L, int idx) {
  int type = lua_getfield(L, idx, "name");
  if (type != LUA_TNIL && type != LUA_TSTRING)
    luaL_argerror(L, idx, "option 'name' must be a string");
  lua_pop(L, 1);
}

static double option_limit(lua_State *L, int idx) {
  lua_getfield(L, idx, "timeout");
  if (!lua_isnil(L, -1) && lua_type(L, -1) != LUA_TNUMBER)
    luaL_argerror(L, idx, "option 'timeout' must be a number of seconds");
  double s = luaL_optnumber(L, -1, HUGE_VAL);
  luaL_argcheck(L, !isnan(s), idx, "option 'timeout' is NaN");
  lua_pop(L, 1);
  return s;
}

/* The number of the clock in the options, or else that of what is around. */
static unsigned option_clock(lua_State *L, const peri_loop *l, int idx) {
  unsigned number = peri_clock_here(l);
  if (lua_getfield(L, idx, "clock") != LUA_TNIL) {
    const peri_clock *c = peri_clock_test(L, -1);
    if (!c) luaL_argerror(L, idx, "option 'clock' must be a clock, as "
                       "aio.clock(name) returns it");
    number = c->number;
  }
  lua_pop(L, 1);
  return number;
}

typedef struct options {
  double limit;
  unsigned clock;
  int shielded;
} options;

/* Reads the options at 1: a number, or a table. */
static options check_options(lua_State *L, const peri_loop *l) {
  static const char *const names[] = {"timeout", "shield", "name", "clock",
                                      NULL};
  options o = {HUGE_VAL, peri_clock_here(l), 0};
  if (!lua_istable(L, 1)) {
    o.limit = check_limit(L, 1);
    return o;
  }
  peri_error_check_options(L, 1, names);
  lua_getfield(L, 1, "shield");
  o.shielded = lua_toboolean(L, -1);
  lua_pop(L, 1);
  check_name(L, 1);
  o.clock = option_clock(L, l, 1);
  o.limit = option_limit(L, 1);
  return o;
}

/* Pushes a scope that is open in the running task. */
static peri_block *scope_new(lua_State *L, peri_loop *l) {
  options o = check_options(L, l);
  peri_block *b = lua_newuserdatauv(L, sizeof *b, 1);
  block_init(b, abandon_scope);
  luaL_setmetatable(L, SCOPE);
  if (lua_istable(L, 1)) {
    lua_getfield(L, 1, "name");
    lua_setiuservalue(L, -2, 1);
  }
  peri_anchor(L, l, -1, b);
  if (peri_heap_reserve(l, &l->timers)) {
    peri_unanchor(l, b);
    luaL_error(L, "not enough memory");
  }
  peri_block_where(L, b);
  peri_block_open(l, b);
  if (o.shielded) peri_scope_shield(&b->scope);
  b->clock = b->scope.clock = o.clock & UINT16_MAX;
  set_limit(l, b, o.limit);
  return b;
}

/* aio.scope(opts) -> a scope that is open until the variable it is assigned
** to (declared <close>) goes out of scope. opts: seconds, or a table with
** timeout, shield, name, and clock: an aio.clock by which all in it wait, and
** the timeout goes (that of what is around). aio.scope(opts, fn) runs fn(scope)
** in it and returns as aio.timeout does, with code ETIMEDOUT or ECANCELED; it
** waits if fn does. */
static int scope(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  int function_form = !lua_isnoneornil(L, 2);
  if (function_form) peri_check_callable(L, 2);
  check_place(L, l);
  lua_settop(L, 2);
  peri_block *b = scope_new(L, l);
  if (!function_form) return 1;
  lua_pushvalue(L, 3);
  lua_replace(L, 1); /* it stays there, as it may be closed inside */
  lua_pushnil(L);
  lua_insert(L, 2); /* for the handler */
  return call_inside(L, l, b, 2);
}

static int scope_close(lua_State *L);
static int closed_k(lua_State *L, int status, lua_KContext ctx);
static const peri_wait closing = {"end of a group left open", NULL,
                                  closed_k};

static int closed_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  return scope_close(L);
}

/* Blocks inside that are still open are left first; if nothing was wrong so
** far, that is now. */
static int close_inner(lua_State *L, peri_loop *l, peri_block *b) {
  if (lua_isnil(L, 2)) {
    peri_trace_left_open(L, l);
    lua_replace(L, 2);
    lua_pushboolean(L, 1); /* 3: this error is ours to raise */
  }
  peri_block *inner = peri_task_unwind(L, l, &b->scope);
  if (inner) return peri_task_park(L, l, &closing, inner, 0);
  return scope_close(L);
}

/* __close(scope, err): where the scope's own cancellation comes out of the
** block, it is replaced by an error ETIMEDOUT or ECANCELED. */
static int scope_close(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_block *b = check_scope(L);
  if (!b->task) return 0;
  if (!peri_block_is_ours(l, b))
    return peri_error_raise(L, "EINVAL",
                            "the scope opened at %s is closed by another "
                            "task or callback than opened it", b->where);
  if (lua_gettop(L) < 3) lua_settop(L, 2);
  if (l->current->inner != &b->scope) return close_inner(L, l, b);
  int ours = lua_toboolean(L, 3);
  lua_settop(L, 2);
  int own = is_own(L, b);
  if (own) push_failure_object(L, l, code_of(b), b);
  peri_block_close(l, b);
  abandon_scope(l, b);
  return own || ours ? lua_error(L) : 0;
}

/* scope:cancel([reason]) -> true if it was not cancelled before. From
** anywhere; never waits. */
static int scope_cancel(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_block *b = check_scope(L);
  int fresh = b->task && !b->scope.cause;
  lua_settop(L, 2);
  if (fresh) {
    peri_scope_reason(L, l, &b->scope, 2);
    peri_scope_cancel(l, &b->scope, PERI_CAUSE_CANCEL);
  }
  lua_pushboolean(L, fresh);
  return 1;
}

/* scope:expires() -> deadline on the scope's clock, math.huge if none.
** scope:expires(t) sets it, if it has not passed, and returns the scope.
** Never waits. */
static int scope_expires(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_block *b = check_scope(L);
  if (lua_isnone(L, 2)) {
    lua_Number t = HUGE_VAL;
    if (peri_timer_armed(&b->deadline))
      t = (lua_Number)deadline(l, b) / 1e9;
    else if (b->scope.cause == PERI_CAUSE_DEADLINE)
      t = (lua_Number)peri_clock_now(l, b->clock) / 1e9;
    lua_pushnumber(L, t);
    return 1;
  }
  double t = check_limit(L, 2);
  lua_settop(L, 1);
  if (!b->task || b->scope.cause) return 1;
  lift_limit(l, b);
  set_limit(l, b, t - (double)peri_clock_now(l, b->clock) / 1e9);
  return 1;
}

/* scope:cancelled() -> false, or "ETIMEDOUT" or "ECANCELED": whether and
** why this very scope was cancelled. Never waits. */
static int scope_cancelled(lua_State *L) {
  peri_block *b = check_scope(L);
  if (b->scope.cause)
    lua_pushstring(L, code_of(b));
  else
    lua_pushboolean(L, 0);
  return 1;
}

static const luaL_Reg methods[] = {
  {"cancel", scope_cancel}, {"expires", scope_expires},
  {"cancelled", scope_cancelled}, {"__close", scope_close}, {NULL, NULL}};

/* }===================================================================== */

/* aio.time_left() -> seconds to the tightest deadline in force, each by its
** own clock; 0 if it is over, math.huge if there is none. Never waits. */
static int time_left(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  double left = HUGE_VAL;
  const peri_scope *s = l->current->inner;
  for (; s; s = s->shield ? NULL : s->parent) {
    if (s->kind != PERI_SCOPE_BLOCK) continue;
    const peri_block *b = PERI_OF((peri_scope *)(uintptr_t)s, peri_block,
                                  scope);
    if (s->cause == PERI_CAUSE_DEADLINE) left = 0;
    if (!peri_timer_armed(&b->deadline)) continue;
    uint64_t when = deadline(l, b), now = peri_clock_now(l, b->clock);
    double wait = when > now ? (double)(when - now) / 1e9 : 0;
    if (wait < left) left = wait;
  }
  lua_pushnumber(L, left);
  return 1;
}

static const luaL_Reg functions[] = {
  {"timeout", timeout}, {"shield", shield}, {"scope", scope},
  {"time_left", time_left}, {NULL, NULL}};

void peri_block_functions(lua_State *L, peri_loop *l) {
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, functions, 1);
  luaL_newmetatable(L, SCOPE);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, methods, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}
