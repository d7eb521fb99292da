/*
** pipe.h - unix sockets: connect, listen, pairs.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_PIPE_H
#define PERI_PIPE_H

#include "sched/loop.h"

/* Sets `unix` in the table on top. Called once. */
void peri_pipe_open(lua_State *L, peri_loop *l);

#endif
