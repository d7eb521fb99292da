/*
** datagram.c - UDP sockets: sending, receiving, callback style.
**
** Lua side: send, recv, protocol, and receiving in a loop.
**
** Everything is done by the task that asks for it, from and to Lua strings;
** what it meets EAGAIN for is tried again when uv has told. So a cancelled
** send has sent nothing, and a cancelled recv has received nothing.
**
** SPDX-License-Identifier: MIT
*/
#include "udp.h"

#ifndef _WIN32

#include <errno.h>
#include <lauxlib.h>
#include <string.h>
#include <sys/socket.h>

#include "sched/callback.h"
#include "sched/error.h"

#define AT_ONCE 64 /* datagrams that a protocol is handed in one turn */

static peri_udp *udp_at(lua_State *L, int idx) {
  return *(peri_udp **)lua_touserdata(L, idx);
}

/* {== Readiness ======================================================== */

static void wake_receiver(peri_loop *l, peri_udp *u) {
  peri_task *t = u->receiver;
  u->receiver = NULL;
  if (t) peri_task_wake(l, t);
}

/* The next sender has its turn, unless one has that did not use it. */
static void grant(peri_loop *l, peri_udp *u) {
  if (!u->granted && peri_waitlist_wake(l, &u->senders)) u->granted = 1;
}

/* What is watched for next: a receiver that was told is likely to be back;
** with none, uv would tell again and again. */
static int wanted(const peri_udp *u) {
  int events = u->receiving || u->protocol ? UV_READABLE : 0;
  if (!u->granted && !peri_waitlist_empty(&u->senders)) events |= UV_WRITABLE;
  return events;
}

void peri_udp_tell(peri_udp *u, int events) {
  peri_loop *l = u->h.loop;
  if (events & UV_READABLE) {
    u->readable = 1;
    wake_receiver(l, u);
    if (u->protocol) peri_udp_ready(u);
  }
  if (events & UV_WRITABLE) grant(l, u);
  peri_udp_watch(u, u->events & wanted(u));
}

void peri_udp_wake_all(peri_loop *l, peri_udp *u) {
  wake_receiver(l, u);
  peri_waitlist_wake_all(l, &u->senders);
}

/* }===================================================================== */

/* {== Receiving ======================================================== */

typedef struct datagram {
  const char *data;
  size_t n;
  peri_addr from;
  int cut; /* it was longer than the room for it */
} datagram;

static ssize_t receive_once(peri_udp *u, struct msghdr *m) {
  ssize_t n;
  do
    n = recvmsg(u->fd, m, 0);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : n;
}

/* Into the loop's hot buffer, where it stays until somebody else reads: 0,
** or a uv status. */
static int receive(peri_loop *l, peri_udp *u, size_t max, datagram *d) {
  peri_buf none = {0};
  peri_room room[2];
  struct sockaddr_storage sa = {0};
  if (!u->readable) return UV_EAGAIN;
  if (!peri_buf_room(l, &peri_io_of(l)->pool, &none, 0, room))
    return UV_ENOMEM;
  struct iovec v = {room[0].at, max < room[0].size ? max : room[0].size};
  struct msghdr m = {.msg_name = &sa, .msg_namelen = sizeof sa,
                     .msg_iov = &v, .msg_iovlen = 1};
  ssize_t n = receive_once(u, &m);
  if (n == UV_EAGAIN) u->readable = 0;
  if (n < 0) return (int)n;
  d->data = room[0].at;
  d->n = (size_t)n;
  d->cut = (m.msg_flags & MSG_TRUNC) != 0;
  peri_addr_set(&d->from, (struct sockaddr *)&sa);
  return 0;
}

