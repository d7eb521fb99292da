/*
** logical.h - logical contexts: what a key stands for, and what ends.
**
** A run, a connection that is served, a call of context.run and a task made
** by aio.spawn each begin one. It is made when it is first asked for, or
** captured: until then its task has only the place for it.
**
** There are two counts. `refs` keeps the struct: frames and whatever will
** run in one have a reference. `live` says that it has not ended: tasks,
** scheduled callbacks, protocols and calls that are under way count, but no
** generators and bound functions, which may be held for no reason.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_LOGICAL_H
#define PERI_LOGICAL_H

#include "loop.h"

/* A userdata, the key itself, which the loop anchors while `refs` is not 0.
** Its user value is the list of hooks. */
struct peri_logical {
  peri_runnable run; /* calls the hooks; holds a reference while it is ready */
  peri_link link;    /* in `hooked` of the loop, while there are hooks */
  const peri_owner *owner; /* whose end calls hooks that are left; or NULL */
  uint32_t refs;
  uint32_t live;
  uint32_t hooks;    /* how many there are to be called */
  uint32_t index;    /* in `logicals` of the loop */
};

/* Makes one with a single reference, which the caller owns. May raise out of
** memory. */
peri_logical *peri_logical_new(lua_State *L, peri_loop *l);

static inline peri_logical *peri_logical_retain(peri_logical *g) {
  if (g) g->refs++;
  return g;
}

static inline uint32_t peri_logical_index(const peri_logical *g) {
  return g ? g->index : 0;
}

/* Gives up a reference; NULL is none. Never raises. */
void peri_logical_release(peri_loop *l, peri_logical *g);

/* One more, or one less, that will run in it. With the last one it has
** ended, and its hooks are called in the next turn. Never raises. NULL is
** that of an object that has been finalized. */
static inline void peri_logical_enter(peri_logical *g) {
  if (g) g->live++;
}
void peri_logical_leave(peri_loop *l, peri_logical *g);

/* Pushes the key. */
void peri_logical_push(lua_State *L, peri_loop *l, const peri_logical *g);

/* Adds the function on top, and pops it: it is called when `g` has ended, or
** else at the end of `owner`. Raises out of memory before anything changed. */
void peri_logical_add(lua_State *L, peri_loop *l, peri_logical *g,
                      const peri_owner *owner);

/* Pushes the last hook of `g`, which is forgotten, or nil. */
void peri_logical_take(lua_State *L, peri_loop *l, peri_logical *g);

/* Makes the logical context of the Lua state. Called once. */
void peri_logical_open(lua_State *L, peri_loop *l);

/* Frees the array of them, at the end of the loop. */
void peri_logical_free_all(peri_loop *l);

#endif
