/*
** io.h - the outside, opened to Lua.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_IO_H
#define PERI_IO_H

#include <lua.h>

#include "sched/loop.h"

/* Parts of csrc/io that are opened one by one, as a host wants them: the same
** numbers as in perilune.h. */
enum {
  PERI_LIB_FS = 2,
  PERI_LIB_NET = 4,
  PERI_LIB_DNS = 8,
  PERI_LIB_PROCESS = 16,
  PERI_LIB_SIGNAL = 32,
  PERI_LIB_STDIO = 128,
  PERI_LIB_ALL = 255
};

/* Opens what all of them need: nothing of it leads outside. Called once, for
** a loop that has its poller, with the core on top. */
void peri_io_open(lua_State *L, peri_loop *l);

/* Sets these parts in the core on top: twice is fine. May raise out of memory,
** and can be called again then. */
void peri_io_open_libs(lua_State *L, peri_loop *l, unsigned libs);

/* Closes all handles as their users would, for a loop that ends while its
** Lua state lives on. */
void peri_io_shut(peri_loop *l);

/* Sets the counts `handles` and `requests` in the table on top. */
void peri_io_stats(lua_State *L, peri_loop *l);

#endif
