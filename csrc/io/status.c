/*
** status.c - uv status -> Lua results.
**
** Inside csrc/io a result is 0 or a negative status; it becomes a message
** and a code here and nowhere else.
**
** SPDX-License-Identifier: MIT
*/
#include "status.h"

#include <lauxlib.h>
#include <stdarg.h>

#include "sched/error.h"

#define ROOM 128 /* for a name or a text, which libuv may have to make up */

static const char *name_of(int status, char room[ROOM]) {
  if (status == PERI_ECLOSED) return "ECLOSED";
  if (status == PERI_ELIMIT) return "ELIMIT";
  return uv_err_name_r(status, room, ROOM);
}

static const char *text_of(int status, char room[ROOM]) {
  if (status == PERI_ECLOSED) return "closed";
  if (status == PERI_ELIMIT) return "longer than the limit";
  if (status == UV_EOF) return "end of stream";
  return uv_strerror_r(status, room, ROOM);
}

static void push_error(lua_State *L, int status, const char *fmt,
                       va_list args) {
  char name[ROOM], text[ROOM];
  peri_error_room(L, 6);
  const char *operation = lua_pushvfstring(L, fmt, args);
  peri_error_new(L, name_of(status, name), "%s (%s)", text_of(status, text),
                 operation);
  lua_remove(L, -2);
}

int peri_status_fail(lua_State *L, int status, const char *fmt, ...) {
  char name[ROOM], text[ROOM];
  va_list args;
  peri_error_room(L, 6);
  va_start(args, fmt);
  const char *operation = lua_pushvfstring(L, fmt, args);
  va_end(args);
  return peri_error_fail(L, name_of(status, name), "%s (%s)",
                         text_of(status, text), operation);
}

int peri_status_raise(lua_State *L, int status, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  push_error(L, status, fmt, args);
  va_end(args);
  return lua_error(L);
}

void peri_status_push(lua_State *L, int status, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  push_error(L, status, fmt, args);
  va_end(args);
}
