/*
** task.c - tasks: new, step, park, wake, cancel, finish.
**
** Lua side: functions in sleep.c; methods in future.c, for tasks are futures,
** and in inspect.c.
**
** The loop's table of tasks (slot.c) anchors a task from spawn to finish. The
** task's user value is its coroutine, and its values once it has ended. All
** resuming is done here, from the flat turn.
**
** SPDX-License-Identifier: MIT
*/
#include "task.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "clock.h"
#include "coro.h"
#include "debug.h"
#include "error.h"
#include "hand.h"
#include "hook.h"
#include "slot.h"
#include "trace.h"

/* A sleeping task is to take 1.4 KB at most, most of which is Lua's. */
static_assert(sizeof(void *) > 8 || sizeof(peri_task) <= 144,
              "a task has grown");
static_assert(sizeof(peri_timer) <= offsetof(peri_runnable, run),
              "a timer takes the place of a link, and no more");

static const char not_yours[] = "cannot resume a task from outside the loop";

#define STATUSES 8 /* of Lua: fewer than that */

/* {== New ============================================================== */

static void task_step(peri_loop *l, peri_runnable *r, lua_State *L);

/* The timer of a task ends the wait which has armed it. */
static void timer_fire(peri_loop *l, peri_timer *timer) {
  peri_task_leave(l, PERI_OF(timer, peri_task, timer), PERI_COMPLETED);
}

void peri_task_arm(peri_loop *l, peri_task *t, unsigned clock,
                   uint64_t when) {
  assert(peri_link_alone(&t->run.link));
  peri_timer_init(&t->timer, timer_fire);
  peri_clock_arm(l, clock, &t->timer, when);
}

void peri_task_disarm(peri_loop *l, peri_task *t, unsigned clock) {
  peri_clock_disarm(l, clock, &t->timer);
  peri_link_init(&t->run.link);
}

void peri_owner_init(peri_owner *o, peri_scope *parent,
                     int (*ended)(peri_loop *, peri_owner *, peri_task *)) {
  peri_scope_init(&o->scope, parent, PERI_SCOPE_OWNER);
  o->live = 0;
  o->closed = 0;
  o->keeps = 0;
  o->ended = ended;
}

static void task_init(peri_loop *l, peri_task *t, peri_owner *owner) {
  peri_link_init(&t->run.link);
  t->run.run = task_step;
  t->wait = NULL;
  t->on = NULL;
  peri_scope_init(&t->scope, owner ? &owner->scope : NULL, PERI_SCOPE_TASK);
  t->inner = &t->scope;
  t->context = NULL;
  t->out.phase = owner ? PERI_NEW : PERI_RUNNING;
  t->id = l->ids++;
  t->since = 0;
}

/* Lua calls what is on top of a coroutine that it resumes for the first time:
** this, if that is not the turn. */
static int guard(lua_State *L) {
  return luaL_error(L, "%s", not_yours);
}

/* Moves the task at `idx`, and the function and arguments above it, to `co`:
** body, task, handler, function, arguments, guard. The task stays on L as well,
** and takes its slot. */
static void load(lua_State *L, peri_loop *l, peri_task *t, int idx) {
  lua_State *S = l->stash, *co = t->co;
  lua_pushvalue(S, PERI_STASH_BODY);
  lua_pushvalue(L, idx);
  lua_xmove(L, S, 1);
  lua_pushvalue(S, -1);
  peri_slot_take(l, t);
  lua_pushvalue(S, PERI_STASH_HANDLER);
  lua_xmove(S, co, 3);
  lua_xmove(L, co, lua_gettop(L) - idx);
  lua_pushcfunction(co, guard);
}

/* A task that begins a logical context has only the place for it. */
static void capture(peri_loop *l, peri_task *t, int begins) {
  if (begins) {
    t->context = peri_context_capture(l);
    return;
  }
  peri_frame f = peri_frame_capture(l);
  peri_task_rest(l, t, f);
  peri_slot_own(l, t, f.logical);
}