/* Pushes host and port. */
static void push_from(lua_State *L, peri_udp *u, const peri_addr *from) {
  peri_addr host = *from;
  host.in.sin_port = 0;
  if (memcmp(&host, &u->last, sizeof host)) {
    peri_addr_push(L, &host);
    lua_pop(L, 1);
    strcpy(u->text, lua_tostring(L, -1));
    u->last = host;
  } else {
    lua_pushstring(L, u->text);
  }
  lua_pushinteger(L, ntohs(from->in.sin_port));
}

/* The bytes first: what is allocated later may use the hot buffer. */
static int push_datagram(lua_State *L, peri_udp *u, const datagram *d) {
  peri_error_room(L, 8);
  lua_pushlstring(L, d->data, d->n);
  push_from(L, u, &d->from);
  if (!d->cut) return 3;
  lua_pushboolean(L, 1);
  return 4;
}

/* }===================================================================== */

/* {== recv ============================================================= */

enum { RECV, NEXT }; /* the method, the iterator */

static int recv_k(lua_State *L, int status, lua_KContext how);

static int recv_abort(peri_loop *l, peri_task *t, int why) {
  peri_udp *u = t->on;
  (void)l;
  (void)why;
  u->receiver = NULL;
  u->receiving = 0;
  return 1;
}

static const peri_wait receiving = {"recv", recv_abort, recv_k};

static int recv_failed(lua_State *L, const peri_udp *u, int status,
                       lua_KContext how) {
  char text[PERI_ADDR_TEXT];
  if (how == RECV) return peri_udp_fail(L, u, status, "recv");
  if (!u) return 0;
  return peri_status_raise(L, status, "recv %s", peri_udp_text(u, text));
}

/* The stack: box, how many bytes at most. */
static int recv_go(lua_State *L, peri_loop *l, peri_udp *u,
                   lua_KContext how) {
  datagram d;
  int status = PERI_ECLOSED;
  if (u) status = receive(l, u, (size_t)lua_tointeger(L, 2), &d);
  if (!status) return push_datagram(L, u, &d);
  if (status != UV_EAGAIN) return recv_failed(L, u, status, how);
  peri_task *t = peri_wait_enter(L, l); /* it may be cancelled by now */
  status = peri_udp_watch(u, u->events | UV_READABLE);
  if (status) return recv_failed(L, u, status, how);
  u->receiver = t;
  u->receiving = 1;
  return peri_task_park(L, l, &receiving, u, how);
}

static int recv_k(lua_State *L, int status, lua_KContext how) {
  peri_udp *u = udp_at(L, 1);
  (void)status;
  if (u) u->receiving = 0;
  return recv_go(L, PERI_LOOP(L), u, how);
}

static int recv_begin(lua_State *L, peri_udp *u, lua_KContext how) {
  peri_loop *l = PERI_LOOP(L);
  if (u && (u->receiving || u->protocol))
    return peri_error_raise(L, "EBUSY", u->protocol
                              ? "this socket has a protocol that receives"
                              : "another task receives from this socket");
  peri_wait_enter(L, l);
  return peri_task_done(L, l, recv_go(L, l, u, how));
}

/*
** udp:recv([max]) -> data, host, port, or nil, message, code. One datagram,
** and where it came from. With `max`, one of more bytes is cut short, which
** a fourth value, true, says. On a connected socket it may fail with what
** became of an earlier datagram, ECONNREFUSED for instance, and go on after
** that. One task receives; a second one is refused. Waits.
*/
static int udp_recv(lua_State *L) {
  peri_udp *u = peri_udp_check(L);
  lua_Integer max = luaL_optinteger(L, 2, PERI_BLOCK_SIZE);
  luaL_argcheck(L, max >= 0, 2, "number of bytes expected");
  lua_settop(L, 1);
  lua_pushinteger(L, max);
  return recv_begin(L, u, RECV);
}

/* `for data, host, port in udp do`: ends when the socket is closed, raises
** for other failures. Waits. */
static int udp_call(lua_State *L) {
  peri_udp *u = peri_udp_check(L);
  lua_settop(L, 1);
  lua_pushinteger(L, PERI_BLOCK_SIZE);
  return recv_begin(L, u, NEXT);
}

