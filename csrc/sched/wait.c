/*
** wait.c - what waits are made of: entering one, and waiting in a list.
**
** Parking, and what wakes a task, are in task.c.
**
** SPDX-License-Identifier: MIT
*/
#include "debug.h"
#include "task.h"
#include "trace.h"

#define AT_ONCE 64 /* waits that may complete without switching */

/* {== Closed from outside ============================================== */

/*
** The stock coroutine.close can close the coroutine of a parked task, with the
** stack that anchored what it waits on. So the list that its link is in may
** have been collected, or may live: to take the link out, one would have to
** look. It stays where it is, and in its slot the task, until the Lua state is
** closed. Whoever finds it in the list runs this.
*/
static void nobody(peri_loop *l, peri_runnable *r, lua_State *L) {
  (void)l;
  (void)r;
  (void)L;
}

/* Ends such tasks. They are few, and nothing of theirs is free for a list. */
static void reap(peri_loop *l, peri_runnable *r, lua_State *L) {
  (void)r;
  (void)L;
  for (uint32_t i = 1; i <= l->slots; i++) {
    lua_rawgeti(l->stash, PERI_STASH_TASKS, i);
    peri_task *t = lua_touserdata(l->stash, -1);
    lua_pop(l->stash, 1);
    if (t && t->co && t->out.flags & PERI_LOST)
      peri_task_finish(l, t, PERI_DROPPED);
  }
}

static void lose(peri_loop *l, peri_task *t) {
  t->out.flags |= PERI_LOST;
  t->out.phase = PERI_ABORTED;
  t->run.run = nobody;
  l->reaper.run = reap;
  if (peri_link_alone(&l->reaper.link)) peri_loop_ready(l, &l->reaper);
}

/* }===================================================================== */

/* {== In a list ======================================================== */

int peri_task_true_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  lua_pushboolean(L, 1);
  return 1;
}

int peri_task_unlist(peri_loop *l, peri_task *t, int why) {
  (void)why;
  if (t->co && lua_status(t->co) != LUA_YIELD) {
    lose(l, t);
    return 0;
  }
  peri_waitlist_remove(t->on, &t->run);
  return 1;
}

int peri_task_park_in(lua_State *L, peri_loop *l, const peri_wait *w,
                      peri_waitlist *list) {
  peri_waitlist_add(list, &l->current->run);
  return peri_task_park(L, l, w, list, 0);
}

static int values_k(lua_State *L, int status, lua_KContext n) {
  (void)L;
  (void)status;
  return (int)n;
}

static const peri_wait yielding = {"yield", NULL, values_k};

int peri_task_done(lua_State *L, peri_loop *l, int n) {
  if (++l->burst < AT_ONCE) return n;
  l->burst = 0;
  l->rests = l->current != l->root;
  return peri_task_requeue(L, l, &yielding, n);
}

/* }===================================================================== */

/* {== Entering a wait ================================================== */

static int cancelled_k(lua_State *L, int status, lua_KContext ctx) {
  peri_loop *l = PERI_LOOP(L);
  (void)status;
  (void)ctx;
  return peri_task_raise(L, l, l->current);
}

static const peri_wait cancelled = {"cancelled", NULL, cancelled_k};

/* From the second time on it costs a turn: a loop that swallows its
** cancellation must not freeze the program. */
static void enter_cancelled(lua_State *L, peri_loop *l, peri_task *t) {
  if (!t->scope.raised) peri_task_raise(L, l, t);
  peri_debug_swallowed(L, l, t);
  peri_task_requeue(L, l, &cancelled, 0);
}

void peri_wait_look(lua_State *L, peri_loop *l) {
  if (!peri_task_can_yield(L, l) || l->callback || peri_loop_forked(l)) {
    peri_trace_check_wait(L, l);
    peri_loop_clock(l);
  }
  if (l->probed) l->probe->enter(l);
}

peri_task *peri_wait_enter(lua_State *L, peri_loop *l) {
  peri_task *t = l->current;
  if (!peri_wait_plain(L, l)) peri_wait_look(L, l);
  if (t->inner->effective)
    enter_cancelled(L, l, t);
  else
    t->scope.raised = 0;
  return t;
}

/* }===================================================================== */
