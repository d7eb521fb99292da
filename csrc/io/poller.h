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

/* Gives the loop a uv loop of its own: sets `poller` and `outside`, which
** `l->poller->close` frees. Raises, before anything changed, if the system
** refuses one. */
void peri_poller_open(lua_State *L, peri_loop *l);

/* The uv loop of a loop that was given one (NULL once that has ended, and
** with it all memory for what is to be made on it), and the loop of a uv
** loop. */
uv_loop_t *peri_poller_uv(peri_loop *l);
peri_loop *peri_poller_loop(const uv_loop_t *uv);

/* To be called before a handle is closed: a forked child gets a backend of
** its own then, as closing would take the parent's descriptors out of the one
** that they share. Returns 0, or a uv status: nothing is to be closed then. */
int peri_poller_own(peri_loop *l);

/*
** How handles that are left at the end are closed: `sweep` is called for
** each that is not closing, and must call uv_close on it. The default is
** uv_close without a callback, which frees nothing. At that time Lua is not
** to be touched any more; neither is it by the callbacks that follow.
*/
void peri_poller_sweep(peri_loop *l, uv_walk_cb sweep);

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
