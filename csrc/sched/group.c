/*
** group.c - task groups: the owner of tasks that a block of code waits for.
**
** Lua side: group: spawn, service, start (in Lua), wait, cancel, iteration,
** `<close>`.
**
** A group is a block in the task that opened it, so that a failing child
** cancels the body, and two owners under that block: of the children and of
** the services. The userdata is anchored by the loop while it is open. User
** value 1 is the function given as `on_failure`.
**
** SPDX-License-Identifier: MIT
*/
#include "group.h"

#include <string.h>

#include "block.h"
#include "callback.h"
#include "error.h"
#include "future.h"
#include "trace.h"

#define GROUP "perilune.group"

enum { RAISE, TELL, KEEP }; /* what becomes of failures */

typedef struct peri_group {
  peri_block block;      /* the body is a member */
  peri_owner children;
  peri_owner services;
  peri_waitlist waiters; /* for the children's end: the body, and others */
  peri_link finished;    /* ended children, while someone iterates */
  peri_waitlist takers;  /* who iterates */
  peri_task *first;      /* the first that failed, kept */
  uint32_t untold;       /* failures that `on_failure` has yet to hear of */
  peri_frame frame;      /* (if TELL) that it was opened in */
  uint8_t failures;      /* RAISE, TELL, KEEP */
  uint8_t body_failed;   /* the body's error came before any child's */
  uint8_t interrupted;   /* leaving was cancelled while it waited */
  uint8_t iterated;
  uint8_t strict;        /* a child that was cancelled by itself has failed */
} peri_group;

static peri_group *group_of(peri_block *b) {
  return PERI_OF(b, peri_group, block);
}

static peri_group *check_group(lua_State *L) {
  return luaL_checkudata(L, 1, GROUP);
}

peri_task *peri_group_parent(const peri_owner *o) {
  const peri_scope *s = o->scope.parent;
  if (!s || s->kind != PERI_SCOPE_BLOCK) return NULL;
  return PERI_OF((peri_scope *)(uintptr_t)s, peri_block, scope)->task;
}

/* {== The end of a child =============================================== */

/* Something is still to come that the group waits for. */
static int busy(const peri_group *g) {
  return g->children.live || g->services.live || g->untold;
}


/* ... or the error hook, for a failure that cannot be raised any more. */
static void secondary(peri_loop *l, peri_runnable *r, lua_State *L) {
  peri_task *t = PERI_OF(r, peri_task, run);
  if (!lua_checkstack(L, LUA_MINSTACK)) return;
  peri_task_push(L, l, t);
  lua_getiuservalue(L, -1, 1);
  lua_remove(L, -2);
  peri_report(l, L, "secondary", t);
  peri_task_release(l, t);
}

static int defer(peri_loop *l, peri_task *t, peri_group *g,
                 void (*run)(peri_loop *, peri_runnable *, lua_State *)) {
  t->on = g;
  t->run.run = run;
  peri_loop_ready(l, &t->run);
  return 1;
}

static void tell(peri_loop *l, peri_runnable *r, lua_State *L);

static int child_failed(peri_loop *l, peri_group *g, peri_task *t) {
  if (g->failures == KEEP) return 0;
  if (g->failures == TELL) {
    g->untold++;
    return defer(l, t, g, tell);
  }
  if (g->first || g->body_failed) return defer(l, t, g, secondary);
  g->first = t;
  peri_scope_cancel(l, &g->block.scope, PERI_CAUSE_CANCEL);
  return 1;
}

/* Lets go of the members it has kept, and of itself. */
static void forget(peri_loop *l, peri_group *g) {
  peri_scope_remove(l, &g->children.scope);
  peri_scope_remove(l, &g->services.scope);
  while (!peri_link_alone(&g->finished)) {
    peri_runnable *r = PERI_OF(g->finished.next, peri_runnable, link);
    peri_link_out(&r->link);
    peri_task_release(l, PERI_OF(r, peri_task, run));
  }
  peri_frame_release(l, &g->frame);
  peri_unanchor(l, g);
}

/* The group of a task that died without closing it: nobody waits for it. */
static void end_orphan(peri_loop *l, peri_group *g) {
  if (g->block.task || busy(g)) return;
  if (g->block.scope.parent->kind != PERI_SCOPE_OWNER) return;
  if (g->first) peri_task_release(l, g->first);
  forget(l, g);
  peri_scope_remove(l, &g->block.scope);
}

