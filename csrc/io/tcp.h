/*
** tcp.h - TCP: connect, listen.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_TCP_H
#define PERI_TCP_H

#include "sched/loop.h"

/* Sets `tcp` in the table on top. Called once. */
void peri_tcp_open(lua_State *L, peri_loop *l);

#endif
