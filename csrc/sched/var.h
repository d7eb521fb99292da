/*
** var.h - the context, opened to Lua.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_VAR_H
#define PERI_VAR_H

#include "task.h"

/* Sets `context`, a table of functions, in the table on top. */
void peri_var_open(lua_State *L, peri_loop *l);

/* Pushes a function (fn, ...) that calls fn in the context `c`. */
void peri_var_push_caller(lua_State *L, peri_loop *l, peri_context *c);

#endif
