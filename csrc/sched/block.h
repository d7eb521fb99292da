/*
** block.h - scopes, opened to Lua: timeout, shield, scope.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_BLOCK_H
#define PERI_BLOCK_H

#include "task.h"

/* Sets `timeout`, `shield`, `scope`, `time_left` in the table on top. */
void peri_block_functions(lua_State *L, peri_loop *l);

/* Frees the blocks kept for reuse. */
void peri_block_free_all(peri_loop *l);

/* Notes in the block which line called the running C function. */
void peri_block_where(lua_State *L, peri_block *b);

/* The scope at `idx`; raises "bad argument" else. */
peri_block *peri_block_check(lua_State *L, int idx);

#endif