/* }===================================================================== */

/* {== send ============================================================= */

/* The stack: box, data, host or nil, port or nil. */

static int send_k(lua_State *L, int status, lua_KContext ctx);

static int send_abort(peri_loop *l, peri_task *t, int why) {
  peri_udp *u = t->on;
  (void)l;
  (void)why;
  peri_waitlist_remove(&u->senders, &t->run);
  return 1;
}

static const peri_wait sending = {"send", send_abort, send_k};

/* A socket for IPv6 reaches IPv4 by addresses of its own. */
static void map_to_ipv6(peri_addr *a) {
  struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
                             .sin6_port = a->in.sin_port};
  memset(in6.sin6_addr.s6_addr + 10, 0xff, 2);
  memcpy(in6.sin6_addr.s6_addr + 12, &a->in.sin_addr, 4);
  a->in6 = in6;
}

/* Where to, from the stack: 0, or UV_EINVAL if that is a name. */
static int destination(lua_State *L, const peri_udp *u, peri_addr *a) {
  a->any.sa_family = AF_UNSPEC;
  if (lua_isnil(L, 3)) return 0;
  const char *host = lua_tostring(L, 3);
  int port = (int)lua_tointeger(L, 4);
  if (u && *host && !strcmp(host, u->text)) {
    *a = u->last;
    a->in.sin_port = htons((uint16_t)port);
  } else if (peri_addr_parse(a, host, port)) {
    return UV_EINVAL;
  }
  if (u && u->family == AF_INET6 && a->any.sa_family == AF_INET)
    map_to_ipv6(a);
  return 0;
}

/* Hands the datagram to the kernel, which takes it as a whole: 0, or a uv
** status. */
static int transmit(lua_State *L, peri_udp *u, const peri_addr *a) {
  size_t len;
  const char *data = lua_tolstring(L, 2, &len);
  int known = a->any.sa_family != AF_UNSPEC;
  ssize_t n;
  do
    n = sendto(u->fd, data, len, 0, known ? &a->any : NULL,
               known ? peri_addr_size(a) : 0);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : 0;
}

static int send_failed(lua_State *L, const peri_udp *u, const peri_addr *a,
                       int status) {
  char text[PERI_ADDR_TEXT];
  if (a->any.sa_family == AF_UNSPEC)
    return peri_udp_fail(L, u, status, "send");
  return peri_status_fail(L, status, "send %s", peri_addr_text(a, text));
}

/* Waits for room in the kernel; who has had a turn, in front of others. */
static int await_room(lua_State *L, peri_loop *l, peri_udp *u, int front) {
  peri_task *t = peri_wait_enter(L, l); /* it may be cancelled by now */
  peri_waitlist_add(&u->senders, &t->run);
  if (front) u->senders.first = &t->run.link;
  return peri_task_park(L, l, &sending, u, 0);
}

/* Has its turn. */
static int send_go(lua_State *L, peri_loop *l, peri_udp *u, int waits) {
  peri_addr a;
  destination(L, u, &a);
  int status = u ? transmit(L, u, &a) : PERI_ECLOSED;
  if (status == UV_EAGAIN && waits) {
    status = peri_udp_watch(u, u->events | UV_WRITABLE);
    if (!status) return await_room(L, l, u, 1);
  }
  if (u) grant(l, u);
  if (status) return send_failed(L, u, &a, status);
  lua_settop(L, 1);
  return 1;
}

static int send_k(lua_State *L, int status, lua_KContext ctx) {
  peri_udp *u = udp_at(L, 1);
  (void)status;
  (void)ctx;
  if (u) u->granted = 0;
  return send_go(L, PERI_LOOP(L), u, 1);
}

static int results_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  return lua_gettop(L);
}

