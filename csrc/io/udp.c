/*
** udp.c - UDP sockets: their life and names.
**
** uv side: on_event, told that something can be received, or sent.
** Lua side: core.udp: bind, connect; close, sockname, peername, and what
** datagram.c and multicast.c add, as methods of "perilune.udp". Names of
** hosts are the business of lua/perilune/udp.lua.
**
** A box owns a peri_udp, which is freed when uv has closed its handle. The
** socket is closed earlier: as soon as the protocol, if any, has been told.
**
** SPDX-License-Identifier: MIT
*/
#include "udp.h"

#ifndef _WIN32

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "poller.h"
#include "sched/callback.h"
#include "sched/error.h"
#include "sched/trace.h"
#include "transport.h"

#define TYPE "perilune.udp"
#define NO_SOCKET (-1)

static peri_udp *udp_of(peri_handle *h) {
  return PERI_OF(h, peri_udp, h);
}

peri_udp *peri_udp_check(lua_State *L) {
  peri_udp **box = lua_touserdata(L, 1);
  int ours = box && lua_getmetatable(L, 1);
  if (ours) {
    ours = lua_rawequal(L, -1, lua_upvalueindex(2));
    lua_pop(L, 1);
  }
  if (!ours) luaL_typeerror(L, 1, TYPE);
  return *box;
}

/* {== Names ============================================================ */

typedef int (*get_name)(int fd, struct sockaddr *sa, socklen_t *n);

/* The address of this end or the other: 0, or a uv status. */
static int name_of(const peri_udp *u, get_name get, peri_addr *a) {
  struct sockaddr_storage sa;
  socklen_t n = sizeof sa;
  if (!u) return PERI_ECLOSED;
  if (get(u->fd, (struct sockaddr *)&sa, &n)) return -errno;
  peri_addr_set(a, (struct sockaddr *)&sa);
  return 0;
}

const char *peri_udp_text(const peri_udp *u, char text[PERI_ADDR_TEXT]) {
  peri_addr a = u->peer;
  if (a.any.sa_family == AF_UNSPEC) name_of(u, getsockname, &a);
  return peri_addr_text(&a, text);
}

int peri_udp_fail(lua_State *L, const peri_udp *u, int status,
                  const char *operation) {
  char text[PERI_ADDR_TEXT];
  if (!u) return peri_status_fail(L, status, "%s", operation);
  return peri_status_fail(L, status, "%s %s", operation, peri_udp_text(u, text));
}

/* }===================================================================== */

/* {== Watching ========================================================= */

/* With an error that is yet to be received, uv stops watching. */
static void on_event(uv_poll_t *uv, int status, int events) {
  peri_udp *u = udp_of(peri_handle_of((uv_handle_t *)uv));
  if (status) {
    u->events = 0;
    events = UV_READABLE | UV_WRITABLE;
  }
  peri_udp_tell(u, events);
}

int peri_udp_watch(peri_udp *u, int events) {
  if (events == u->events) return 0;
  int status = events ? uv_poll_start(&u->uv, events, on_event)
                      : uv_poll_stop(&u->uv);
  u->events = status ? 0 : events;
  return status;
}

/* }===================================================================== */

/* {== Close ============================================================ */

static void close_socket(peri_udp *u) {
  if (u->fd != NO_SOCKET) close(u->fd);
  u->fd = NO_SOCKET;
}

void peri_udp_end(peri_udp *u) {
  if (u->protocol || u->collected) peri_unanchor(u->h.loop, u);
  peri_udp_take_back(u->h.loop, u);
  peri_link_out(&u->run.link);
  peri_handle_close(&u->h); /* before the descriptor that it watches */
  close_socket(u);
}

void peri_udp_close(peri_loop *l, peri_udp *u) {
  if (u->closed) return;
  u->closed = 1;
  if (u->box) *u->box = NULL;
  u->box = NULL;
  peri_udp_watch(u, 0);
  peri_udp_wake_all(l, u);
  if (u->protocol && u->made)
    peri_udp_ready(u);
  else
    peri_udp_end(u);
}

static void udp_shut(peri_loop *l, peri_handle *h) {
  peri_udp_close(l, udp_of(h));
}

static void free_udp(peri_loop *l, peri_udp *u) {
  close_socket(u);
  peri_link_out(&u->run.link);
  peri_udp_take_back(l, u);
  peri_frame_release(l, &u->frame);
  peri_free(l, u, sizeof *u);
}

static void udp_closed(peri_loop *l, peri_handle *h) {
  peri_udp *u = udp_of(h);
  if (u->box) *u->box = NULL; /* at the end of the Lua state */
  free_udp(l, u);
}

