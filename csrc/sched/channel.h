/*
** channel.h - channels and events.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_CHANNEL_H
#define PERI_CHANNEL_H

#include "task.h"

typedef struct peri_op peri_op; /* an operation on a channel */

/*
** One of several things that a task waits for in a select: stands for it in
** a waitlist. The first one that is told takes the others out of theirs.
**
** The frame in which the task waits has one value, a userdata, and user value
** `index` of that is the operation.
*/
typedef struct peri_choice {
  peri_notice notice;
  peri_task *task;
  int index;
  uint8_t served; /* a channel gave it values, or took its */
} peri_choice;

/* The operation at `idx`, or NULL if that is none. */
peri_op *peri_op_test(lua_State *L, int idx);

/* Where one waits for it, and when one like it has last won a select. */
peri_waitlist *peri_op_waiters(peri_op *op);
uint32_t *peri_op_won(peri_op *op);

/* True if it can be done now. Runs no Lua. */
int peri_op_ready(peri_loop *l, peri_op *op);

/* Does it: the channel is at `at`, the operation below that. Pushes what put
** or get return; returns how many values, or 0 if it cannot be done now after
** all. May raise before anything changed. */
int peri_op_do(lua_State *L, peri_loop *l, peri_op *op, int at);

/* What it returns to who has waited for it: was it served, or the channel
** closed? The `n` values on top are those that were given. Pushes the values
** if they are others; returns how many. */
int peri_op_done(lua_State *L, const peri_op *op, int served, int n);

/* Make the metatables, and set `channel`, `event` in the table on top. */
void peri_channel_open(lua_State *L, peri_loop *l);
void peri_event_open(lua_State *L, peri_loop *l);

#endif
