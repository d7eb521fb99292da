/*
** signal.h - Ctrl-C.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_SIGNAL_H
#define PERI_SIGNAL_H

#include "sched/loop.h"

/* Sets `signals` in the table on top. Called once. */
void peri_signal_open(lua_State *L, peri_loop *l);

#endif