static const peri_handle_type udp_type = {"udp", 0, udp_shut, udp_closed};

/* }===================================================================== */

/* {== In the turn ====================================================== */

static int describe(lua_State *L) {
  char text[PERI_ADDR_TEXT];
  const peri_udp *u = lua_touserdata(L, 1);
  lua_pushfstring(L, "a socket was collected before it was closed (%s)",
                  peri_udp_text(u, text));
  return 1;
}

/* Nobody holds it: as with transports. */
static void collect(peri_loop *l, peri_udp *u, lua_State *L) {
  if (l->closing) return;
  if (!u->closed) peri_report_leak(l, L, describe, u);
  peri_udp_close(l, u);
}

static void udp_run(peri_loop *l, peri_runnable *r, lua_State *L) {
  peri_udp *u = PERI_OF(r, peri_udp, run);
  if (u->collected)
    collect(l, u, L);
  else if (u->protocol)
    peri_udp_run(l, u, L);
}

/* }===================================================================== */

/* {== New ============================================================== */

/* The C part of a socket that uv does not know of yet. */
static peri_udp *new_udp(lua_State *L, peri_loop *l) {
  peri_task_logical(L, l);
  peri_udp *u = peri_alloc(l, sizeof *u);
  if (!u) {
    luaL_error(L, "not enough memory");
    return NULL;
  }
  memset(u, 0, sizeof *u);
  peri_link_init(&u->run.link);
  u->run.run = udp_run;
  u->frame = peri_frame_capture(l);
  u->fd = NO_SOCKET;
  u->peer.any.sa_family = AF_UNSPEC;
  u->readable = 1;
  return u;
}

static int open_socket(peri_udp *u, int family) {
  u->family = family;
  u->fd = socket(family, SOCK_DGRAM, 0);
  if (u->fd == NO_SOCKET) return -errno;
  fcntl(u->fd, F_SETFD, FD_CLOEXEC);
  fcntl(u->fd, F_SETFL, fcntl(u->fd, F_GETFL) | O_NONBLOCK);
  return 0;
}

/* Other sockets may bind the same address, as those of a multicast group
** do. BSD has another name for what Linux does. */
static int share(int fd) {
  int on = 1, name = SO_REUSEADDR;
#if defined(SO_REUSEPORT) && !defined(__linux__)
  name = SO_REUSEPORT;
#endif
  return setsockopt(fd, SOL_SOCKET, name, &on, sizeof on) ? -errno : 0;
}

static int bind_to(peri_udp *u, const peri_addr *a, int reuse) {
  int status = open_socket(u, a->any.sa_family);
  if (!status && reuse) status = share(u->fd);
  if (!status && bind(u->fd, &a->any, peri_addr_size(a))) status = -errno;
  return status;
}

static int connect_to(peri_udp *u, const peri_addr *a) {
  int status = open_socket(u, a->any.sa_family);
  if (!status && connect(u->fd, &a->any, peri_addr_size(a))) status = -errno;
  if (!status) u->peer = *a;
  return status;
}

/* Gives the socket to uv, and to the box at `BOX`: 0, or a uv status. */
static int adopt(peri_loop *l, peri_udp *u, peri_udp **box) {
  int status = uv_poll_init(peri_poller_uv(l), &u->uv, u->fd);
  if (status) return status;
  peri_handle_open(l, &u->h, &udp_type, (uv_handle_t *)&u->uv);
  *box = u;
  u->box = box;
  return 0;
}

/* }===================================================================== */

/* {== bind, connect ==================================================== */

enum { HOST = 1, PORT, OPTIONS, BOX }; /* on the stack */

static void check_arguments(lua_State *L, peri_addr *a) {
  const char *host = luaL_checkstring(L, HOST);
  int port = peri_addr_check_port(L, PORT);
  luaL_argcheck(L, !peri_addr_parse(a, host, port), HOST,
                "numeric address expected");
  lua_settop(L, OPTIONS);
  if (!lua_isnil(L, OPTIONS)) luaL_checktype(L, OPTIONS, LUA_TTABLE);
}

static peri_udp **push_box(lua_State *L) {
  peri_udp **box = lua_newuserdatauv(L, sizeof *box, 1);
  *box = NULL;
  luaL_setmetatable(L, TYPE);
  peri_trace_made(L, PERI_LOOP(L));
  return box;
}

static int option(lua_State *L, const char *name) {
  if (lua_isnil(L, OPTIONS)) return 0;
  lua_getfield(L, OPTIONS, name);
  int on = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return on;
}

