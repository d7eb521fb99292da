/*
** server.c - sockets that listen.
**
** uv side: on_ready. It accepts nothing: "ready" is noted. The task that
** accepts calls accept(2) itself, from the descriptor that uv watches:
** libuv's own way drops clients when the process is out of descriptors.
** Lua side: accept, sockname, stop, as methods of "perilune.tcp.server" and
** "perilune.unix.server"; serve and close are in lua/perilune/serve.lua.
**
** A box owns a peri_server, which is freed when uv has closed its handle.
** The socket is closed earlier: when the server is.
**
** SPDX-License-Identifier: MIT
*/
#include "server.h"

#include <errno.h>
#include <lauxlib.h>
#include <string.h>

#include "poller.h"
#include "sched/callback.h"
#include "sched/error.h"

#if !PERI_BY_UV
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#endif

#define BACKOFF 100000000 /* nanoseconds */
#define AT_ONCE 64        /* accepted for a protocol in one turn */

const char *peri_server_type_name(uv_handle_type type) {
  return type == UV_TCP ? "perilune.tcp.server" : "perilune.unix.server";
}

static peri_server *server_of(peri_handle *h) {
  return PERI_OF(h, peri_server, h);
}

static peri_server *check_server(lua_State *L) {
  peri_server **box = lua_touserdata(L, 1);
  int ours = box && lua_getmetatable(L, 1);
  if (ours) {
    ours = lua_rawequal(L, -1, lua_upvalueindex(2));
    lua_pop(L, 1);
  }
  if (!ours) {
    lua_getfield(L, lua_upvalueindex(2), "__name");
    luaL_typeerror(L, 1, lua_tostring(L, -1));
  }
  return *box;
}

/* {== Names ============================================================ */

static int get_name(const peri_server *s, struct sockaddr_storage *sa) {
#if PERI_BY_UV
  int n = sizeof *sa;
  return uv_tcp_getsockname(&s->uv.tcp, (struct sockaddr *)sa, &n);
#else
  socklen_t n = sizeof *sa;
  return getsockname(s->fd, (struct sockaddr *)sa, &n) ? -errno : 0;
#endif
}

/* Pushes the address, as text, or the path. */
static void push_name(lua_State *L, const peri_server *s) {
  struct sockaddr_storage sa;
  char text[PERI_ADDR_TEXT];
  peri_addr a;
  if (s->type != UV_TCP) {
    lua_pushstring(L, s->bound.path ? s->bound.path : "");
  } else if (get_name(s, &sa)) {
    lua_pushliteral(L, "?");
  } else {
    peri_addr_set(&a, (struct sockaddr *)&sa);
    lua_pushstring(L, peri_addr_text(&a, text));
  }
}

/* }===================================================================== */

/* {== Readiness ======================================================== */

/* The next acceptor has its turn, unless one has that did not use it. */
static void grant(peri_loop *l, peri_server *s) {
  if (!s->granted && peri_waitlist_wake(l, &s->acceptors)) s->granted = 1;
}

static void stop_watch(peri_server *s);

static void ready(peri_loop *l, peri_runnable *r) {
  if (peri_link_alone(&r->link)) peri_loop_ready(l, r);
}

/* Somebody may want to connect. With nobody to accept, the watch is stopped,
** or uv would tell again and again. */
static void tell(peri_server *s) {
  peri_loop *l = s->h.loop;
  s->ready = 1;
  if (s->protocol)
    ready(l, &s->run);
  else
    grant(l, s);
  if (!s->protocol && !s->granted) stop_watch(s);
}

static void on_backoff(peri_loop *l, peri_timer *t) {
  (void)l;
  tell(PERI_OF(t, peri_server, backoff));
}

#if PERI_BY_UV

/* libuv accepts before it tells, and does not go on until that one has been
** taken from it. */

static void on_ready(uv_stream_t *uv, int status) {
  (void)status;
  tell(PERI_OF(peri_handle_of((uv_handle_t *)uv), peri_server, h));
}

int peri_server_uv_listen(peri_server *s, int backlog) {
  return uv_listen(&s->uv.stream, backlog, on_ready);
}

