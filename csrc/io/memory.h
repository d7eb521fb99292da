/*
** memory.h - transports without a descriptor: pairs in memory, for tests.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_MEMORY_H
#define PERI_MEMORY_H

#include "transport.h"

/* Sets `memory` in the table on top. */
void peri_memory_open(lua_State *L, peri_loop *l);

#endif
