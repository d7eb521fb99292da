/*
** future.h - futures, and what all awaitables can do.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_FUTURE_H
#define PERI_FUTURE_H

#include "task.h"

/* Makes the metatables of futures and tasks, and sets the functions
** `future`, `await` and others in the table on top. Called once. */
void peri_future_open(lua_State *L, peri_loop *l);

/* Pushes the error of the failed or cancelled outcome at `idx`. */
void peri_future_push_error(lua_State *L, const peri_outcome *o, int idx);

/* Pushes the values of the outcome at `idx`, which has come; returns how many.
** Raises its error, unchanged. */
int peri_future_push_awaited(lua_State *L, const peri_outcome *o, int idx);

/* The outcome of the awaitable at `idx` (absolute), which is replaced by its
** future, as __await gives it; NULL if that is no awaitable. May call Lua. */
peri_outcome *peri_future_of(lua_State *L, peri_loop *l, int idx);

/* Pushes a pending future in a userdata of `size` bytes, which begins with
** its outcome. */
peri_outcome *peri_future_new(lua_State *L, peri_loop *l, size_t size);

/* Settles the plain future at 1 with the values above it, which are popped:
** 0 if it was settled before. May raise out of memory, before anything has
** changed; not for a single value if no callback waits for it. */
int peri_future_settle(lua_State *L, peri_loop *l, int state);

/* The methods every awaitable has, in the table on top. */
void peri_future_methods(lua_State *L, peri_loop *l);

#endif