/* Services serve the others to the end: what cancels the group reaches them
** when no child is left that could need them. */
static void end_services(peri_loop *l, peri_group *g) {
  g->services.scope.shield = 0;
  peri_scope_cancel(l, &g->services.scope, PERI_CAUSE_CANCEL);
}

static int collect(peri_loop *l, peri_group *g, peri_task *t) {
  peri_list_append(&g->finished, &t->run.link);
  peri_waitlist_wake(l, &g->takers);
  return 1;
}

static int has_failed(const peri_group *g, const peri_task *t) {
  if (t->out.flags & PERI_STARTING) return 0;
  if (t->out.state == PERI_ENDED)
    return g->strict && !g->children.scope.effective;
  return t->out.state == PERI_FAILED;
}

static int member_ended(peri_loop *l, peri_group *g, peri_task *t) {
  return has_failed(g, t) ? child_failed(l, g, t) : 0;
}

/* Who waits for the children goes on if that was the last of them, and so
** does who leaves, if they have ended and this was a service. */
static void check_end(peri_loop *l, peri_group *g) {
  if (g->children.live || g->untold) return;
  peri_waitlist_wake_all(l, &g->waiters);
  end_orphan(l, g);
}

static int child_ended(peri_loop *l, peri_owner *o, peri_task *t) {
  peri_group *g = PERI_OF(o, peri_group, children);
  int kept = member_ended(l, g, t);
  if (!kept && g->iterated) kept = collect(l, g, t);
  if (!o->live) {
    if (o->closed || o->scope.cause) end_services(l, g);
    peri_waitlist_wake_all(l, &g->takers);
  }
  check_end(l, g);
  return kept;
}

static int service_ended(peri_loop *l, peri_owner *o, peri_task *t) {
  peri_group *g = PERI_OF(o, peri_group, services);
  int kept = member_ended(l, g, t);
  if (!o->live) check_end(l, g);
  return kept;
}

/* Calls the group's `on_failure`. It is there until all have been told. */
static void call_on_failure(peri_loop *l, lua_State *L, peri_group *g,
                            peri_task *t) {
  if (!lua_checkstack(L, LUA_MINSTACK)) return;
  peri_push_anchored(l, L, g);
  lua_getiuservalue(L, -1, 1);
  peri_task_push(L, l, t);
  lua_pushvalue(L, -1);
  peri_outcome_push(L, &t->out, lua_gettop(L));
  lua_remove(L, -3);
  if (peri_callback_call(l, L, &g->frame, 2, 0))
    peri_report(l, L, "callback", t);
}

/* Runs in the turn after the child's end. */
static void tell(peri_loop *l, peri_runnable *r, lua_State *L) {
  peri_task *t = PERI_OF(r, peri_task, run);
  peri_group *g = t->on;
  int top = lua_gettop(L);
  call_on_failure(l, L, g, t);
  peri_task_release(l, t);
  lua_settop(L, top);
  g->untold--;
  check_end(l, g);
}

/* }===================================================================== */

/* {== Cycles =========================================================== */

/* A member that waits for `t`, or NULL. */
static peri_task *waiting_member(const peri_task *t, const peri_group *g) {
  peri_runnable *first = peri_waitlist_first(&t->out.waiters), *r = first;
  while (r) {
    peri_task *member = peri_task_of(r);
    if (member && peri_task_is_of(member, &g->children)) return member;
    r = PERI_OF(r->link.next, peri_runnable, link);
    if (r == first) break;
  }
  return NULL;
}

/* `t` is about to wait for the members: those that wait for it would do so
** for ever. */
static void untie(peri_loop *l, peri_task *t, const peri_group *g) {
  peri_task *member;
  while ((member = waiting_member(t, g)))
    if (!peri_task_leave(l, member, PERI_KNOTTED)) break;
}

/* }===================================================================== */

/* {== Leaving ========================================================== */

/* Stack while leaving: group, the body's error or nil. */
static int leave_k(lua_State *L, int status, lua_KContext ctx);