/* The host is a name: a function of udp.lua looks it up, and sends. */
static int send_to_name(lua_State *L, peri_loop *l) {
  if (l->callback)
    return luaL_argerror(L, 3, "numeric address expected in a callback");
  lua_getfield(L, lua_upvalueindex(2), "__send_to_name");
  lua_insert(L, 1);
  lua_callk(L, 4, LUA_MULTRET, 0, results_k);
  return lua_gettop(L);
}

static void check_send(lua_State *L, const peri_udp *u) {
  luaL_checkstring(L, 2);
  lua_settop(L, 4);
  int to = !lua_isnil(L, 3);
  int connected = u && u->peer.any.sa_family != AF_UNSPEC;
  luaL_argcheck(L, !to || !connected, 3, "this socket is connected");
  luaL_argcheck(L, to || connected || !u, 3,
                "host expected, as this socket is not connected");
  if (!to) return;
  luaL_checkstring(L, 3);
  peri_addr_check_port(L, 4);
}

/*
** udp:send(data [, host, port]) -> udp, or nil, message, code. Sends one
** datagram, to where the socket is connected or else to host and port. Waits
** for room in the kernel, which has it when this returns, and until earlier
** senders had their turn; cancelled before, nothing was sent. In callbacks
** it never waits: without room it fails with EAGAIN.
*/
static int udp_send(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_udp *u = peri_udp_check(L);
  peri_addr a;
  check_send(L, u);
  if (destination(L, u, &a)) return send_to_name(L, l);
  if (l->callback) return send_go(L, l, u, 0);
  peri_wait_enter(L, l);
  if (u && (u->granted || !peri_waitlist_empty(&u->senders)))
    return await_room(L, l, u, 0);
  return peri_task_done(L, l, send_go(L, l, u, 1));
}

/* }===================================================================== */

/* {== Callback style =================================================== */

/* A call of a method of the protocol, with a datagram, an error status, or
** (both none) the value on top of the stack. */
typedef struct event {
  peri_udp *u;
  const char *method;
  const datagram *d;
  int status;
} event;

static int push_arguments(lua_State *L, const event *e) {
  char text[PERI_ADDR_TEXT];
  if (e->d) return push_datagram(L, e->u, e->d);
  if (e->status)
    peri_status_push(L, e->status, "recv %s", peri_udp_text(e->u, text));
  else
    lua_pushvalue(L, 1);
  return 1;
}

/* Stack: a value or nil, the event. A light function: it has no upvalue. */
static int call_method(lua_State *L) {
  event *e = lua_touserdata(L, 2);
  int n = push_arguments(L, e); /* first: see push_datagram */
  peri_push_anchored(e->u->h.loop, L, e->u);
  lua_getiuservalue(L, -1, 1);
  lua_getfield(L, -1, e->method);
  if (lua_isnil(L, -1)) return 0;
  lua_replace(L, -3); /* method, protocol, below the arguments */
  lua_rotate(L, 3, 2);
  lua_call(L, n + 1, 0);
  return 0;
}

/* Pops the value on top, which is the argument; returns lua_pcall's status,
** with an error left on the stack. */
static int call_with(peri_loop *l, lua_State *L, event *e) {
  lua_pushcfunction(L, call_method);
  lua_insert(L, -2);
  lua_pushlightuserdata(L, e);
  return peri_callback_call(l, L, &e->u->frame, 2, 0);
}

/* It is over: tells the protocol, with the error on top or nil, and closes
** the socket. Pops the error. */
static void lose(peri_loop *l, lua_State *L, peri_udp *u) {
  event e = {u, "connection_lost", NULL, 0};
  if (call_with(l, L, &e)) peri_report(l, L, "callback", NULL);
  if (u->protocol) peri_udp_end(u);
}

static void call(peri_loop *l, lua_State *L, event *e) {
  peri_udp *u = e->u;
  if (!call_with(l, L, e)) return;
  lua_pushvalue(L, -1);
  peri_report(l, L, "callback", NULL);
  if (u->protocol) {
    peri_udp_close(l, u);
    lose(l, L, u);
  } else {
    lua_pop(L, 1);
  }
}

