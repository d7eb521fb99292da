/*
** tty.h - the terminal that a program was started in.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_TTY_H
#define PERI_TTY_H

#include "sched/loop.h"

/* Sets `tty` in the table on top, where there are terminals. Called once. */
void peri_tty_open(lua_State *L, peri_loop *l);

#endif
