/*
** emit.h - frames, and signals that a program gives to its scripts.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_EMIT_H
#define PERI_EMIT_H

#include "task.h"

#define PERI_EMIT_VALUES 16 /* that a signal may have: a parked task has
                                 room for so many */

typedef struct peri_emitter {
  const char *type;
  peri_waitlist waiters;
} peri_emitter;

/* Pushes the signal of this name, which is made if there is none. The loop
** keeps it. May raise out of memory. */
peri_emitter *peri_emitter_push(lua_State *L, peri_loop *l, const char *name);

/* Wakes all that wait for it, with the top `n` values of L, which stay there;
** at most PERI_EMIT_VALUES. Returns how many those are. May raise out of
** memory before any is woken. */
int peri_emitter_send(lua_State *L, peri_loop *l, peri_emitter *s, int n);

/* Sets `signal` and `next_frame` in the table on top. */
void peri_emit_open(lua_State *L, peri_loop *l);

#endif
