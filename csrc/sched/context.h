/*
** context.h - what follows the work: an immutable map, held by pointer.
**
** Capturing a context is taking one reference, and costs nothing while it
** is empty (NULL). The map itself is a Lua table, kept in the stash as long
** as there are references.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_CONTEXT_H
#define PERI_CONTEXT_H

#include "loop.h"

struct peri_context {
  uint32_t refs;
  uint8_t suppressed; /* what is captured here gets the root context */
};

/* One more reference to `c`, which may be NULL (the root context). */
static inline peri_context *peri_context_retain(peri_context *c) {
  if (c) c->refs++;
  return c;
}

/* Gives up a reference. Never raises. */
void peri_context_release(peri_loop *l, peri_context *c);

/* The context that what is registered now shall have: a reference to the
** current one, or NULL. */
static inline peri_context *peri_context_capture(peri_loop *l) {
  peri_context *c = l->context;
  return c && !c->suppressed ? peri_context_retain(c) : NULL;
}

/* Makes `c` current and returns what was; both references change hands. */
static inline peri_context *peri_context_swap(peri_loop *l, peri_context *c) {
  peri_context *was = l->context;
  l->context = c;
  return was;
}

/*
** Makes a context with a copy of the current map (or an empty one), with
** one reference, which the caller owns. May raise out of memory.
*/
peri_context *peri_context_copy(lua_State *L, peri_loop *l);

/* Pushes the map of `c`, which is not NULL. */
void peri_context_push_map(lua_State *L, peri_loop *l, peri_context *c);

#endif
