/*
** key.h - logical contexts, opened to Lua.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_KEY_H
#define PERI_KEY_H

#include "task.h"

/* Sets key and on_close in the table on top. */
void peri_key_functions(lua_State *L, peri_loop *l);

/* Pushes the last hook of the youngest logical context that has hooks, of all
** or of this owner's; or nil. */
void peri_key_take(lua_State *L, peri_loop *l, const peri_owner *owner);

/* Sets core functions for lua/perilune/run.lua in the table on top. */
void peri_key_open(lua_State *L, peri_loop *l);

#endif