static void stop_watch(peri_server *s) {
  (void)s;
}

static int watch(peri_server *s) {
  (void)s;
  return 0;
}

#else

static void on_ready(uv_poll_t *uv, int status, int events) {
  (void)status; /* accept(2) will say it as well */
  (void)events;
  tell(PERI_OF(peri_handle_of((uv_handle_t *)uv), peri_server, h));
}

static void stop_watch(peri_server *s) {
  if (s->watching) uv_poll_stop(&s->uv.poll);
  s->watching = 0;
}

static int watch(peri_server *s) {
  if (s->watching || peri_timer_armed(&s->backoff)) return 0;
  int status = uv_poll_start(&s->uv.poll, UV_READABLE, on_ready);
  s->watching = !status;
  return status;
}

#endif

/* }===================================================================== */

/* {== Close ============================================================ */

#if PERI_BY_UV

static void close_sockets(peri_server *s) {
  (void)s;
}

#else

static void close_sockets(peri_server *s) {
  if (s->fd != PERI_NO_SOCKET) close(s->fd);
  if (s->accepted != PERI_NO_SOCKET) close(s->accepted);
  s->fd = s->accepted = PERI_NO_SOCKET;
}

#endif

/* Closes it: nobody is accepted any more; whoever waits is told. */
static void close_server(peri_loop *l, peri_server *s) {
  if (s->closed) return;
  s->closed = 1;
  if (s->box) *s->box = NULL;
  s->box = NULL;
  if (s->protocol) peri_logical_leave(l, s->frame.logical);
  if (s->protocol || s->collected) peri_unanchor(l, s);
  peri_waitlist_wake_all(l, &s->acceptors);
  peri_heap_remove(&l->timers, &s->backoff);
  peri_link_out(&s->run.link);
  peri_bound_remove(l, &s->bound);
  peri_handle_close(&s->h); /* before the descriptor that it watches */
  close_sockets(s);
}

static void server_shut(peri_loop *l, peri_handle *h) {
  close_server(l, server_of(h));
}

static void free_server(peri_loop *l, peri_server *s) {
  close_sockets(s);
  peri_bound_remove(l, &s->bound);
  peri_link_out(&s->run.link);
  peri_heap_remove(&l->timers, &s->backoff);
  peri_heap_unreserve(&l->timers);
  peri_frame_release(l, &s->frame);
  peri_free(l, s, sizeof *s);
}

static void server_closed(peri_loop *l, peri_handle *h) {
  peri_server *s = server_of(h);
  if (s->box) *s->box = NULL; /* at the end of the Lua state */
  free_server(l, s);
}

static const peri_handle_type server_type = {
  "server", 1, server_shut, server_closed};

/* }===================================================================== */

/* {== Accepting ======================================================== */

#if PERI_BY_UV

static int take(peri_server *s) {
  int there = s->ready;
  s->ready = 0;
  return there ? 0 : UV_EAGAIN;
}

static int hand_over(peri_server *s, peri_transport *c) {
  struct sockaddr_storage sa;
  int n = sizeof sa, status = uv_accept(&s->uv.stream, &c->uv.stream);
  if (status || s->type != UV_TCP) return status;
  if (!uv_tcp_getpeername(&c->uv.tcp, (struct sockaddr *)&sa, &n))
    peri_addr_set(&c->peer, (struct sockaddr *)&sa);
  return s->options.nodelay ? uv_tcp_nodelay(&c->uv.tcp, 1) : 0;
}

#else

static int accept_one(peri_server *s, struct sockaddr *sa, socklen_t *n) {
#ifdef SOCK_CLOEXEC
  return accept4(s->fd, sa, n, SOCK_CLOEXEC | SOCK_NONBLOCK);
#else
  int fd = accept(s->fd, sa, n);
  if (fd >= 0) fcntl(fd, F_SETFD, FD_CLOEXEC);
  return fd;
#endif
}

/* Those who have gone before they were accepted are none of our business. */
static int try_again(int error) {
  return error == EINTR || error == ECONNABORTED || error == EPROTO;
}

