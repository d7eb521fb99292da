/*
** listen.c - making sockets that listen.
**
** A box owns a peri_server (server.c) from the moment it listens.
**
** SPDX-License-Identifier: MIT
*/
#include <errno.h>
#include <lauxlib.h>

#include "poller.h"
#include "sched/error.h"
#include "sched/trace.h"
#include "server.h"

#if !PERI_BY_UV
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#endif

#define BACKLOG 511

/* {== Options ========================================================== */

typedef struct options {
  peri_options of_conn;
  int backlog, reuseport;
} options;

/* Reads the options at `idx`; leaves the protocol, or nil, on the stack. */
static void read_options(lua_State *L, int idx, options *o) {
  o->backlog = BACKLOG;
  o->reuseport = 0;
  peri_options_read(L, idx, &o->of_conn);
  if (lua_isnoneornil(L, idx)) {
    lua_pushnil(L);
    return;
  }
  if (lua_getfield(L, idx, "backlog") != LUA_TNIL) {
    int good;
    lua_Integer n = lua_tointegerx(L, -1, &good);
    luaL_argcheck(L, good && n > 0 && n <= INT16_MAX, idx,
                  "option 'backlog' must be from 1 to 32767");
    o->backlog = (int)n;
  }
  lua_getfield(L, idx, "reuseport");
  o->reuseport = lua_toboolean(L, -1);
  lua_pop(L, 2);
  int type = lua_getfield(L, idx, "protocol");
  luaL_argcheck(L, type == LUA_TNIL || type == LUA_TFUNCTION, idx,
                "option 'protocol' must be a function that makes one");
}

/* }===================================================================== */

/* {== Sockets ========================================================== */

#if PERI_BY_UV

static int listen_at(peri_loop *l, peri_server *s, const struct sockaddr *sa,
                     unsigned size, const options *o) {
  uv_loop_t *uv = peri_poller_uv(l);
  int status;
  (void)size;
  if (s->type == UV_TCP) {
    uv_tcp_init(uv, &s->uv.tcp);
    peri_server_enter(l, s);
    status = uv_tcp_bind(&s->uv.tcp, sa, 0);
  } else {
    uv_pipe_init(uv, &s->uv.pipe, 0);
    peri_server_enter(l, s);
    status = uv_pipe_bind(&s->uv.pipe, sa->sa_data); /* the path */
  }
  return status ? status : peri_server_uv_listen(s, o->backlog);
}

#else

static void set_options(int fd, int family, const options *o) {
  int on = 1;
  if (family == AF_UNIX) return;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  /* Sockets inherit this from the one that accepts them. */
  if (o->of_conn.nodelay)
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static int share_port(int fd) {
#ifdef SO_REUSEPORT
  int on = 1;
  return setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) ? -errno
                                                                   : 0;
#else
  (void)fd;
  return UV_ENOTSUP;
#endif
}

static int bind_socket(int fd, const struct sockaddr *sa, unsigned size,
                       const options *o) {
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  set_options(fd, sa->sa_family, o);
  int status = o->reuseport ? share_port(fd) : 0;
  if (!status && bind(fd, sa, size)) status = -errno;
  return status;
}

static int listen_at(peri_loop *l, peri_server *s, const struct sockaddr *sa,
                     unsigned size, const options *o) {
  s->fd = socket(sa->sa_family, SOCK_STREAM, 0);
  if (s->fd == PERI_NO_SOCKET) return -errno;
  int status = bind_socket(s->fd, sa, size, o);
  if (!status && sa->sa_family == AF_UNIX && sa->sa_data[0])
    status = peri_bound_set(l, &s->bound, sa->sa_data);
  if (!status && listen(s->fd, o->backlog)) status = -errno;
  if (!status) status = uv_poll_init(peri_poller_uv(l), &s->uv.poll, s->fd);
  if (!status) peri_server_enter(l, s);
  return status;
}

#endif

/* }===================================================================== */

int peri_server_listen(lua_State *L, peri_loop *l, uv_handle_type type,
                       const struct sockaddr *sa, unsigned size, int idx) {
  options o;
  peri_error_room(L, 8);
  peri_server **box = lua_newuserdatauv(L, sizeof *box, 1);
  *box = NULL;
  luaL_setmetatable(L, peri_server_type_name(type));
  peri_trace_made(L, l);
  read_options(L, idx, &o);
  peri_server *s = peri_server_new(L, l, type);
  s->options = o.of_conn;
  int status = listen_at(l, s, sa, size, &o);
  if (status)
    peri_server_discard(l, s);
  else
    peri_server_start(L, l, box, s);
  return status;
}
