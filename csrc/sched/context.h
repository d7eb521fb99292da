/*
** context.h - what follows the work: values, and to which logical context it
** belongs.
**
** Values are an immutable map, held by pointer: capturing it is taking one
** reference, and costs nothing while it is empty (NULL). The map itself is a
** Lua table, kept in the stash as long as there are references.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_CONTEXT_H
#define PERI_CONTEXT_H

#include "logical.h"
#include "loop.h"

struct peri_context {
  uint32_t refs;
  uint8_t suppressed; /* what is captured here gets the root context */
};

/* One more reference to `c`, which may be NULL (no values). */
static inline peri_context *peri_context_retain(peri_context *c) {
  if (c) c->refs++;
  return c;
}

/* Gives up a reference. Never raises. */
void peri_context_release(peri_loop *l, peri_context *c);

/* True inside a finalizer, where Lua refuses all use of its collector. */
static inline unsigned peri_in_finalizer(const peri_loop *l) {
  return lua_gc(l->stash, LUA_GCISRUNNING) < 0;
}

/* True where a finalizer does nothing: a script has called it. Scripts reach
** those of objects whose metatable has their methods, with any arguments. */
static inline int peri_gc_is_called(const peri_loop *l) {
  return !peri_in_finalizer(l);
}

/* Finalizers come inside any allocation: what runs in one has nothing to do
** with the frame it comes in, and sees none. */
static inline unsigned peri_frame_foreign(const peri_loop *l) {
  return !(l->finalizer | l->closing) && peri_in_finalizer(l);
}

/* The values that can be seen: those of the current frame, or NULL. */
static inline peri_context *peri_context_now(const peri_loop *l) {
  peri_context *c = l->frame.context;
  return c && peri_frame_foreign(l) ? NULL : c;
}

/* The values for what begins a logical context now: a reference, or NULL. */
static inline peri_context *peri_context_capture(const peri_loop *l) {
  peri_context *c = peri_context_now(l);
  return c && !c->suppressed ? peri_context_retain(c) : NULL;
}

/* One more reference to all that is in a frame. */
static inline peri_frame peri_frame_retain(peri_frame f) {
  peri_context_retain(f.context);
  peri_logical_retain(f.logical);
  return f;
}

/* Gives up what a frame holds, and empties it. Never raises. */
static inline void peri_frame_release(peri_loop *l, peri_frame *f) {
  if (f->context) peri_context_release(l, f->context);
  if (f->logical) peri_logical_release(l, f->logical);
  f->context = NULL;
  f->logical = NULL;
}

/* The frame without values, of the Lua state itself. */
static inline peri_frame peri_frame_root(const peri_loop *l) {
  return (peri_frame){NULL, peri_logical_retain(l->origin)};
}

/*
** The frame that what is registered now shall have, with references that
** the caller owns. Never raises: peri_task_logical has been called before.
*/
static inline peri_frame peri_frame_capture(const peri_loop *l) {
  const peri_context *c = l->frame.context;
  if ((c && c->suppressed) || peri_frame_foreign(l))
    return peri_frame_root(l);
  assert(l->frame.logical);
  return peri_frame_retain(l->frame);
}

/* Makes `f` current and returns what was; references change hands. */
static inline peri_frame peri_frame_swap(peri_loop *l, peri_frame f) {
  peri_frame was = l->frame;
  l->frame = f;
  return was;
}

/*
** Makes a context with a copy of the map of `from` (or an empty one, if that
** is NULL), with one reference, which the caller owns. May raise out of memory.
*/
peri_context *peri_context_copy(lua_State *L, peri_loop *l,
                                peri_context *from);

/* Makes the map of `c`, which is not NULL, the one at hand, until `c` ends:
** var:get and var:set have it as an upvalue. */
void peri_context_map(peri_loop *l, peri_context *c);

/* Pushes the map of `c`, which is not NULL. */
void peri_context_push_map(lua_State *L, peri_loop *l, peri_context *c);

#endif
