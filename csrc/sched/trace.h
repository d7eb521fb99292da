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

/* Raises EDEADLK where a task waits for itself, or for one that waits for
** it. */
int peri_trace_cycle(lua_State *L);

/* Raises in a forked child, where the loop cannot be used. */
void peri_trace_check_fork(lua_State *L, peri_loop *l);

/* Pushes the stack of a task that has not ended, the innermost generator
** first; of that which runs in L from `level` on. */
void peri_trace_push_stacks(lua_State *L, const peri_loop *l,
                            const peri_task *t, int level);

/* Pushes the line that called us, "file:line". If that is one of this library,
** the task works for the line that spawned it. */
void peri_trace_push_line(lua_State *L, peri_loop *l);

/* Raises EDEADLK in `t`, which nothing can wake, with who waits for what. */
int peri_trace_deadlock(lua_State *L, peri_loop *l, peri_task *t);

/* Pushes what the parked task waits for, in words: "read 127.0.0.1:80",
** "channel get", "task \"x\"". */
void peri_trace_wait(lua_State *L, peri_loop *l, const peri_task *t);

/* Where the innermost Lua function of a task that is not of this library is:
** fills in short_src and currentline. 0 if there is none. Allocates nothing. */
int peri_trace_line(const peri_loop *l, const peri_task *t, lua_Debug *ar);

/* Pushes "file:line" of what the parked or running task does, or "?". */
void peri_trace_where(lua_State *L, const peri_loop *l,
                      const peri_task *t);

/* Pushes the error object for the innermost block, which was left open. */
void peri_trace_left_open(lua_State *L, peri_loop *l);

/* In debug: remembers which line made the object on top. May raise. */
void peri_trace_note_made(lua_State *L, peri_loop *l);
static inline void peri_trace_made(lua_State *L, peri_loop *l) {
  if (l->debug) peri_trace_note_made(L, l);
}

/* Pushes the line that made the object at `idx`, or nil if nobody noted
** it. */
void peri_trace_push_made(lua_State *L, peri_loop *l, int idx);

/* Raises an error that says why one cannot wait in L; returns if one can,
** by driving the loop. */
void peri_trace_check_wait(lua_State *L, peri_loop *l);

#endif