/* Accepts into `accepted`: 0, or a uv status. A socket there that found no
** transport, for lack of memory, is the next to get one. */
static int take(peri_server *s) {
  struct sockaddr_storage sa;
  socklen_t n = sizeof sa;
  if (s->accepted != PERI_NO_SOCKET) return 0;
  do
    s->accepted = accept_one(s, (struct sockaddr *)&sa, &n);
  while (s->accepted == PERI_NO_SOCKET && try_again(errno));
  if (s->accepted == PERI_NO_SOCKET) return -errno;
  if (s->type == UV_TCP) peri_addr_set(&s->peer, (struct sockaddr *)&sa);
  return 0;
}

static int hand_over(peri_server *s, peri_transport *c) {
  int status = peri_transport_adopt(c, s->accepted);
  if (status) close(s->accepted);
  s->accepted = PERI_NO_SOCKET;
  c->peer = s->peer;
  return status;
}

#endif

static int is_shortage(int status) {
  return status == UV_EMFILE || status == UV_ENFILE ||
         status == UV_ENOBUFS || status == UV_ENOMEM;
}

/* The same, but out of descriptors or memory it is tried again later: 0,
** UV_EAGAIN, or another uv status. */
static int try_take(peri_loop *l, peri_server *s) {
  if (peri_timer_armed(&s->backoff)) return UV_EAGAIN;
  if (!s->ready && s->accepted == PERI_NO_SOCKET) return UV_EAGAIN;
  int status = take(s);
  if (is_shortage(status)) {
    stop_watch(s);
    peri_heap_add(&l->timers, &s->backoff, l->now + BACKOFF);
    return UV_EAGAIN;
  }
  if (status == UV_EAGAIN) s->ready = 0;
  return status;
}

/* Pushes a transport for the connection taken: 0, or a uv status. */
static int push_taken(lua_State *L, peri_loop *l, peri_server *s) {
  peri_transport *c = peri_transport_new(L, l, s->type);
  c->linger_ms = s->options.linger_ms;
  int status = hand_over(s, c);
  if (status) peri_transport_abort(l, c);
  return status;
}

/* }===================================================================== */

/* {== accept =========================================================== */

enum { ACCEPT, NEXT }; /* the method, the iterator */

static int accept_k(lua_State *L, int status, lua_KContext how);

static int accept_abort(peri_loop *l, peri_task *t, int why) {
  peri_server *s = t->on;
  (void)l;
  (void)why;
  peri_waitlist_remove(&s->acceptors, &t->run);
  return 1;
}

/* Who connects is the next one's. */
static void accept_drop(peri_loop *l, peri_task *t) {
  peri_server *s = *(peri_server **)lua_touserdata(peri_task_waits_in(t), 1);
  if (!s) return;
  s->granted = 0;
  grant(l, s);
}

static const peri_wait accepting = {"accept", accept_abort, accept_k,
                                    accept_drop};

static int failed(lua_State *L, int status, lua_KContext how) {
  if (how == ACCEPT) return peri_status_fail(L, status, "accept");
  if (status == PERI_ECLOSED) return 0;
  return peri_status_raise(L, status, "accept");
}

/* Has its turn: accepts, or waits in front of the others. */
static int accept_go(lua_State *L, peri_loop *l, peri_server *s,
                     lua_KContext how) {
  int status = s ? try_take(l, s) : PERI_ECLOSED;
  if (!status) {
    if (s->ready) grant(l, s);
    status = push_taken(L, l, s);
    if (!status) return 1;
  }
  if (status != UV_EAGAIN) return failed(L, status, how);
  peri_task *t = peri_wait_enter(L, l); /* it may be cancelled by now */
  status = watch(s);
  if (status) return failed(L, status, how);
  peri_waitlist_add(&s->acceptors, &t->run);
  s->acceptors.first = &t->run.link;
  return peri_task_park(L, l, &accepting, s, how);
}

static int accept_k(lua_State *L, int status, lua_KContext how) {
  peri_server *s = *(peri_server **)lua_touserdata(L, 1);
  (void)status;
  if (s) s->granted = 0;
  return accept_go(L, PERI_LOOP(L), s, how);
}

