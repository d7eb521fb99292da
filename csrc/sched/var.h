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

/* Pushes a function (fn, ...) that calls fn in the frame `f`, or if that is
** NULL in the root context. */
void peri_var_push_caller(lua_State *L, peri_loop *l, const peri_frame *f);

/* Replaces the context, a reference or NULL, by one with its values and, for
** the variable at 1, the value at 2. Raises "bad argument" if that is no
** variable, or out of memory: then the values are those of before. */
void peri_var_put(lua_State *L, peri_loop *l, peri_context **c);

/* Replaces the function on top by one that calls it in the current frame. */
void peri_var_bind(lua_State *L, peri_loop *l);

/* Raises where a change of the context would be lost or leak: in a stock
** coroutine, and in __gc. */
void peri_var_check_frame(lua_State *L, const peri_loop *l);

#endif
