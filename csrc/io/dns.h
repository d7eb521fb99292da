/*
** dns.h - host names to addresses.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_DNS_H
#define PERI_DNS_H

#include "sched/loop.h"

/* Sets `dns` in the table on top. Called once. */
void peri_dns_open(lua_State *L, peri_loop *l);

#endif