/* Leaving cannot be left: it remembers, and its children are cancelled
** along with it. */
static int leave_abort(peri_loop *l, peri_task *t, int why) {
  peri_group *g = t->on;
  if (g->interrupted) return 0; /* by itself, when it cancels its children */
  if (!g->interrupted) g->interrupted = (uint8_t)why;
  if (why == PERI_STARVED)
    peri_scope_cancel(l, &g->block.scope, PERI_CAUSE_CANCEL);
  return 0;
}

static const peri_wait leaving = {"end of its group", leave_abort, leave_k};

static int leave_park(lua_State *L, peri_loop *l, peri_group *g) {
  if (g->block.scope.effective && !g->interrupted)
    g->interrupted = PERI_ABORTED;
  untie(l, l->current, g);
  peri_waitlist_add(&g->waiters, &l->current->run);
  return peri_task_park(L, l, &leaving, g, 0);
}

/* Everybody has ended: takes the group apart, and raises what is due. */
static int leave_end(lua_State *L, peri_loop *l, peri_group *g) {
  peri_task *t = l->current, *first = g->first;
  forget(l, g);
  peri_block_close(l, &g->block);
  if (first) {
    peri_task_push(L, l, first);
    peri_future_push_error(L, &first->out, lua_gettop(L));
    peri_task_release(l, first);
    l->passing = 1;
    return lua_error(L);
  }
  if (lua_toboolean(L, 3)) {
    lua_settop(L, 2);
    return lua_error(L); /* the error of a scope left open inside */
  }
  if (!lua_isnil(L, 2) || !g->interrupted) return 0;
  if (g->interrupted == PERI_STARVED) return peri_trace_deadlock(L, l, t);
  if (!t->inner->effective) return 0;
  return peri_task_raise(L, l, t);
}

static int leave(lua_State *L, peri_loop *l, peri_group *g) {
  if (g->children.live || g->untold) return leave_park(L, l, g);
  g->children.closed = g->services.closed = 1;
  end_services(l, g);
  if (busy(g)) return leave_park(L, l, g);
  return leave_end(L, l, g);
}

static int inner_k(lua_State *L, int status, lua_KContext ctx);
static const peri_wait leaving_inner = {"end of a group left open", NULL,
                                        inner_k};

/* What the body left open inside the group is left first. */
static int leave_inner(lua_State *L, peri_loop *l, peri_group *g) {
  peri_block *inner = peri_task_unwind(L, l, &g->block.scope);
  if (inner) return peri_task_park(L, l, &leaving_inner, inner, 0);
  return leave(L, l, g);
}

static int inner_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  return leave_inner(L, PERI_LOOP(L), check_group(L));
}

static int leave_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  return leave(L, PERI_LOOP(L), check_group(L));
}

/* Is the error at 2 that of the first child that failed, awaited in the
** body and passed on? */
static int is_first(lua_State *L, peri_loop *l, const peri_group *g) {
  peri_task_push(L, l, g->first);
  lua_getiuservalue(L, -1, 1);
  int is = lua_rawequal(L, -1, 2);
  lua_pop(L, 2);
  return is;
}

/* An error of the body, at 2, cancels the children; it is the group's error
** unless a child failed before. */
static void note_body_error(lua_State *L, peri_loop *l, peri_group *g) {
  if (peri_cancelled_is(L, 2)) {
    peri_scope_cancel(l, &g->block.scope, PERI_CAUSE_CANCEL);
    return;
  }
  if (!g->first) {
    g->body_failed = 1;
  } else if (!is_first(L, l, g)) {
    lua_pushvalue(L, 2);
    peri_report(l, L, "secondary", NULL);
  }
  peri_scope_cancel(l, &g->block.scope, PERI_CAUSE_CANCEL);
}

/* An error that is nil looks as if there were none. But where its block ends
** Lua code closes the variable; where an error unwinds, C does. */
static int has_nil_error(lua_State *L) {
  lua_Debug ar;
  if (!lua_isnil(L, 2) || !lua_getstack(L, 1, &ar)) return 0;
  lua_getinfo(L, "S", &ar);
  return *ar.what == 'C';
}

