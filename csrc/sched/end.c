/*
** end.c - tasks that are ended by force, and the end of the Lua state.
**
** SPDX-License-Identifier: MIT
*/
#include "coro.h"
#include "error.h"
#include "hand.h"
#include "task.h"

#define CLOSE_ROUNDS 100 /* turns that dying tasks get */

/* {== By force ========================================================= */

/* What a wait has brought, and nobody is going to take, goes back. */
static void drop_wait(peri_loop *l, peri_task *t) {
  if (t->out.phase == PERI_COMPLETED && t->wait->drop && !peri_task_closed(t))
    t->wait->drop(l, t);
}

/* What a cancellation does not end is left as if nothing could come. */
static int leave_wait(peri_loop *l, peri_task *t) {
  return t->out.phase != PERI_ARMED || peri_task_leave(l, t, PERI_ABORTED) ||
         peri_task_leave(l, t, PERI_STARVED) || t->out.flags & PERI_LOST;
}

static int off_the_loop(peri_loop *l, peri_task *t) {
  if (!leave_wait(l, t)) return 0;
  drop_wait(l, t);
  if (!(t->out.flags & PERI_LOST)) peri_link_out(&t->run.link);
  t->out.phase = PERI_RUNNING;
  return 1;
}

static void close_coroutine(lua_State *L, peri_loop *l, lua_State *co) {
  l->called = l->in = co;
  peri_stash_push(l, L, PERI_STASH_CLOSE);
  lua_pushthread(co);
  lua_xmove(co, L, 1);
  if (lua_pcall(L, 1, 0, 0)) lua_pop(L, 1);
}

/* Closes the generators that the task waits in, the innermost first, and then
** its coroutine. */
static void close_stacks(lua_State *L, peri_loop *l, peri_task *t) {
  lua_State *co, *inner;
  do {
    for (co = t->co; (inner = peri_coro_inner(co)); co = inner)
      if (lua_status(inner) != LUA_YIELD) {
        peri_coro_leave(L, l, inner);
        break;
      }
    close_coroutine(L, l, co);
  } while (co != t->co);
}

/* Handlers run as the task, in its context, and like callbacks cannot wait:
** they would drive the loop, where one is not to wait for them. */
static void close_as(lua_State *L, peri_loop *l, peri_task *t) {
  peri_frame outer = peri_frame_swap(l, peri_task_frame(l, t));
  peri_task *was = l->current;
  lua_State *called = l->called, *in = l->in;
  unsigned callback = l->callback;
  l->current = t;
  l->callback = 1;
  close_stacks(L, l, t);
  l->callback = callback;
  l->called = called;
  l->in = in;
  l->current = was;
  peri_task_rest(l, t, peri_frame_swap(l, outer));
}

int peri_task_kill(lua_State *L, peri_loop *l, peri_task *t) {
  peri_error_new(L, "ECANCELED", "the task was ended by force");
  if (!off_the_loop(l, t)) {
    lua_pop(L, 1);
    return 0;
  }
  close_as(L, l, t);
  lua_settop(t->co, 0);
  lua_xmove(L, t->co, 1);
  peri_task_finish(l, t, PERI_DIED);
  return 1;
}

/* True if it runs, or its handlers are being called. One that yielded by
** itself is in the ready list. */
static int is_running(const peri_task *t) {
  return t->out.phase == PERI_RUNNING && peri_link_alone(&t->run.link);
}

int peri_task_end(lua_State *L, peri_loop *l, peri_task *t, int close) {
  if (is_running(t) || !off_the_loop(l, t)) return 0;
  if (close) close_as(L, l, t);
  peri_task_finish(l, t, PERI_DROPPED);
  return 1;
}

/* }===================================================================== */

/* {== The end of the Lua state ========================================= */

/* Nothing is shielded from this end. */
static void cancel_shielded(peri_loop *l, peri_task *t) {
  peri_scope *outermost;
  do {
    outermost = NULL;
    for (peri_scope *s = t->inner; s != &t->scope; s = s->parent)
      if (!s->effective) outermost = s;
    if (outermost) peri_scope_cancel(l, outermost, PERI_CAUSE_CANCEL);
  } while (outermost);
}

static void cancel_all(peri_loop *l) {
  for (uint32_t i = 1; i <= l->slots; i++) {
    lua_rawgeti(l->stash, PERI_STASH_TASKS, i);
    peri_task *t = lua_touserdata(l->stash, -1);
    lua_pop(l->stash, 1);
    if (!t || !t->co) continue;
    peri_task_cancel(l, t);
    cancel_shielded(l, t);
    peri_task_leave(l, t, PERI_ABORTED); /* one that was to end by itself */
  }
}

void peri_task_close_all(peri_loop *l, lua_State *L) {
  l->closing = 1;
  l->running = l->callback = 0; /* a task may have called os.exit */
  l->current = l->root;
  l->top = NULL;
  for (int i = 0; i < CLOSE_ROUNDS && l->slots; i++) {
    cancel_all(l); /* again: tasks may have been spawned meanwhile */
    if (!peri_loop_busy(l)) break;
    peri_loop_flush(l, L);
  }
}

/* }===================================================================== */
