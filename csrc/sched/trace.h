/*
** trace.h - what went wrong, and where.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_TRACE_H
#define PERI_TRACE_H

#include "task.h"

/* Message handler of protected calls: remembers the traceback of the error
** and returns the error unchanged. A C function with the loop as upvalue. */
int peri_trace_handler(lua_State *L);

/* Remembers `co`'s stack (or a string already made, on top of L, with `co`
** NULL; it is popped) as that of the error at `idx`. */
void peri_trace_error(lua_State *L, peri_loop *l, int idx, lua_State *co);

/* Pushes the traceback of the last failure with the value at `idx`, or
** nil. */
void peri_trace_push(lua_State *L, peri_loop *l, int idx);

/* Raises in a forked child, where the loop cannot be used. */
void peri_trace_check_fork(lua_State *L, peri_loop *l);

/* Raises EDEADLK in `t`, which nothing can wake, with who waits for what. */
int peri_trace_deadlock(lua_State *L, peri_loop *l, peri_task *t);

/* Pushes "file:line" of what the parked or running task does, or "?". */
void peri_trace_where(lua_State *L, const peri_task *t);

/* Raises an error that says why one cannot wait in L; returns if one can,
** by driving the loop. */
void peri_trace_check_wait(lua_State *L, peri_loop *l);

#endif
