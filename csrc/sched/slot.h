/*
** slot.h - the table of tasks, and idle coroutines.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_SLOT_H
#define PERI_SLOT_H

#include "task.h"

/* Gives the task at `idx` the coroutine of the first free slot, or a new
** one. Raises out of memory; the slot stays free as long as something can
** fail. */
lua_State *peri_slot_coroutine(lua_State *L, peri_loop *l, int idx);

/* Puts the task on top of the stash into the first free slot, which
** peri_slot_coroutine has made sure of; pops it. Cannot fail. */
void peri_slot_take(peri_loop *l, peri_task *t);

/* Frees the slot of a task. `idle` is its coroutine, if that has returned,
** for it can run another function then; or NULL. One that is still in a list
** keeps it, and so stays. Cannot fail. */
void peri_slot_free(peri_loop *l, peri_task *t, lua_State *idle);

/* Has `g` live as long as the task does. */
void peri_slot_own(peri_loop *l, const peri_task *t, peri_logical *g);

/* Has idle coroutines let go as the collector goes round. Called once. */
void peri_slot_open(lua_State *L, peri_loop *l);

#endif