peri_task *peri_task_new(lua_State *L, peri_loop *l, peri_owner *owner,
                         int nargs, int begins) {
  if (!begins) peri_task_logical(L, l);
  int idx = lua_gettop(L) - nargs;
  if (peri_loop_forked(l)) peri_trace_check_fork(L, l);
  peri_task *t = lua_newuserdatauv(L, sizeof *t, 1);
  peri_outcome_init(&t->out, PERI_TASK);
  t->co = NULL;
  peri_stash_push(l, L, PERI_STASH_TASK);
  lua_setmetatable(L, -2);
  peri_trace_made(L, l);
  lua_insert(L, idx);
  lua_State *co = peri_slot_coroutine(L, l, idx);
  if (nargs > LUA_MINSTACK - 5 && !lua_checkstack(co, nargs + LUA_MINSTACK))
    luaL_error(L, "too many arguments");
  if (peri_heap_reserve(l, &l->timers)) luaL_error(L, "not enough memory");
  t->co = co;
  load(L, l, t, idx);
  task_init(l, t, owner);
  capture(l, t, begins);
  owner->live++;
  l->tasks++;
  peri_loop_ready(l, &t->run);
  return t;
}

/* }===================================================================== */

/* {== Finish =========================================================== */

/* A coroutine that died outside of its protected body: its error, on top,
** becomes that of the task. */
static void store_death(peri_loop *l, peri_task *t) {
  lua_State *S = l->stash;
  peri_task_push(S, l, t);
  lua_xmove(t->co, S, 1);
  lua_setiuservalue(S, -2, 1);
  lua_pop(S, 1);
  t->out.flags = (uint8_t)((t->out.flags & ~PERI_MANY) | PERI_ONE);
}

/* One that was ended by force has no values; the coroutine goes. */
static void store_nothing(peri_loop *l, peri_task *t) {
  lua_State *S = l->stash;
  peri_task_push(S, l, t);
  lua_pushnil(S);
  lua_setiuservalue(S, -2, 1);
  lua_pop(S, 1);
  t->out.flags &= (uint8_t)~(PERI_MANY | PERI_ONE);
}

/* What a task leaves that has not returned; returns how it ended. */
static int clear(peri_loop *l, peri_task *t, int how) {
  if (how == PERI_DIED)
    store_death(l, t);
  else
    store_nothing(l, t);
  peri_block_disown(l, t, &t->scope);
  return how == PERI_DIED ? PERI_FAILED : PERI_ENDED;
}

/* The coroutine is anchored by nothing until it is in the slot: nothing
** here may allocate. A task that its owner keeps loses it. */
void peri_task_finish(peri_loop *l, peri_task *t, int how) {
  peri_owner *o = peri_task_owner(t);
  lua_State *idle = how == PERI_RETURNED ? t->co : NULL;
  int state = t->out.phase; /* the body left its verdict there */
  t->out.phase = PERI_RUNNING;
  peri_hook_left(l, NULL);
  if (how != PERI_RETURNED) state = clear(l, t, how);
  t->co = NULL;
  t->since = 0;
  peri_heap_unreserve(&l->timers);
  peri_scope_remove(l, &t->scope);
  peri_outcome_settle(l, &t->out, state);
  o->live--;
  l->tasks--;
  peri_logical_leave(l, peri_task_own(l, t));
  if (o->ended(l, o, t)) return;
  peri_task_forget(l, t);
  peri_slot_free(l, t, idle);
}

/* }===================================================================== */

/* {== Body ============================================================= */

static int unwind_k(lua_State *L, int status, lua_KContext ctx);

static const peri_wait unwinding = {"end of a group left open", NULL,
                                    unwind_k};

/* How the task ends, with its values on the stack above itself and the
** handler. The verdict stays in `phase` until finish. */
static int verdict(lua_State *L, peri_task *t, int good) {
  int state = PERI_DONE, n = lua_gettop(L) - 2;
  if (t->out.flags & PERI_KILLED) {
    n = 0;
    state = PERI_ENDED;
  } else if (!good) {
    n = 1;
    state = PERI_FAILED;
    if (t->scope.effective && peri_cancelled_is(L, -1)) {
      state = PERI_ENDED;
      lua_getfield(L, -1, "reason");
    }
  }
  peri_outcome_store(L, &t->out, 1, n);
  t->out.phase = (uint8_t)state;
  return 0;
}

/* Leaves what the body has left open; may have to wait for a group. */
static int unwind_k(lua_State *L, int status, lua_KContext ctx) {
  peri_loop *l = PERI_LOOP(L);
  peri_task *t = l->current;
  (void)status;
  peri_block *b = peri_task_unwind(L, l, &t->scope);
  if (b) return peri_task_park(L, l, &unwinding, b, ctx);
  return verdict(L, t, 0);
}

static int left_open(lua_State *L, peri_loop *l, int good) {
  if (good) {
    lua_settop(L, 2);
    peri_trace_left_open(L, l);
  }
  return unwind_k(L, LUA_OK, 0);
}

