/*
** signal.h - Ctrl-C.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_SIGNAL_H
#define PERI_SIGNAL_H

#include "sched/loop.h"

/* Sets `signals` in the table on top: Ctrl-C. Called once. */
void peri_signal_open(lua_State *L, peri_loop *l);

/* Sets `subscribe` in the table on top (subscribe.c). Called once. */
void peri_subscribe_open(lua_State *L, peri_loop *l);

#endif
