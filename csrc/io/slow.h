/*
** slow.h - steps that take long, caught while they do.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_SLOW_H
#define PERI_SLOW_H

#include <lua.h>

#include "sched/loop.h"

/* Has steps reported that take longer than so many nanoseconds; 0: none any
** more. May raise, and then none are. One loop of a process at a time: for
** others nothing happens. */
void peri_slow_watch(lua_State *L, peri_loop *l, uint64_t limit);

/* Makes the metatable. Called once. */
void peri_slow_open(lua_State *L);

#endif