static int accept_begin(lua_State *L, peri_server *s, lua_KContext how) {
  peri_loop *l = PERI_LOOP(L);
  lua_settop(L, 1);
  if (s && s->protocol)
    return peri_error_raise(L, "EBUSY",
                            "this server accepts for its protocol");
  peri_task *t = peri_wait_enter(L, l);
  if (!s || (!s->granted && peri_waitlist_empty(&s->acceptors)))
    return peri_task_done(L, l, accept_go(L, l, s, how));
  peri_waitlist_add(&s->acceptors, &t->run);
  return peri_task_park(L, l, &accepting, s, how);
}

/* server:accept() -> conn, or nil, message, code. Waits. */
static int server_accept(lua_State *L) {
  return accept_begin(L, check_server(L), ACCEPT);
}

/* `for conn in server do`: ends when the server is closed, raises for other
** failures. Waits. */
static int server_call(lua_State *L) {
  return accept_begin(L, check_server(L), NEXT);
}

/* }===================================================================== */

/* {== In the turn ====================================================== */

typedef struct arrival {
  peri_server *s;
  peri_transport *c; /* once it is there */
  peri_logical *g;   /* of this connection, lives until it has begun */
} arrival;

/* Each connection begins a logical context. */
static void begin_logical(lua_State *L, peri_loop *l, arrival *a) {
  a->g = peri_logical_new(L, l);
  peri_logical_enter(a->g);
  peri_logical_release(l, l->frame.logical);
  l->frame.logical = peri_logical_retain(a->g);
}

/* Makes a transport with a protocol; in protected mode. A light function:
** it has no upvalue. */
static int make_protocol(lua_State *L) {
  arrival *a = lua_touserdata(L, 1);
  peri_server *s = a->s;
  peri_loop *l = s->h.loop;
  begin_logical(L, l, a);
  if (push_taken(L, l, s)) return 0; /* it has gone already */
  a->c = peri_box_at(L, -1);
  peri_push_anchored(l, L, s);
  lua_getiuservalue(L, -1, 1);
  peri_protocol_start(L, l, 2);
  return 0;
}

static void arrive(peri_loop *l, lua_State *L, peri_server *s) {
  arrival a = {s, NULL, NULL};
  lua_pushcfunction(L, make_protocol);
  lua_pushlightuserdata(L, &a);
  if (peri_callback_call(l, L, &s->frame, 1, 0)) {
    peri_report(l, L, "callback", NULL);
    if (a.c) peri_transport_abort(l, a.c);
  }
  peri_logical_leave(l, a.g);
  peri_logical_release(l, a.g);
}

static void accept_all(peri_loop *l, lua_State *L, peri_server *s) {
  int status = 0;
  for (int i = 0; i < AT_ONCE && !s->closed && !status; i++) {
    status = try_take(l, s);
    if (!status) arrive(l, L, s);
  }
  if (s->closed) return;
  if (!status)
    ready(l, &s->run);
  else if (status == UV_EAGAIN && !peri_timer_armed(&s->backoff))
    watch(s);
}

static int describe(lua_State *L) {
  push_name(L, lua_touserdata(L, 1));
  lua_pushfstring(L, "a server was collected before it was closed (%s)",
                  lua_tostring(L, -1));
  return 1;
}

/* Nobody holds it: as with transports. */
static void collect(peri_loop *l, peri_server *s, lua_State *L) {
  if (l->closing) return;
  if (!s->closed) peri_report_leak(l, L, describe, s);
  close_server(l, s);
}

static void server_run(peri_loop *l, peri_runnable *r, lua_State *L) {
  peri_server *s = PERI_OF(r, peri_server, run);
  if (s->collected) {
    collect(l, s, L);
  } else if (lua_checkstack(L, LUA_MINSTACK)) {
    accept_all(l, L, s);
  }
}

/* }===================================================================== */

/* {== New ============================================================== */

