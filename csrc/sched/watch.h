/*
** watch.h - waiting for several awaitables at once.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_WATCH_H
#define PERI_WATCH_H

#include "task.h"

/* Makes the metatable, and sets `watch` in the table on top. */
void peri_watch_open(lua_State *L, peri_loop *l);

#endif
