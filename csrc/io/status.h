/*
** status.h - uv status -> Lua results.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_STATUS_H
#define PERI_STATUS_H

#include <lua.h>
#include <uv.h>

/* Our own, beside libuv's: no errno is as large. */
enum {
  PERI_ECLOSED = -70001, /* closed meanwhile, or used after close */
  PERI_ELIMIT = -70002   /* longer than it may be */
};

/*
** Pushes nil, "CODE: text (operation)" and "CODE"; returns 3. The operation
** is formatted as lua_pushfstring does it and names the peer: "read
** 127.0.0.1:80".
*/
int peri_status_fail(lua_State *L, int status, const char *fmt, ...);

/* Raises what peri_status_fail would push, as an error object. */
int peri_status_raise(lua_State *L, int status, const char *fmt, ...);

/* Pushes it as an error object: for a callback that is told of it. */
void peri_status_push(lua_State *L, int status, const char *fmt, ...);

#endif
