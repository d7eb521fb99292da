/*
** tty.c - the terminal that a program was started in: its size, raw mode.
**
** Lua side: core.tty: size, raw; close, as a method of "perilune.raw", an
** object that stands for raw mode as long as it is open.
**
** SPDX-License-Identifier: MIT
*/
#include "tty.h"

#ifndef _WIN32

#include <lauxlib.h>
#include <sys/ioctl.h>

#include "raw.h"
#include "status.h"

#define TYPE "perilune.raw"

/* core.tty.size() -> columns, rows; or nil, message, code. Never waits. */
static int tty_size(lua_State *L) {
  static const int fds[] = {1, 2, 0};
  struct winsize size;
  for (int i = 0; i < 3; i++) {
    if (ioctl(fds[i], TIOCGWINSZ, &size)) continue;
    lua_pushinteger(L, size.ws_col);
    lua_pushinteger(L, size.ws_row);
    return 2;
  }
  return peri_status_fail(L, UV_ENOTTY, "size");
}

/* core.tty.raw() -> raw; or nil, message, code. Never waits. */
static int tty_raw(lua_State *L) {
  int *on = lua_newuserdatauv(L, sizeof *on, 0);
  *on = 0;
  luaL_setmetatable(L, TYPE);
  int status = peri_raw_begin(0);
  if (status) return peri_status_fail(L, status, "raw stdin");
  *on = 1;
  return 1;
}

/* raw:close() -> true. The terminal is as it was before, unless others still
** have it raw. Closing twice is fine. Never waits. */
static int raw_close(lua_State *L) {
  int *on = luaL_checkudata(L, 1, TYPE);
  if (*on) peri_raw_end();
  *on = 0;
  lua_pushboolean(L, 1);
  return 1;
}

void peri_tty_open(lua_State *L, peri_loop *l) {
  static const luaL_Reg functions[] = {
    {"size", tty_size}, {"raw", tty_raw}, {NULL, NULL}};
  static const luaL_Reg methods[] = {
    {"close", raw_close}, {"__close", raw_close}, {"__gc", raw_close},
    {NULL, NULL}};
  luaL_newmetatable(L, TYPE);
  luaL_setfuncs(L, methods, 0);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  luaL_newlibtable(L, functions);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, functions, 1);
  lua_setfield(L, -2, "tty");
}

#else

void peri_tty_open(lua_State *L, peri_loop *l) {
  (void)L;
  (void)l;
}

#endif
