/*
** scope.c - scopes that a host holds: owners of tasks, like runs.
**
** A perilune_scope comes from malloc. It is kept by its handle, by the scopes
** below it, and by its tasks: freed when there is none of these any more.
**
** SPDX-License-Identifier: MIT
*/
#include <stdlib.h>

#include "embed.h"
#include "run.h"
#include "sched/context.h"
#include "sched/var.h"

struct perilune_scope {
  peri_owner owner;
  perilune_loop *p;
  perilune_scope *parent; /* holds a reference to it */
  peri_context *context;  /* a reference: of tasks that are spawned into it */
  void *ud;
  uint32_t refs;
  uint8_t mode;       /* of the kill */
  peri_link doomed;   /* in the loop's list of those that go on being killed */
};

static perilune_scope *scope_of(peri_owner *o) {
  return PERI_OF(o, perilune_scope, owner);
}

/* {== Life ============================================================= */

/* Frees what nobody needs any more, and what that was the last to need. */
static void free_unused(perilune_scope *s) {
  while (s && !s->refs && !s->owner.live) {
    perilune_scope *parent = s->parent;
    perilune_loop *p = s->p;
    if (p->loop) peri_scope_remove(p->loop, &s->owner.scope);
    if (p->loop) peri_context_release(p->loop, s->context);
    peri_link_out(&s->doomed);
    free(s);
    peri_embed_release(p);
    if (parent) parent->refs--;
    s = parent;
  }
}

/* A task has ended. A failure is reported, but of what was killed. */
static int ended(peri_loop *l, peri_owner *o, peri_task *t) {
  perilune_scope *s = scope_of(o);
  int kept = peri_run_untaken(l, t, s->ud);
  free_unused(s);
  return kept;
}

/* Without a clock of its own it has that of its parent. */
static perilune_scope *new_scope(perilune_loop *p, perilune_scope *parent,
                                 int clock, void *ud) {
  perilune_scope *s = calloc(1, sizeof *s);
  if (!s) return NULL;
  peri_owner_init(&s->owner, parent ? &parent->owner.scope : NULL, ended);
  if (clock >= 0) s->owner.scope.clock = (uint16_t)clock;
  s->owner.keeps = 1;
  s->p = p;
  s->parent = parent;
  if (parent) s->context = peri_context_retain(parent->context);
  s->ud = ud;
  s->refs = 1;
  peri_link_init(&s->doomed);
  if (parent) parent->refs++;
  peri_embed_retain(p);
  return s;
}

int perilune_scope_new(perilune_loop *p, perilune_scope *parent,
                       perilune_clock *clock, void *ud,
                       perilune_scope **out) {
  *out = NULL;
  int rc = peri_embed_check(p), number = -1;
  if (rc) return rc;
  if (clock) number = peri_embed_clock(p, clock);
  if ((clock && number < 0) || (parent && parent->p != p))
    return PERILUNE_EARG;
  if (parent && parent->owner.closed) return PERILUNE_ECLOSED;
  *out = new_scope(p, parent, number, ud);
  return *out ? PERILUNE_OK : PERILUNE_ENOMEM;
}

/* The scopes of a loop that has ended are in no tree, and have no tasks. */
void perilune_scope_release(perilune_scope *s) {
  if (!s || s->p->thread != peri_embed_thread()) return;
  if (!s->p->loop) s->owner.live = 0;
  s->refs--;
  free_unused(s);
}

peri_owner *peri_embed_owner(perilune_loop *p, perilune_scope *s) {
  if (!s) return p->loop->background;
  return s->p != p || s->owner.closed ? NULL : &s->owner;
}

/* }===================================================================== */

/* {== Context ========================================================== */

/* Stack: the variable, its value. */
static void bind_body(lua_State *L, perilune_loop *p, void *arg) {
  perilune_scope *s = arg;
  peri_var_put(L, p->loop, &s->context);
}

int perilune_scope_bind(perilune_scope *s, lua_State *L) {
  int rc = peri_embed_check(s->p);
  if (!rc) return peri_embed_call(s->p, L, bind_body, s, 2);
  peri_embed_pop(s->p, L, 2);
  return rc;
}

void peri_embed_inherit(const perilune_scope *s, peri_task *t) {
  peri_loop *l = s->p->loop;
  if (!s->context) return;
  peri_context_release(l, t->context);
  t->context = peri_context_retain(s->context);
}

/* }===================================================================== */

/* {== Cancel and kill ================================================== */