/* Returns the box at BOX, in callback style if the options say so. */
static int finish(lua_State *L, peri_loop *l) {
  if (!lua_isnil(L, OPTIONS)) {
    lua_getfield(L, OPTIONS, "protocol");
    if (lua_isnil(L, -1))
      lua_pop(L, 1);
    else
      peri_udp_start(L, l, BOX);
  }
  lua_settop(L, BOX);
  return 1;
}

static int fail(lua_State *L, const peri_addr *a, int status,
                const char *operation) {
  char text[PERI_ADDR_TEXT];
  return peri_status_fail(L, status, "%s %s", operation,
                          peri_addr_text(a, text));
}

/* core.udp.bind(address, port [, {reuseaddr = false, protocol =}]) -> udp,
** or nil, message, code. Port 0 is any free one. Never waits. */
static int udp_bind(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_addr a;
  check_arguments(L, &a);
  int reuse = option(L, "reuseaddr");
  peri_udp **box = push_box(L);
  peri_udp *u = new_udp(L, l);
  int status = bind_to(u, &a, reuse);
  if (!status) status = adopt(l, u, box);
  if (!status) return finish(L, l);
  free_udp(l, u);
  return fail(L, &a, status, "bind");
}

/* core.udp.connect(address, port [, {protocol =}]) -> udp, or nil, message,
** code. Never waits. */
static int udp_connect(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_addr a;
  check_arguments(L, &a);
  peri_udp **box = push_box(L);
  peri_udp *u = new_udp(L, l);
  int status = connect_to(u, &a);
  if (!status) status = adopt(l, u, box);
  if (!status) return finish(L, l);
  free_udp(l, u);
  return fail(L, &a, status, "connect");
}

/* }===================================================================== */

/* {== Methods ========================================================== */

/* udp:close() -> true. Unusable at once; whoever waits on it gets nil,
** message, "ECLOSED". Twice is fine. Never waits. */
static int udp_close(lua_State *L) {
  peri_udp *u = peri_udp_check(L);
  if (u) peri_udp_close(PERI_LOOP(L), u);
  lua_pushboolean(L, 1);
  return 1;
}

/* See transport_gc. */
static int udp_gc(lua_State *L) {
  if (peri_gc_is_called(PERI_LOOP(L))) return 0;
  peri_udp *u = *(peri_udp **)lua_touserdata(L, 1);
  if (!u) return 0;
  if (!u->protocol) peri_anchor(L, u->h.loop, 1, u);
  u->collected = 1;
  peri_udp_ready(u);
  return 0;
}

static int push_name(lua_State *L, get_name get, const char *operation) {
  peri_udp *u = peri_udp_check(L);
  peri_addr a;
  int status = name_of(u, get, &a);
  if (status) return peri_udp_fail(L, u, status, operation);
  return peri_addr_push(L, &a);
}

/* udp:sockname() -> host, port where it is bound. Never waits. */
static int udp_sockname(lua_State *L) {
  return push_name(L, getsockname, "sockname");
}

/* udp:peername() -> host, port that it is connected to. Never waits. */
static int udp_peername(lua_State *L) {
  return push_name(L, getpeername, "peername");
}

/* "udp (127.0.0.1:53)", "udp (closed)" */
static int udp_tostring(lua_State *L) {
  peri_udp *u = peri_udp_check(L);
  char text[PERI_ADDR_TEXT];
  lua_pushfstring(L, "udp (%s)", u ? peri_udp_text(u, text) : "closed");
  return 1;
}

/* }===================================================================== */

static void open_methods(lua_State *L, peri_loop *l) {
  static const luaL_Reg methods[] = {
    {"close", udp_close}, {"sockname", udp_sockname},
    {"peername", udp_peername}, {"__close", udp_close}, {"__gc", udp_gc},
    {"__tostring", udp_tostring}, {NULL, NULL}};
  const luaL_Reg *const all[] = {methods, peri_datagram_methods,
                                 peri_multicast_methods};
  luaL_newmetatable(L, TYPE);
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    peri_stash_push(l, L, PERI_STASH_LOOP);
    lua_pushvalue(L, -2);
    luaL_setfuncs(L, all[i], 2);
  }
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
}

void peri_udp_open(lua_State *L, peri_loop *l) {
  static const luaL_Reg functions[] = {
    {"bind", udp_bind}, {"connect", udp_connect}, {NULL, NULL}};
  luaL_newlibtable(L, functions);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, functions, 1);
  open_methods(L, l);
  lua_setfield(L, -2, "socket"); /* udp.lua adds to it */
  lua_setfield(L, -2, "udp");
}

#else

void peri_udp_open(lua_State *L, peri_loop *l) {
  (void)L;
  (void)l;
}

#endif