static int body_end(lua_State *L, peri_loop *l, int status) {
  peri_task *t = l->current;
  int good = status == LUA_OK || status == LUA_YIELD;
  if (t->inner != &t->scope) return left_open(L, l, good);
  return verdict(L, t, good);
}

/* Takes off what somebody else resumed the coroutine of a wait with: the wait
** goes by what is on its stack. */
static void drop_arguments(lua_State *L, peri_loop *l) {
  for (uint32_t i = 1; i <= l->slots; i++) {
    lua_rawgeti(l->stash, PERI_STASH_TASKS, i);
    peri_task *t = lua_touserdata(l->stash, -1);
    lua_pop(l->stash, 1);
    if (t && t->co && peri_task_waits_in(t) == L) lua_settop(L, t->scope.top);
  }
}

/* Resumed by someone else than the turn: says so, and stays as it was. */
static int refuse_resume(lua_State *L, lua_KContext ctx, lua_KFunction k) {
  lua_pushboolean(L, 0);
  lua_pushstring(L, not_yours);
  return lua_yieldk(L, 2, ctx, k);
}

/* A body that somebody else resumed, from a yield that was none of ours, ends
** when the turn resumes it. Until then `ctx` has how the body ended, and how
** much of the stack is its own. */
static int body_k(lua_State *L, int status, lua_KContext ctx) {
  peri_loop *l = PERI_LOOP(L);
  if (ctx) {
    lua_settop(L, (int)(ctx / STATUSES));
    status = (int)(ctx % STATUSES);
  }
  if (l->top == L) return body_end(L, l, status);
  peri_error_room(L, 2);
  return refuse_resume(L, (lua_KContext)lua_gettop(L) * STATUSES + status,
                       body_k);
}

static int body_start(lua_State *L, int status, lua_KContext ctx) {
  peri_loop *l = PERI_LOOP(L);
  (void)status;
  (void)ctx;
  if (l->top != L) return refuse_resume(L, 0, body_start);
  status = lua_pcallk(L, lua_gettop(L) - 3, LUA_MULTRET, 2, 0, body_k);
  return body_end(L, l, status);
}

/* What the coroutine of every task runs, given what load moves there. The
** protected call is inside it, so that closing a variable may wait while an
** error unwinds. */
static int task_body(lua_State *L) {
  return body_start(L, LUA_OK, 0);
}

/* The function at the bottom of a coroutine's stack is in its outermost
** frame, or, before it starts, the first value. */
int peri_task_is_coroutine(lua_State *co) {
  lua_Debug ar;
  int low = 0, high = 1;
  if (!lua_getstack(co, 0, &ar))
    return lua_gettop(co) > 0 && lua_tocfunction(co, 1) == task_body;
  while (lua_getstack(co, high, &ar)) {
    low = high;
    high *= 2;
  }
  while (high - low > 1) { /* a frame at `low`, none at `high` */
    int middle = (low + high) / 2;
    if (lua_getstack(co, middle, &ar))
      low = middle;
    else
      high = middle;
  }
  lua_getstack(co, low, &ar);
  lua_getinfo(co, "f", &ar);
  int is = lua_tocfunction(co, -1) == task_body;
  lua_pop(co, 1);
  return is;
}

/* }===================================================================== */

/* {== Step ============================================================= */

static const peri_wait raw_yield = {"yield", NULL, NULL};

static void raise_hooked(lua_State *L, peri_loop *l) {
  if (l->current->scope.raised) peri_debug_swallowed(L, l, l->current);
  peri_task_raise(L, l, l->current);
}

/* A yield has no continuation to raise in, so a hook does that, when the
** function that yielded returns. */
static void raise_step(peri_loop *l, peri_runnable *r, lua_State *L) {
  r->run = task_step;
  peri_hook_arm(l, PERI_OF(r, peri_task, run)->co, raise_hooked);
  task_step(l, r, L);
  peri_hook_disarm(l, raise_hooked);
}

/* A yield that is no wait of ours is one of the user's: like aio.yield. */
static void yielded(peri_loop *l, peri_task *t, int nres) {
  if (nres) lua_pop(t->co, nres);
  if (t->out.phase != PERI_RUNNING) return;
  t->wait = &raw_yield;
  if (t->inner->effective) t->run.run = raise_step;
  peri_loop_ready(l, &t->run);
}