int perilune_scope_cancel(perilune_scope *s) {
  int rc = peri_embed_check(s->p);
  if (rc) return rc;
  peri_scope_cancel(s->p->loop, &s->owner.scope, PERI_CAUSE_CANCEL);
  return PERILUNE_OK;
}

static int has_task(peri_scope *top) {
  peri_scope *s = top->child ? peri_scope_next(top, top, 1) : NULL;
  for (; s; s = peri_scope_next(top, s, 1))
    if (s->kind == PERI_SCOPE_TASK) return 1;
  return 0;
}

/* Its handlers are no part of what may be about to end here. */
static int end_one(perilune_loop *p, peri_task *t, int close) {
  unsigned killing = p->killing;
  p->killing = 0;
  int ended = peri_task_end(p->L, p->loop, t, close);
  p->killing = killing & 1;
  return ended;
}

/* Tasks that others of them wait for come first. One whose children cannot be
** killed now, as one of them runs, is left alone: its children would outlive
** it. */
int peri_embed_kill_one(perilune_loop *p, peri_scope *top, int close) {
  peri_scope *s = peri_scope_leaf(top);
  for (int left = 0; s; s = peri_scope_up(top, s)) {
    if (s->kind != PERI_SCOPE_TASK || (left && has_task(s))) continue;
    if (end_one(p, PERI_OF(s, peri_task, scope), close)) return 1;
    left = 1;
  }
  return 0;
}

/* Owners below take no more tasks either. */
static void shut(perilune_scope *top) {
  peri_scope *s = &top->owner.scope;
  for (; s; s = peri_scope_next(&top->owner.scope, s, 1))
    if (s->kind == PERI_SCOPE_OWNER) PERI_OF(s, peri_owner, scope)->closed = 1;
}

/* PERILUNE_MORE if a task of it runs: it is tried again when that has parked,
** or ended. */
static int kill_now(perilune_scope *s) {
  perilune_loop *p = s->p;
  while (peri_embed_kill_one(p, &s->owner.scope, s->mode)) continue;
  peri_link_out(&s->doomed);
  if (!has_task(&s->owner.scope)) return PERILUNE_OK;
  peri_list_append(&p->doomed, &s->doomed);
  p->loop->after = peri_embed_after;
  return PERILUNE_MORE;
}

static int kill_held(perilune_scope *s) {
  s->refs++;
  int rc = kill_now(s);
  s->refs--;
  free_unused(s);
  return rc;
}

void peri_embed_bury(peri_loop *l) {
  perilune_loop *p = l->host;
  peri_link all;
  peri_link_init(&all);
  peri_list_splice(&all, &p->doomed);
  while (!peri_link_alone(&all)) {
    perilune_scope *s = PERI_OF(all.next, perilune_scope, doomed);
    peri_link_out(&s->doomed);
    kill_held(s);
  }
}

int perilune_scope_kill(perilune_scope *s, int mode) {
  perilune_loop *p = s->p;
  if (p->thread != peri_embed_thread()) return PERILUNE_ETHREAD;
  if (!p->loop) return PERILUNE_OK;
  if (mode != PERILUNE_KILL_CLOSE && mode != PERILUNE_KILL_DROP)
    return PERILUNE_EARG;
  if (!lua_checkstack(p->L, LUA_MINSTACK)) mode = PERILUNE_KILL_DROP;
  s->mode = (uint8_t)mode;
  if (!peri_link_alone(&p->watched)) atomic_store(&p->rung, 1);
  shut(s);
  return kill_held(s);
}

/* }===================================================================== */

int perilune_scope_live(const perilune_scope *s) {
  int n = 0;
  peri_scope *top = (peri_scope *)(uintptr_t)&s->owner.scope;
  if (peri_embed_check(s->p)) return 0;
  for (peri_scope *k = top; k; k = peri_scope_next(top, k, 1))
    if (k->kind == PERI_SCOPE_TASK) n++;
  return n;
}

void *peri_embed_ud(const peri_scope *s) {
  for (; s; s = s->parent) {
    if (s->kind != PERI_SCOPE_OWNER) continue;
    peri_owner *o = PERI_OF((peri_scope *)(uintptr_t)s, peri_owner, scope);
    if (o->keeps) return scope_of(o)->ud;
  }
  return NULL;
}

void *perilune_self(lua_State *L) {
  perilune_loop *p = perilune_get(L);
  if (!p) return NULL;
  const peri_task *t = p->loop->current;
  if (t == p->loop->root && p->resumed) t = p->resumed;
  return peri_embed_ud(t->inner);
}
