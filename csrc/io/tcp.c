/*
** tcp.c - TCP: connect to, and listen at, one numeric address.
**
** Lua side: core.tcp: connect, listen. Names, and several
** addresses for one, are the business of lua/perilune/tcp.lua.
**
** SPDX-License-Identifier: MIT
*/
#include "tcp.h"

#include <lauxlib.h>

#include "connect.h"
#include "server.h"

/* The address at 1 and 2; raises "bad argument". */
static void check_address(lua_State *L, peri_addr *a) {
  const char *host = luaL_checkstring(L, 1);
  int port = peri_addr_check_port(L, 2);
  luaL_argcheck(L, !peri_addr_parse(a, host, port), 1,
                "numeric address expected");
}

/* The table of options at 3, or nil. */
static void check_options(lua_State *L) {
  lua_settop(L, 3);
  if (!lua_isnil(L, 3)) luaL_checktype(L, 3, LUA_TTABLE);
}

/* core.tcp.connect(address, port [, {timeout = 30, protocol =, linger = 5,
** nodelay = true}]) -> conn, or nil, message, code. Waits. */
static int tcp_connect(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_addr a;
  check_address(L, &a);
  check_options(L);
  peri_connecting *k = peri_connect_prepare(L, l, UV_TCP);
  k->c->peer = a;
  int status = uv_tcp_connect(&k->uv, &k->c->uv.tcp, &a.any,
                              peri_on_connected);
  return peri_connect_wait(L, l, k, status);
}

/* core.tcp.listen(address, port [, {backlog = 511, reuseport = false,
** protocol =, linger =, nodelay =}]) -> server, or nil, message, code. Port
** 0 is any free one. Never waits. */
static int tcp_listen(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_addr a;
  char text[PERI_ADDR_TEXT];
  check_address(L, &a);
  check_options(L);
  int status = peri_server_listen(L, l, UV_TCP, &a.any, peri_addr_size(&a), 3);
  if (!status) return 1;
  return peri_status_fail(L, status, "listen %s", peri_addr_text(&a, text));
}

void peri_tcp_open(lua_State *L, peri_loop *l) {
  static const luaL_Reg functions[] = {
    {"connect", tcp_connect}, {"listen", tcp_listen}, {NULL, NULL}};
  luaL_newlibtable(L, functions);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, functions, 1);
  luaL_getmetatable(L, peri_server_type_name(UV_TCP));
  lua_setfield(L, -2, "server"); /* serve.lua adds to it */
  lua_setfield(L, -2, "tcp");
}