static void task_step(peri_loop *l, peri_runnable *r, lua_State *L) {
  peri_task *t = PERI_OF(r, peri_task, run);
  peri_frame outer = peri_frame_swap(l, peri_task_frame(l, t));
  lua_State *in = l->in;
  int nres = 0, nargs = 0;
  if (t->out.phase == PERI_NEW) {
    nargs = lua_gettop(t->co) - 2; /* the guard is taken off */
    if (nargs < 0) nargs = 0; /* somebody has closed it: so it ends */
    if (nargs) lua_pop(t->co, 1);
    t->out.phase = PERI_RUNNING;
  }
  l->current = t;
  l->top = l->in = t->co;
  l->burst = 0;
  int status = lua_resume(t->co, L, nargs, &nres);
  l->current = l->root;
  l->top = NULL;
  l->in = in;
  peri_task_rest(l, t, peri_frame_swap(l, outer));
  if (status == LUA_YIELD)
    yielded(l, t, nres);
  else
    peri_task_finish(l, t, status == LUA_OK ? PERI_RETURNED : PERI_DIED);
}

/* }===================================================================== */

/* {== Put off ========================================================== */

/* Suspends the running task, which waits in L. */
static int suspend(lua_State *L, peri_task *t, lua_KContext ctx,
                   lua_KFunction k) {
  t->scope.top = lua_gettop(L);
  if (L == t->co)
    t->out.flags &= (uint8_t)~PERI_NESTED;
  else
    t->out.flags |= PERI_NESTED;
  return lua_yieldk(L, 0, ctx, k);
}

/* Suspended by a hook, it goes on in the middle of Lua code, without a
** continuation. */
static const peri_wait preempted = {"its turn", NULL, NULL};

static void go_on(peri_loop *l, peri_runnable *r, lua_State *L) {
  r->run = task_step;
  PERI_OF(r, peri_task, run)->out.phase = PERI_RUNNING;
  task_step(l, r, L);
}

int peri_task_can_preempt(lua_State *L, const peri_loop *l) {
  return peri_task_can_yield(L, l) && !l->callback;
}

void peri_task_preempt(lua_State *L, peri_loop *l) {
  peri_task *t = l->current;
  t->wait = &preempted;
  t->out.phase = PERI_COMPLETED;
  t->run.run = go_on;
  peri_loop_ready(l, &t->run);
  suspend(L, t, 0, NULL);
}

int peri_task_is_preempted(const peri_task *t) {
  return t->run.run == go_on;
}

peri_task *peri_task_resumed_by(peri_runnable *r) {
  int is = r->run == task_step || r->run == go_on || r->run == raise_step;
  return is ? PERI_OF(r, peri_task, run) : NULL;
}

/* }===================================================================== */

/* {== Park and wake ==================================================== */

/* The main chunk goes on when the turn is over. */
static void root_step(peri_loop *l, peri_runnable *r, lua_State *L) {
  (void)l;
  (void)r;
  (void)L;
}

void peri_task_wake(peri_loop *l, peri_task *t) {
  assert(t->out.phase == PERI_ARMED);
  t->out.phase = PERI_COMPLETED;
  peri_loop_ready(l, &t->run);
}

peri_task *peri_task_of(peri_runnable *r) {
  return r->run == task_step || r->run == root_step
           ? PERI_OF(r, peri_task, run) : NULL;
}

static void wake(peri_loop *l, peri_runnable *r) {
  if (!r->run) {
    peri_notice *n = PERI_OF(r, peri_notice, run);
    n->notice(l, n);
    return;
  }
  peri_task *t = peri_task_of(r);
  if (t) t->out.phase = PERI_COMPLETED;
  peri_loop_ready(l, r);
}

int peri_task_leave(peri_loop *l, peri_task *t, int why) {
  if (t->out.phase != PERI_ARMED || !t->wait->abort) return 0;
  if (!t->wait->abort(l, t, why)) return 0;
  t->out.phase = (uint8_t)why;
  peri_loop_ready(l, &t->run);
  return 1;
}

int peri_task_starve(peri_loop *l, peri_task *t) {
  return peri_task_leave(l, t, PERI_STARVED);
}

static void interrupt(peri_loop *l, peri_scope *s) {
  peri_task *t = NULL;
  if (s->kind == PERI_SCOPE_TASK) t = PERI_OF(s, peri_task, scope);
  if (s->kind == PERI_SCOPE_BLOCK) t = PERI_OF(s, peri_block, scope)->task;
  if (t && t->inner == s) peri_task_leave(l, t, PERI_ABORTED);
}

