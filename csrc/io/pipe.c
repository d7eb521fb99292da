/*
** pipe.c - unix sockets (on Windows, named pipes): connect, listen, pairs.
**
** Lua side: core.unix: connect, listen, pair.
**
** SPDX-License-Identifier: MIT
*/
#include "pipe.h"

#include <lauxlib.h>
#include <string.h>

#include "connect.h"
#include "server.h"

#ifdef _WIN32
struct sockaddr_un {
  unsigned short sun_family;
  char sun_path[108];
};
#else
#include <sys/un.h>
#endif

/* {== Paths ============================================================ */

typedef union address {
  struct sockaddr any;
  struct sockaddr_un un;
} address;

/* The path at 1: 0, or a uv status. Raises "bad argument". */
static int check_path(lua_State *L, address *a) {
  size_t n;
  const char *path = luaL_checklstring(L, 1, &n);
  luaL_argcheck(L, n > 0, 1, "empty path");
  luaL_argcheck(L, strlen(path) == n, 1, "path with a zero byte");
  if (n >= sizeof a->un.sun_path) return UV_ENAMETOOLONG;
  memset(a, 0, sizeof *a);
  a->un.sun_family = AF_UNIX;
  memcpy(a->un.sun_path, path, n + 1);
  return 0;
}

static int fail(lua_State *L, int status, const char *operation) {
  return peri_status_fail(L, status, "%s %s", operation, lua_tostring(L, 1));
}

/* }===================================================================== */

/* {== Lua side ========================================================= */

/* Moves the options to where peri_connect_prepare wants them. */
static void check_options(lua_State *L) {
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) luaL_checktype(L, 2, LUA_TTABLE);
}

/* core.unix.connect(path [, {timeout = 30, protocol =, linger = 5}]) ->
** conn, or nil, message, code. Waits. */
static int unix_connect(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  address a;
  int status = check_path(L, &a);
  check_options(L);
  if (status) {
    peri_wait_enter(L, l);
    return peri_task_done(L, l, fail(L, status, "connect"));
  }
  lua_pushnil(L);
  lua_insert(L, 2);
  peri_connecting *k = peri_connect_prepare(L, l, UV_NAMED_PIPE);
  uv_pipe_connect(&k->uv, &k->c->uv.pipe, a.un.sun_path, peri_on_connected);
  return peri_connect_wait(L, l, k, 0);
}

/* core.unix.listen(path [, {backlog = 511, protocol =, linger =}]) ->
** server, or nil, message, code. The file is removed when the server is
** closed; one left behind by a server that died is replaced. Never waits. */
static int unix_listen(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  address a;
  int status = check_path(L, &a);
  check_options(L);
  if (status) return fail(L, status, "listen");
  status = peri_server_listen(L, l, UV_NAMED_PIPE, &a.any, sizeof a.un, 2);
  if (status == UV_EADDRINUSE && !peri_bound_remove_stale(a.un.sun_path))
    status = peri_server_listen(L, l, UV_NAMED_PIPE, &a.any, sizeof a.un, 2);
  return status ? fail(L, status, "listen") : 1;
}

/* core.unix.pair() -> two transports that are connected with each other, or
** nil, message, code. Never waits. */
static int unix_pair(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  uv_os_sock_t fds[2];
  lua_settop(L, 0);
  peri_transport *a = peri_transport_new(L, l, UV_NAMED_PIPE);
  peri_transport *b = peri_transport_new(L, l, UV_NAMED_PIPE);
  int status = uv_socketpair(SOCK_STREAM, 0, fds, UV_NONBLOCK_PIPE,
                             UV_NONBLOCK_PIPE);
  if (!status) {
    peri_transport_adopt(a, fds[0]); /* new descriptors: cannot fail */
    peri_transport_adopt(b, fds[1]);
    return 2;
  }
  peri_transport_close(l, a);
  peri_transport_close(l, b);
  return peri_status_fail(L, status, "pair");
}

/* }===================================================================== */

void peri_pipe_open(lua_State *L, peri_loop *l) {
  static const luaL_Reg functions[] = {
    {"connect", unix_connect}, {"listen", unix_listen},
    {"pair", unix_pair}, {NULL, NULL}};
  luaL_newlibtable(L, functions);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, functions, 1);
  luaL_getmetatable(L, peri_server_type_name(UV_NAMED_PIPE));
  lua_setfield(L, -2, "server"); /* serve.lua adds to it */
  lua_setfield(L, -2, "unix");
}
