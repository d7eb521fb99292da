/*
** debug.h - what is noted in debug: cancellations that were swallowed, and
** steps that take long.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_DEBUG_H
#define PERI_DEBUG_H

#include "task.h"

/* Called when `t`, in which Cancelled was raised, waits in a cancelled scope
** again: counts it if the scope is the same, and in debug tells the error hook
** of each pair of lines once. May raise. */
void peri_debug_swallowed(lua_State *L, peri_loop *l, peri_task *t);

/* In debug, sets the field `swallowed` of the table on top, of what is known
** of `t`: count, and the lines of the last time. */
void peri_debug_info(lua_State *L, peri_loop *l, const peri_task *t);

/* A step takes long: takes the stack of what runs in L. For peri_hook_arm. */
void peri_debug_stall(lua_State *L, peri_loop *l);

/* Reports the step that has just ended and took so many nanoseconds. To be
** called from the turn. */
void peri_debug_slow(lua_State *L, peri_loop *l, uint64_t took);

#endif
