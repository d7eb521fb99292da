/*
** process.h - child processes.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_PROCESS_H
#define PERI_PROCESS_H

#include <lua.h>

#include "sched/loop.h"

/* Sets `process` in the table on top. Called once. */
void peri_process_open(lua_State *L, peri_loop *l);

#endif