static int resumed(lua_State *L, peri_loop *l, peri_task *t,
                   lua_KContext ctx) {
  int phase = t->out.phase;
  t->out.phase = PERI_RUNNING;
  if (phase <= PERI_COMPLETED) return t->wait->k(L, LUA_YIELD, ctx);
  if (phase == PERI_KNOTTED) return peri_trace_cycle(L);
  if (phase == PERI_STARVED) return peri_trace_deadlock(L, l, t);
  return peri_task_raise(L, l, t);
}

static int park_k(lua_State *L, int status, lua_KContext ctx) {
  peri_loop *l = PERI_LOOP(L);
  (void)status;
  if (l->top != L) {
    drop_arguments(L, l);
    return refuse_resume(L, ctx, park_k);
  }
  return resumed(L, l, l->current, ctx);
}

/* A wait that cannot be left is one for a group. Nothing will end that: it is
** left all the same, with all blocks that are open. */
static void give_up(peri_loop *l, peri_task *t) {
  peri_block *b = t->on;
  peri_waitlist_remove(b->waiters, &t->run);
  t->out.phase = PERI_STARVED;
  peri_block_disown(l, t, &t->scope);
}

/* Nothing is ready and nothing can come: the run's main task is told, or
** who drives. */
static void starve(peri_loop *l) {
  if (l->main) peri_task_starve(l, l->main);
  if (peri_loop_busy(l) || peri_task_starve(l, l->root)) return;
  if (!peri_loop_busy(l)) give_up(l, l->root);
}

/* No task runs in a forked child: who drives there is told so. */
static void stray(peri_loop *l) {
  if (l->root->out.phase != PERI_ARMED) return;
  if (!peri_task_starve(l, l->root)) give_up(l, l->root);
}

static void drive(lua_State *L, peri_loop *l) {
  l->poller->drive(l, 1);
  while (l->root->out.phase == PERI_ARMED) {
    if (peri_loop_turn(l, L, PERI_FOREVER) == PERI_STUCK) starve(l);
    if (peri_loop_forked(l)) stray(l);
  }
  peri_link_out(&l->root->run.link);
  l->poller->drive(l, 0);
}

static void arm(peri_loop *l, peri_task *t, const peri_wait *w, void *on) {
  t->wait = w;
  t->on = on;
  t->since = (uint32_t)(l->now / 1000000);
  t->out.phase = PERI_ARMED;
}

int peri_task_park(lua_State *L, peri_loop *l, const peri_wait *w, void *on,
                   lua_KContext ctx) {
  peri_task *t = l->current;
  arm(l, t, w, on);
  if (t != l->root) return suspend(L, t, ctx, park_k);
  drive(L, l);
  return resumed(L, l, t, ctx);
}

/* To the tail of the ready list; no cancellation comes in between. */
int peri_task_requeue(lua_State *L, peri_loop *l, const peri_wait *w,
                   lua_KContext ctx) {
  peri_task *t = l->current;
  t->wait = w;
  t->out.phase = PERI_COMPLETED;
  if (t == l->root) {
    peri_loop_turn(l, L, 0);
    return resumed(L, l, t, ctx);
  }
  peri_loop_ready(l, &t->run);
  return suspend(L, t, ctx, park_k);
}

/* }===================================================================== */

/* The main chunk's task: no handle, no coroutine, no owner. */
static void open_root(lua_State *L, peri_loop *l) {
  peri_task *t = lua_newuserdatauv(L, sizeof *t, 0);
  memset(t, 0, sizeof *t);
  peri_outcome_init(&t->out, PERI_TASK);
  task_init(l, t, NULL);
  t->run.run = root_step;
  peri_anchor(L, l, -1, t);
  if (peri_heap_reserve(l, &l->timers)) luaL_error(L, "not enough memory");
  l->root = l->current = t;
  lua_pop(L, 1);
}

static void push_closure(lua_State *L, peri_loop *l, lua_CFunction f,
                         int index) {
  peri_stash_push(l, L, PERI_STASH_LOOP);
  lua_pushcclosure(L, f, 1);
  peri_stash_set(l, L, index);
}

void peri_task_open(lua_State *L, peri_loop *l) {
  l->wake = wake;
  l->interrupt = interrupt;
  push_closure(L, l, task_body, PERI_STASH_BODY);
  push_closure(L, l, peri_trace_handler, PERI_STASH_HANDLER);
  open_root(L, l);
  peri_slot_open(L, l);
  peri_hook_open(L, l);
}
