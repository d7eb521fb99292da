/*
** poller.h - the uv loop as the scheduler's poller.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_POLLER_H
#define PERI_POLLER_H

#include <lua.h>
#include <uv.h>

#include "sched/loop.h"

/* Gives the loop a uv loop of its own, or that of a host (`l->attached`): sets `poller` and `outside`, which
** `l->poller->close` frees. Raises, before anything changed, if the system
** refuses one. */
void peri_poller_open(lua_State *L, peri_loop *l);

/* The uv loop of a loop that was given one (NULL once that has ended, and
** with it all memory for what is to be made on it). */
uv_loop_t *peri_poller_uv(peri_loop *l);

/* To be called before a handle is closed: a forked child gets a backend of
** its own then, as closing would take the parent's descriptors out of the one
** that they share. Returns 0, or a uv status: nothing is to be closed then. */
int peri_poller_own(peri_loop *l);

/* What the poller asks of whoever keeps the handles of a loop. */
typedef struct peri_handles {
  /* True if something can still come of one of them. */
  int (*alive)(const peri_loop *l);
  /* Closes what is left at the end. Lua is not to be touched any more;
  ** neither is it by the callbacks that follow. With `rest`, these come when
  ** the Lua state is gone: what is left then belongs to that loop, of which
  ** peri_poller_swept is called when all is closed. */
  void (*sweep)(peri_loop *l, peri_loop *rest);
} peri_handles;

void peri_poller_handles(peri_loop *l, const peri_handles *handles);
void peri_poller_swept(peri_loop *rest);

/* Who looks before each poll, and when the bell rings, whether a thread or a
** signal handler has noted something: makes that ready. That it is called
** before each poll matters, since uv does not poll with nothing to wait for,
** and then does not hear the bell. */
typedef struct peri_attention {
  peri_link link;
  void (*look)(peri_loop *l, struct peri_attention *a);
} peri_attention;

/* From now on, until `link` is taken out. `look` touches no Lua. */
void peri_poller_attend(peri_loop *l, peri_attention *a);

/* Ends a poll that blocks, or will. From any thread and signal handler. */
void peri_poller_ring(peri_loop *l);

#endif
