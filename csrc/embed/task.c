/*
** task.c - tasks that a host spawns.
**
** A perilune_task comes from malloc; the loop anchors the task's userdata
** under its address until it is released. `notice` is in the task's list of
** waiters, or `run` in the ready list, while the host waits for the end.
**
** SPDX-License-Identifier: MIT
*/
#include <stdlib.h>

#include "embed.h"
#include "sched/error.h"

struct perilune_task {
  perilune_loop *p;
  peri_task *task; /* valid as long as the loop is there */
  peri_notice notice;
  peri_runnable run;
  void (*fn)(perilune_task *t, lua_State *co, int how, void *ud);
  void *ud;
};

/* {== Its end ========================================================== */

/* On the scratch stack: the values of the task. */
static void values_body(lua_State *L, perilune_loop *p, void *arg) {
  perilune_task *t = arg;
  lua_State *to = p->scratch;
  peri_error_room(L, 2);
  peri_push_anchored(p->loop, L, t);
  int n = peri_outcome_push(L, &t->task->out, 1);
  if (!lua_checkstack(to, n + LUA_MINSTACK))
    peri_error_raise(L, "ENOMEM", "no room for %d values", n);
  lua_xmove(L, to, n);
}

/* The host may release the task meanwhile. */
static void tell(peri_loop *l, peri_runnable *r, lua_State *L) {
  perilune_task *t = PERI_OF(r, perilune_task, run);
  perilune_loop *p = t->p;
  int how = t->task->out.state - PERI_DONE;
  (void)l;
  lua_settop(p->scratch, 0);
  if (peri_embed_call(p, L, values_body, t, 0)) how = PERILUNE_FAILED;
  t->fn(t, p->scratch, how, t->ud);
  lua_settop(p->scratch, 0);
}

static void on_end(peri_loop *l, peri_notice *n) {
  peri_loop_ready(l, &PERI_OF(n, perilune_task, notice)->run);
}

int perilune_task_then(perilune_task *t,
                       void (*fn)(perilune_task *t, lua_State *co, int how,
                                  void *ud),
                       void *ud) {
  int rc = peri_embed_check(t->p);
  if (rc) return rc;
  if (t->fn) return PERILUNE_EDONE;
  if (!fn || t == t->p->shown) return PERILUNE_EARG;
  t->fn = fn;
  t->ud = ud;
  t->task->out.flags |= PERI_TAKEN;
  if (t->task->out.state == PERI_PENDING)
    peri_waitlist_add(&t->task->out.waiters, &t->notice.run);
  else
    peri_loop_ready(t->p->loop, &t->run);
  return PERILUNE_OK;
}

/* }===================================================================== */

/* {== Spawning ========================================================= */

typedef struct spawning {
  perilune_scope *scope; /* or NULL */
  peri_owner *owner;
  perilune_task *handle; /* or NULL */
} spawning;

/* The anchor's place is made first: nothing may fail once there is a task. */
static void spawn_body(lua_State *L, perilune_loop *p, void *arg) {
  spawning *s = arg;
  peri_loop *l = p->loop;
  peri_error_room(L, LUA_MINSTACK);
  peri_check_callable(L, 1);
  if (s->handle) {
    lua_pushboolean(L, 1);
    peri_anchor(L, l, -1, s->handle);
    lua_pop(L, 1);
  }
  peri_task *t = peri_task_new(L, l, s->owner, lua_gettop(L) - 1, 1);
  if (s->scope) peri_embed_inherit(s->scope, t);
  if (!s->handle) return;
  s->handle->task = t;
  peri_anchor(L, l, -1, s->handle);
}

static perilune_task *new_handle(perilune_loop *p) {
  perilune_task *t = calloc(1, sizeof *t);
  if (!t) return NULL;
  t->p = p;
  peri_link_init(&t->notice.run.link);
  t->notice.notice = on_end;
  peri_link_init(&t->run.link);
  t->run.run = tell;
  return t;
}

/* What a callback of the host's gets is not for keeping. */
perilune_task *peri_embed_new_shown(perilune_loop *p) {
  return new_handle(p);
}

perilune_task *peri_embed_show(perilune_loop *p, peri_task *t) {
  p->shown->task = t;
  return p->shown;
}

int perilune_spawn(perilune_loop *p, perilune_scope *scope, lua_State *L,
                   int nargs, perilune_task **out) {
  spawning s = {scope, NULL, NULL};
  int rc = peri_embed_check(p);
  if (out) *out = NULL;
  if (!rc && (nargs < 0 || lua_gettop(L) <= nargs)) return PERILUNE_EARG;
  if (!rc && !(s.owner = peri_embed_owner(p, scope))) rc = PERILUNE_ECLOSED;
  if (!rc && out && !(s.handle = new_handle(p))) rc = PERILUNE_ENOMEM;
  if (rc) {
    peri_embed_pop(p, L, nargs + 1);
    return rc;
  }
  rc = peri_embed_call(p, L, spawn_body, &s, nargs + 1);
  if (rc && s.handle) {
    peri_unanchor(p->loop, s.handle);
    free(s.handle);
  } else if (s.handle) {
    peri_embed_retain(p);
    *out = s.handle;
  }
  return rc;
}

/* }===================================================================== */

int perilune_task_cancel(perilune_task *t) {
  int rc = peri_embed_check(t->p);
  if (rc) return rc;
  if (t->task->out.state != PERI_PENDING) return PERILUNE_EDONE;
  peri_task_cancel(t->p->loop, t->task);
  return PERILUNE_OK;
}

static void leave(perilune_task *t) {
  peri_outcome *o = &t->task->out;
  if (!peri_link_alone(&t->notice.run.link) ||
      o->waiters.first == &t->notice.run.link)
    peri_waitlist_remove(&o->waiters, &t->notice.run);
  peri_link_out(&t->run.link);
  peri_unanchor(t->p->loop, t);
}

void perilune_task_release(perilune_task *t) {
  if (!t || t->p->thread != peri_embed_thread()) return;
  perilune_loop *p = t->p;
  if (t == p->shown) return;
  if (p->loop) leave(t);
  free(t);
  peri_embed_release(p);
}
