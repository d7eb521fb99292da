/*
** select.h - waiting for one of several operations.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_SELECT_H
#define PERI_SELECT_H

#include "task.h"

/* Makes the metatable, and sets `select` in the table on top. */
void peri_select_open(lua_State *L, peri_loop *l);

#endif
