/*
** core.h - the loop of a Lua state, made and ended.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_CORE_H
#define PERI_CORE_H

#include <lua.h>

#include "sched/loop.h"

#if defined(_WIN32)
#define PERI_EXPORT __declspec(dllexport)
#else
#define PERI_EXPORT __attribute__((visibility("default")))
#endif

#define PERI_CORE_ALL 255u /* PERILUNE_LIB_ALL */

/* The module `perilune.core`: pushes its table, making the loop at first. */
PERI_EXPORT int luaopen_perilune_core(lua_State *L);

/* The same for a host: what leads outside is not in the table before it is
** opened, by the second. The poller is part of a host's loop, if `attach_to` is
** not NULL; a loop that was made before is what it is (`attached`). Both may
** raise. */
void peri_core_open(lua_State *L, void *attach_to);
void peri_core_libs(lua_State *L, peri_loop *l, unsigned libs);

/* Calls what libraries registered to be done when the state ends. */
void peri_loop_exit(lua_State *L, peri_loop *l);

/* The last part of a loop's end, when its tasks have ended: closes what is
** outside. `reap` as for the poller's `close`. */
void peri_loop_end(peri_loop *l, int reap);

#endif
