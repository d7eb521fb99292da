/*
** hand.h - values handed from task to task.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_HAND_H
#define PERI_HAND_H

#include "task.h"

/* The lua_State in which a parked task waits: its coroutine, or the
** innermost of the generators it runs (see coro.c). */
lua_State *peri_task_waits_in(const peri_task *t);

/* Makes what can be given to `t` of the top `n` values of L; returns how many
** values that is. For the main chunk it is a table, which is pushed: that may
** run finalizers, so look again whether `t` still waits. */
int peri_task_pack(lua_State *L, peri_loop *l, const peri_task *t, int n);

/* Gives the top `n` values of L, made by peri_task_pack, to the parked task
** `t`, whose continuation finds them on top of its stack; pops them. Raises
** before anything is done, and runs no Lua. */
void peri_task_give(lua_State *L, peri_loop *l, peri_task *t, int n);

/* True if somebody has closed the coroutine in which `t` is, or was, parked: it
** can neither give nor be given values. */
int peri_task_closed(const peri_task *t);

/* The first who waits in `w`, where only tasks wait, or NULL. One whose
** coroutine was closed cannot be served: it is woken, and finds that out. */
peri_task *peri_task_first(peri_loop *l, peri_waitlist *w);

/* Pushes the values at `first` and above of the frame in which `t` is
** parked; returns how many. May raise. */
int peri_task_look(lua_State *L, peri_loop *l, const peri_task *t,
                   int first);

/* For the main chunk, before it parks with values to be looked at, and
** after it was given some: keeps, or pushes, the packed values. */
void peri_task_keep(lua_State *L, peri_loop *l, int first);

/* In a continuation: how many values the task was given; they are on top
** of its stack, above `base`. */
int peri_task_given(lua_State *L, peri_loop *l, int base);

#endif