/* __close(group, err): waits for the children, then for the services, which
** are cancelled. Raises the earliest failure. */
static int group_close(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_group *g = check_group(L);
  peri_task *t = l->current;
  if (!g->block.task) return 0;
  if (!peri_block_is_ours(l, &g->block))
    return peri_error_raise(L, "EINVAL",
                            "the group opened at %s is closed by another "
                            "task or callback than opened it",
                            g->block.where);
  /* Closed by coroutine.close, or where nothing can be suspended? */
  if (busy(g) && !peri_wait_plain(L, l))
    peri_wait_look(L, l);
  lua_settop(L, 2);
  if (t->inner != &g->block.scope && lua_isnil(L, 2)) {
    peri_trace_left_open(L, l);
    lua_replace(L, 2);
    lua_pushboolean(L, 1);
  }
  if (!lua_isnil(L, 2) || has_nil_error(L)) note_body_error(L, l, g);
  if (t->inner != &g->block.scope) return leave_inner(L, l, g);
  return leave(L, l, g);
}

/* Left open by its task: cancels all; the task waits for them. */
static int group_abandon(peri_loop *l, peri_block *b) {
  peri_group *g = group_of(b);
  g->children.closed = g->services.closed = 1;
  if (g->failures == RAISE && !g->first) g->body_failed = 1;
  peri_scope_cancel(l, &b->scope, PERI_CAUSE_CANCEL);
  if (!g->children.live) end_services(l, g);
  if (busy(g)) {
    if (b->task) peri_waitlist_add(&g->waiters, &b->task->run);
    return 0;
  }
  if (g->first) peri_task_release(l, g->first);
  forget(l, g);
  return 1;
}

/* }===================================================================== */

/* {== Lua side ========================================================= */

static int spawn_in(lua_State *L, peri_group *g, peri_owner *o, int flags,
                    int begins) {
  peri_loop *l = PERI_LOOP(L);
  peri_check_callable(L, 2);
  if (!g->block.task || o->closed)
    return peri_error_raise(L, "ECLOSED",
                            "cannot spawn into a group that is closed");
  peri_task *t = peri_task_new(L, l, o, lua_gettop(L) - 2, begins);
  t->out.flags |= (uint8_t)(PERI_TAKEN | flags);
  return 1;
}

/* group:spawn(fn, ...) -> task. Starts in the next turn; never waits. */
static int group_spawn(lua_State *L) {
  peri_group *g = check_group(L);
  return spawn_in(L, g, &g->children, 0, 0);
}

/* group:service(fn, ...) -> task that is not waited for: it is cancelled
** when the children have ended, and not before, whatever cancels the group.
** Never waits. */
static int group_service(lua_State *L) {
  peri_group *g = check_group(L);
  return spawn_in(L, g, &g->services, 0, 0);
}

/* For group:start: a child whose failure is not the group's, until
** core.started(task) is called. */
static int group_starting(lua_State *L) {
  peri_group *g = check_group(L);
  return spawn_in(L, g, &g->children, PERI_STARTING, 0);
}

/* core.serving(group, fn, ...) -> task: a child that begins a logical
** context, as background tasks do. */
static int group_serving(lua_State *L) {
  peri_group *g = check_group(L);
  return spawn_in(L, g, &g->children, 0, 1);
}

static int started(lua_State *L) {
  peri_task *t = peri_task_check(L, PERI_LOOP(L), 1);
  t->out.flags &= (uint8_t)~PERI_STARTING;
  return 0;
}

static const peri_wait waiting = {"children of a group", peri_task_unlist,
                                  peri_task_true_k};

/* group:wait() -> true once no child runs; the group stays open. Waits. */
static int group_wait(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_group *g = check_group(L);
  peri_wait_enter(L, l);
  lua_settop(L, 1);
  if (!g->children.live && !g->untold) {
    lua_pushboolean(L, 1);
    return peri_task_done(L, l, 1);
  }
  untie(l, l->current, g);
  return peri_task_park_in(L, l, &waiting, &g->waiters);
}

static const peri_owner *joined(const peri_task *t) {
  if (t->wait == &leaving) return &((const peri_group *)t->on)->children;
  if (t->wait != &waiting) return NULL;
  return &PERI_OF((peri_waitlist *)t->on, peri_group, waiters)->children;
}

