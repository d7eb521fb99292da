/*
** dump.c - shows a host all tasks, as a tree.
**
** The tree is that of scopes, below each task that is in no other's group.
** Nothing is allocated: no finalizer can come and change it meanwhile.
**
** SPDX-License-Identifier: MIT
*/
#include "embed.h"
#include "sched/inspect.h"
#include "sched/trace.h"

typedef struct dump {
  perilune_loop *p;
  int (*fn)(const perilune_info *i, void *ud);
  void *ud;
  int shown, stop;
} dump;

static const peri_task *task_of(const peri_scope *s) {
  if (s->kind != PERI_SCOPE_TASK) return NULL;
  return PERI_OF((peri_scope *)(uintptr_t)s, peri_task, scope);
}

/* The task in whose group it is, or NULL. The main chunk, which may have groups
** as well, is none that is shown. */
static const peri_task *parent_of(const peri_loop *l, const peri_task *t) {
  const peri_scope *s = t->scope.parent;
  while (s && s->kind != PERI_SCOPE_TASK) s = s->parent;
  return s && s != &l->root->scope ? task_of(s) : NULL;
}

/* Leaves the task's name on the stash, whose string this is, or nil. */
static const char *push_name(peri_loop *l, const peri_task *t) {
  lua_rawgeti(l->stash, PERI_STASH_TASKS, t->out.slot);
  lua_rawget(l->stash, PERI_STASH_NAMES);
  return lua_type(l->stash, -1) == LUA_TSTRING ? lua_tostring(l->stash, -1)
                                               : NULL;
}

static void set_wait(const peri_loop *l, const peri_task *t,
                     perilune_info *i) {
  if (t->out.phase != PERI_ARMED) return;
  i->wait = t->wait->name;
  uint32_t ms = (uint32_t)(l->now / 1000000) - t->since;
  i->waited = (uint64_t)ms * 1000000;
}

static void show(dump *d, const peri_task *t) {
  peri_loop *l = d->p->loop;
  lua_Debug ar;
  perilune_info i = {.size = sizeof i, .id = t->id};
  const peri_task *parent = parent_of(l, t);
  if (parent) i.parent = parent->id;
  for (; parent; parent = parent_of(l, parent)) i.depth++;
  i.name = push_name(l, t);
  i.state = peri_task_state(l, t);
  set_wait(l, t, &i);
  if (peri_trace_line(l, t, &ar)) {
    i.source = ar.short_src;
    i.line = ar.currentline;
  }
  i.ud = peri_embed_ud(t->inner);
  d->shown++;
  d->stop = d->fn(&i, d->ud);
  lua_pop(l->stash, 1);
}

static void show_family(dump *d, peri_task *top) {
  peri_scope *s = &top->scope;
  for (; s && !d->stop; s = peri_scope_next(&top->scope, s, 1)) {
    const peri_task *t = task_of(s);
    if (t) show(d, t);
  }
}

int perilune_dump(perilune_loop *p,
                  int (*fn)(const perilune_info *i, void *ud), void *ud) {
  dump d = {p, fn, ud, 0, 0};
  int rc = peri_embed_check(p);
  if (rc) return rc;
  peri_loop *l = p->loop;
  for (uint32_t slot = 1; slot <= l->slots && !d.stop; slot++) {
    lua_rawgeti(l->stash, PERI_STASH_TASKS, slot);
    peri_task *t = lua_touserdata(l->stash, -1);
    lua_pop(l->stash, 1);
    if (t && t->co && !parent_of(l, t)) show_family(&d, t);
  }
  return d.shown;
}
