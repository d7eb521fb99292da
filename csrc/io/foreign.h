/*
** foreign.h - waiting for descriptors that are not ours.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_FOREIGN_H
#define PERI_FOREIGN_H

#include <lua.h>

#include "sched/loop.h"

/* Sets `poll_fd` in the table on top. Called once. */
void peri_foreign_open(lua_State *L, peri_loop *l);

#endif