/* group:cancel([reason]) -> true if it was not cancelled before. Cancels the
** children, when these have ended the services, and never the body. Never
** waits. */
static int group_cancel(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_group *g = check_group(L);
  int fresh = g->block.task && !g->children.scope.cause;
  lua_settop(L, 2);
  if (fresh) {
    peri_scope_reason(L, l, &g->children.scope, 2);
    peri_scope_reason(L, l, &g->services.scope, 2);
    peri_scope_cancel(l, &g->children.scope, PERI_CAUSE_CANCEL);
    if (!g->children.live) end_services(l, g);
  }
  lua_pushboolean(L, fresh);
  return 1;
}

static int take_k(lua_State *L, int status, lua_KContext ctx);
static const peri_wait taking = {"next child of a group", peri_task_unlist,
                                 take_k};

static int take_k(lua_State *L, int status, lua_KContext ctx) {
  peri_loop *l = PERI_LOOP(L);
  peri_group *g = check_group(L);
  (void)status;
  (void)ctx;
  if (!peri_link_alone(&g->finished)) {
    peri_runnable *r = PERI_OF(g->finished.next, peri_runnable, link);
    peri_task *t = PERI_OF(r, peri_task, run);
    peri_link_out(&r->link);
    peri_task_push(L, l, t);
    peri_task_release(l, t);
    return 1;
  }
  if (!g->children.live) return 0;
  return peri_task_park_in(L, l, &taking, &g->takers);
}

/* `for task in group do`: children in the order in which they end. Waits;
** ends when no child runs. */
static int group_call(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_group *g = check_group(L);
  peri_wait_enter(L, l);
  lua_settop(L, 1);
  g->iterated = 1;
  if (!peri_link_alone(&g->finished) || !g->children.live)
    return peri_task_done(L, l, take_k(L, LUA_OK, 0));
  return take_k(L, LUA_OK, 0);
}

static void read_options(lua_State *L, peri_group *g) {
  if (lua_isnoneornil(L, 1)) return;
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_getfield(L, 1, "on_failure");
  if (lua_isboolean(L, -1) && !lua_toboolean(L, -1)) {
    g->failures = KEEP;
  } else if (!lua_isnil(L, -1)) {
    g->failures = TELL;
    lua_setiuservalue(L, -2, 1);
    return;
  }
  lua_pop(L, 1);
}

/* core.group([opts [, strict]]) -> group, open in the running task.
** opts.on_failure: fn(task, err) hears of failing children instead; false
** keeps quiet. */
static int group(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  if (!peri_task_runs_in(l, L) || l->callback) peri_wait_enter(L, l);
  int strict = lua_toboolean(L, 2);
  lua_settop(L, 1);
  peri_group *g = lua_newuserdatauv(L, sizeof *g, 1);
  memset(g, 0, sizeof *g);
  g->strict = (uint8_t)strict;
  peri_link_init(&g->finished);
  luaL_setmetatable(L, GROUP);
  read_options(L, g);
  if (g->failures == TELL) peri_task_logical(L, l);
  peri_anchor(L, l, -1, g);
  if (g->failures == TELL) g->frame = peri_frame_capture(l);
  g->block.abandon = group_abandon;
  g->block.waiters = &g->waiters;
  peri_timer_init(&g->block.deadline, NULL); /* which is never armed */
  peri_block_where(L, &g->block);
  peri_block_open(l, &g->block);
  peri_owner_init(&g->children, &g->block.scope, child_ended);
  peri_owner_init(&g->services, &g->block.scope, service_ended);
  peri_scope_shield(&g->services.scope);
  return 1;
}

static const luaL_Reg methods[] = {
  {"spawn", group_spawn}, {"service", group_service},
  {"wait", group_wait},
  {"cancel", group_cancel}, {"__call", group_call},
  {"__close", group_close}, {NULL, NULL}};

void peri_group_open(lua_State *L, peri_loop *l) {
  static const luaL_Reg functions[] = {
    {"group", group}, {"starting", group_starting}, {"started", started},
    {"serving", group_serving}, {NULL, NULL}};
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, functions, 1);
  l->joined = joined;
  luaL_newmetatable(L, GROUP);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, methods, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_setfield(L, -2, "group_methods"); /* group.lua adds `start` */
}

/* }===================================================================== */
