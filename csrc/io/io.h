/*
** io.h - the outside, opened to Lua.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_IO_H
#define PERI_IO_H

#include <lua.h>

#include "sched/loop.h"

/* Sets everything of csrc/io in the table on top. Called once, for a loop
** that has its poller. */
void peri_io_open(lua_State *L, peri_loop *l);

/* Closes all handles as their users would, for a loop that ends while its
** Lua state lives on. */
void peri_io_shut(peri_loop *l);

/* Sets the counts `handles` and `requests` in the table on top. */
void peri_io_stats(lua_State *L, peri_loop *l);

#endif