peri_server *peri_server_new(lua_State *L, peri_loop *l,
                             uv_handle_type type) {
  peri_task_logical(L, l);
  peri_server *s = peri_alloc(l, sizeof *s);
  if (!s || peri_heap_reserve(l, &l->timers)) {
    if (s) peri_free(l, s, sizeof *s);
    luaL_error(L, "not enough memory");
    return NULL;
  }
  memset(s, 0, sizeof *s);
  peri_link_init(&s->run.link);
  s->run.run = server_run;
  peri_timer_init(&s->backoff, on_backoff);
  s->type = type;
  s->fd = s->accepted = PERI_NO_SOCKET;
  s->frame = peri_frame_capture(l);
  s->ready = !PERI_BY_UV;
  return s;
}

void peri_server_enter(peri_loop *l, peri_server *s) {
  peri_handle_open(l, &s->h, &server_type, &s->uv.any);
}

void peri_server_discard(peri_loop *l, peri_server *s) {
  if (s->h.uv)
    close_server(l, s);
  else
    free_server(l, s);
}

void peri_server_start(lua_State *L, peri_loop *l, peri_server **box,
                       peri_server *s) {
  *box = s;
  s->box = box;
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    return;
  }
  lua_setiuservalue(L, -2, 1);
  peri_anchor(L, l, -1, s);
  s->protocol = 1;
  peri_logical_enter(s->frame.logical);
  ready(l, &s->run);
}

/* }===================================================================== */

/* {== Lua side ========================================================= */

/* server:stop() -> true if it was open. Accepts no more; whoever waits to
** accept is told. Never waits. */
static int server_stop(lua_State *L) {
  peri_server *s = check_server(L);
  if (s) close_server(PERI_LOOP(L), s);
  lua_pushboolean(L, s != NULL);
  return 1;
}

/* See transport_gc. */
static int server_gc(lua_State *L) {
  if (peri_gc_is_called(PERI_LOOP(L))) return 0;
  peri_server *s = *(peri_server **)lua_touserdata(L, 1);
  if (!s) return 0;
  if (!s->protocol) peri_anchor(L, s->h.loop, 1, s);
  s->collected = 1;
  ready(s->h.loop, &s->run);
  return 0;
}

static int tcp_sockname(lua_State *L) {
  peri_server *s = check_server(L);
  struct sockaddr_storage sa;
  peri_addr a;
  int status = s ? get_name(s, &sa) : PERI_ECLOSED;
  if (status) return peri_status_fail(L, status, "sockname");
  peri_addr_set(&a, (struct sockaddr *)&sa);
  return peri_addr_push(L, &a);
}

/* server:sockname() -> host, port; or the path. Never waits. */
static int server_sockname(lua_State *L) {
  peri_server *s = check_server(L);
  if (!s) return peri_status_fail(L, PERI_ECLOSED, "sockname");
  if (s->type == UV_TCP) return tcp_sockname(L);
  lua_pushstring(L, s->bound.path ? s->bound.path : "");
  return 1;
}

/* "tcp server (127.0.0.1:80)", "unix server (closed)" */
static int server_tostring(lua_State *L) {
  peri_server *s = check_server(L);
  if (s)
    push_name(L, s);
  else
    lua_pushliteral(L, "closed");
  luaL_getmetatable(L, peri_server_type_name(UV_TCP));
  int tcp = lua_rawequal(L, -1, lua_upvalueindex(2));
  lua_pushfstring(L, "%s server (%s)", tcp ? "tcp" : "unix",
                  lua_tostring(L, -2));
  return 1;
}

static const luaL_Reg methods[] = {
  {"accept", server_accept}, {"stop", server_stop},
  {"sockname", server_sockname}, {"__call", server_call},
  {"__gc", server_gc}, {"__tostring", server_tostring}, {NULL, NULL}};

static void open_type(lua_State *L, peri_loop *l, uv_handle_type type) {
  luaL_newmetatable(L, peri_server_type_name(type));
  peri_stash_push(l, L, PERI_STASH_LOOP);
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, methods, 2);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

void peri_server_open(lua_State *L, peri_loop *l) {
  open_type(L, l, UV_TCP);
  open_type(L, l, UV_NAMED_PIPE);
}

/* }===================================================================== */
