/*
** scope.c - what a wait must obey: a tree of cancellable regions.
**
** C only; scopes are opened to Lua by block.c and group.c. The structs
** belong to whoever embeds them.
**
** SPDX-License-Identifier: MIT
*/
#include "scope.h"

#include <assert.h>

#include "error.h"

static peri_scope *scope_of(peri_link *k) {
  return PERI_OF(k, peri_scope, link);
}

static void adopt(peri_scope *parent, peri_scope *s) {
  s->parent = parent;
  if (parent->child)
    peri_list_append(parent->child, &s->link);
  else
    parent->child = &s->link;
}

static void leave_parent(peri_scope *s) {
  peri_scope *parent = s->parent;
  if (!parent) return;
  if (parent->child == &s->link)
    parent->child = peri_link_alone(&s->link) ? NULL : s->link.next;
  peri_link_out(&s->link);
  s->parent = NULL;
}

void peri_scope_init(peri_scope *s, peri_scope *parent, int kind) {
  peri_link_init(&s->link);
  s->parent = parent;
  s->child = NULL;
  s->kind = (unsigned)kind;
  s->cause = PERI_CAUSE_NONE;
  s->shield = s->reason = s->raised = 0;
  s->effective = parent ? parent->effective : 0;
  s->clock = parent ? parent->clock : 0;
  if (parent) adopt(parent, s);
}

void peri_scope_shield(peri_scope *s) {
  s->shield = 1;
  s->effective = 0;
}

static void forget_reason(peri_loop *l, peri_scope *s) {
  if (!s->reason) return;
  lua_pushnil(l->stash); /* the key exists: allocates nothing */
  lua_rawsetp(l->stash, PERI_STASH_REASONS, s);
  s->reason = 0;
}

void peri_scope_remove(peri_loop *l, peri_scope *s) {
  assert(!s->child);
  forget_reason(l, s);
  leave_parent(s);
}

static peri_block *block_of(peri_scope *s) {
  return s->kind == PERI_SCOPE_BLOCK ? PERI_OF(s, peri_block, scope) : NULL;
}

/* What made the subtree effective may be outside of it. */
void peri_scope_move(peri_scope *top, peri_scope *parent) {
  leave_parent(top);
  adopt(parent, top);
  for (peri_scope *s = top; s; s = peri_scope_next(top, s, 1)) {
    peri_block *b = block_of(s);
    if (b) b->culprit = NULL;
  }
}

peri_scope *peri_scope_next(const peri_scope *top, peri_scope *s, int in) {
  if (in && s->child) return scope_of(s->child);
  while (s != top) {
    if (s->link.next != s->parent->child) return scope_of(s->link.next);
    s = s->parent;
  }
  return NULL;
}

peri_scope *peri_scope_leaf(peri_scope *top) {
  while (top->child) top = scope_of(top->child);
  return top;
}

peri_scope *peri_scope_up(const peri_scope *top, const peri_scope *s) {
  if (s == top) return NULL;
  if (s->link.next == s->parent->child) return s->parent;
  return peri_scope_leaf(scope_of(s->link.next));
}

/* Aborting a wait only readies tasks; the tree stays as it is. */
void peri_scope_cancel(peri_loop *l, peri_scope *top, int cause) {
  if (top->cause) return;
  top->cause = (unsigned)cause;
  if (top->effective) return;
  int in = 1;
  for (peri_scope *s = top; s; s = peri_scope_next(top, s, in)) {
    in = !s->effective && (s == top || !s->shield);
    if (!in) continue;
    s->effective = 1;
    l->interrupt(l, s);
  }
}

int peri_scope_outer_cancelled(const peri_scope *s) {
  return !s->shield && s->parent && s->parent->effective;
}

/* The next scope outwards that makes `s` effective, as far as is known; NULL
** if none does. */
static peri_scope *outwards(peri_scope *s) {
  peri_block *b = block_of(s);
  if (b && b->culprit) return b->culprit;
  return peri_scope_outer_cancelled(s) ? s->parent : NULL;
}

/* The way is made shorter for the next one: all that unwind come by here. */
const peri_scope *peri_scope_culprit(peri_scope *s) {
  peri_scope *found = s, *next;
  while ((next = outwards(found))) found = next;
  for (; s != found; s = next) {
    next = outwards(s);
    if (block_of(s)) block_of(s)->culprit = found;
  }
  return found;
}

void peri_scope_reason(lua_State *L, peri_loop *l, peri_scope *s, int idx) {
  if (s->cause || lua_isnoneornil(L, idx)) return;
  idx = lua_absindex(L, idx);
  peri_stash_push(l, L, PERI_STASH_REASONS);
  peri_cancelled_new(L, idx);
  lua_rawsetp(L, -2, s);
  lua_pop(L, 1);
  s->reason = 1;
}

void peri_scope_push_cancelled(lua_State *L, peri_loop *l, peri_scope *s) {
  const peri_scope *culprit = peri_scope_culprit(s);
  if (!culprit->reason) {
    peri_stash_push(l, L, PERI_STASH_CANCELLED);
    return;
  }
  lua_rawgetp(l->stash, PERI_STASH_REASONS, culprit);
  lua_xmove(l->stash, L, 1);
}
