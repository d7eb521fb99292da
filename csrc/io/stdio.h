/*
** stdio.h - the streams that a program was started with.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_STDIO_H
#define PERI_STDIO_H

#include "sched/loop.h"

/* Sets `stdio` in the table on top, where there are such streams. Called
** once. */
void peri_stdio_open(lua_State *L, peri_loop *l);

#endif
