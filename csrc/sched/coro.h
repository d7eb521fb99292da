/*
** coro.h - waits that pass through generators.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_CORO_H
#define PERI_CORO_H

#include "task.h"

/* Sets `coroutine`, a table with create, resume, wrap, close and status, in
** the table on top. */
void peri_coro_open(lua_State *L, peri_loop *l);

/* The next lua_State inwards if the function parked at the top of `co` is
** a resume of ours, else NULL. */
lua_State *peri_coro_inner(lua_State *co);

/* The coroutine, in which a task that is ended by force has waited, is closed
** now: if it is a generator, the frame of who resumed it becomes current. */
void peri_coro_leave(lua_State *L, peri_loop *l, lua_State *co);

#endif