static void step_made(peri_loop *l, lua_State *L, peri_udp *u) {
  event e = {u, "connection_made", NULL, 0};
  u->made = 1;
  peri_push_anchored(l, L, u);
  call(l, L, &e);
}

/* One datagram, or error, for the protocol: 0, or a uv status. */
static int step_datagram(peri_loop *l, lua_State *L, peri_udp *u) {
  datagram d;
  int status = receive(l, u, PERI_BLOCK_SIZE, &d);
  if (status == UV_EAGAIN) return status;
  event e = {u, status ? "error_received" : "datagram_received",
             status ? NULL : &d, status};
  lua_pushnil(L);
  call(l, L, &e);
  return status;
}

/* What failed is tried again when uv has told: others have their turn. */
static void step_all(peri_loop *l, lua_State *L, peri_udp *u) {
  int status = 0;
  for (int i = 0; i < AT_ONCE && !status; i++) {
    if (!u->protocol || u->closed) return;
    status = step_datagram(l, L, u);
  }
  if (!u->protocol || u->closed) return;
  if (!status)
    peri_udp_ready(u);
  else
    peri_udp_watch(u, u->events | UV_READABLE);
}

void peri_udp_run(peri_loop *l, peri_udp *u, lua_State *L) {
  if (!lua_checkstack(L, LUA_MINSTACK)) return;
  if (u->closed) {
    lua_pushnil(L);
    lose(l, L, u);
    return;
  }
  if (!u->made) step_made(l, L, u);
  step_all(l, L, u);
}

void peri_udp_start(lua_State *L, peri_loop *l, int idx) {
  if (lua_isfunction(L, -1)) {
    lua_pushvalue(L, idx);
    lua_call(L, 1, 1);
  }
  peri_udp *u = udp_at(L, idx);
  if (!u) { /* the factory has closed it */
    lua_pop(L, 1);
    return;
  }
  if (!lua_istable(L, -1) && !lua_isuserdata(L, -1))
    peri_error_raise(L, "EINVAL", "a protocol must be a table, got %s",
                     luaL_typename(L, -1));
  peri_anchor(L, l, idx, u);
  lua_setiuservalue(L, idx, 1);
  peri_udp_hand_over(u);
  u->made = 0;
  peri_udp_ready(u);
}

static void give_back(lua_State *L, peri_loop *l, peri_udp *u) {
  if (!u->protocol) return;
  peri_udp_take_back(l, u);
  peri_link_out(&u->run.link);
  peri_unanchor(l, u);
  lua_pushnil(L);
  lua_setiuservalue(L, 1, 1);
}

/*
** udp:protocol(p) -> udp. From the next turn on, hands what comes to p: a
** table with any of connection_made(p, udp), datagram_received(p, data, host,
** port), error_received(p, err), connection_lost(p, err); or a function that
** makes one for udp. With nil one can receive again, and nothing is lost.
** Never waits.
*/
static int udp_protocol(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_udp *u = peri_udp_check(L);
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  if (!u) return peri_udp_fail(L, u, PERI_ECLOSED, "protocol");
  if (u->receiving)
    return peri_error_raise(L, "EBUSY",
                            "a task receives from this socket");
  if (lua_isnil(L, 2)) {
    give_back(L, l, u);
  } else {
    luaL_argexpected(L, !lua_isstring(L, 2) && !lua_isboolean(L, 2), 2,
                     "table");
    peri_udp_start(L, l, 1);
  }
  lua_settop(L, 1);
  return 1;
}

/* }===================================================================== */

const luaL_Reg peri_datagram_methods[] = {
  {"recv", udp_recv}, {"send", udp_send}, {"protocol", udp_protocol},
  {"__call", udp_call}, {NULL, NULL}};

#endif
