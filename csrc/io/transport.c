/*
** transport.c - open byte streams: their life, names and options.
**
** Lua side: close, abort, sockname, peername, nodelay, keepalive, and what
** read.c, write.c and protocol.c add, as methods of "perilune.tcp",
** "perilune.unix" and "perilune.stream".
**
** A box (userdata) owns a peri_transport, which is freed when uv has closed
** its handle. Closing empties the box at once; the transport may live on
** for as long as it lingers or until its protocol has been told.
**
** SPDX-License-Identifier: MIT
*/
#include "transport.h"

#include <lauxlib.h>
#include <math.h>
#include <string.h>

#include "poller.h"
#include "sched/callback.h"
#include "sched/error.h"
#include "sched/trace.h"

#define NS_PER_MS 1000000u

/* Names of the metatables; their addresses are keys in the registry. */
const char peri_tcp_type[] = "perilune.tcp";
const char peri_unix_type[] = "perilune.unix";
const char peri_stream_type[] = "perilune.stream";

static const char *type_name(uv_handle_type type) {
  if (type == UV_POLL) return peri_stream_type;
  return type == UV_TCP ? peri_tcp_type : peri_unix_type;
}

static peri_transport *transport_of(peri_handle *h) {
  return PERI_OF(h, peri_transport, h);
}

peri_transport *peri_transport_check(lua_State *L) {
  const peri_box *box = lua_touserdata(L, 1);
  int same_size = box && lua_rawlen(L, 1) == sizeof *box;
  if (!same_size ||
      (box->type != peri_tcp_type && box->type != peri_unix_type &&
       box->type != peri_stream_type))
    luaL_typeerror(L, 1, "transport");
  return box->c;
}

/* The same, for methods that only tcp has, or only unix. */
static peri_transport *check_type(lua_State *L, const char *type) {
  peri_transport *c = peri_transport_check(L);
  if (((const peri_box *)lua_touserdata(L, 1))->type != type)
    luaL_typeerror(L, 1, type);
  return c;
}

int peri_transport_done(lua_State *L, peri_loop *l, int n) {
  peri_transport *c = peri_box_at(L, 1);
  if (c && !c->asked && ++c->cheap) return n; /* of two bits */
  if (c) c->asked = 0;
  return peri_task_done(L, l, n);
}

/* {== Messages ========================================================= */

/* Pushes the path of a unix socket, or "" if it has none. */
static void push_path(lua_State *L, const peri_transport *c,
                      int (*get)(const uv_pipe_t *, char *, size_t *)) {
  char path[256] = ""; /* libuv looks at its first byte */
  size_t n = sizeof path;
  if (get(&c->uv.pipe, path, &n)) n = 0;
  lua_pushlstring(L, path, n);
}

static void push_peer(lua_State *L, const peri_transport *c) {
  char text[PERI_ADDR_TEXT];
  if (c->medium) {
    c->medium->type->push_name(L, c);
    return;
  }
  if (c->uv.any.type == UV_TCP) {
    lua_pushstring(L, peri_addr_text(&c->peer, text));
    return;
  }
  push_path(L, c, uv_pipe_getpeername);
  if (lua_rawlen(L, -1)) return;
  lua_pop(L, 1);
  push_path(L, c, uv_pipe_getsockname); /* the server's side */
  if (lua_rawlen(L, -1)) return;
  lua_pop(L, 1);
  lua_pushliteral(L, "unnamed");
}

const char *peri_transport_what(lua_State *L, const peri_transport *c,
                                const char *operation) {
  if (!c) return lua_pushstring(L, operation);
  push_peer(L, c);
  lua_pushfstring(L, "%s %s", operation, lua_tostring(L, -1));
  lua_remove(L, -2);
  return lua_tostring(L, -1);
}

int peri_transport_fail(lua_State *L, const peri_transport *c, int status,
                        const char *operation) {
  peri_error_room(L, LUA_MINSTACK);
  const char *what = peri_transport_what(L, c, operation);
  return peri_status_fail(L, status, "%s", what);
}

/* }===================================================================== */

/* {== Close ============================================================ */

void peri_transport_end(peri_transport *c) {
  peri_loop *l = c->h.loop;
  if (c->protocol || c->collected) peri_unanchor(l, c);
  peri_protocol_take_back(l, c);
  peri_link_out(&c->run.link);
  if (c->medium) c->medium->type->end(c);
  if (c->resetting && c->uv.any.type == UV_TCP)
    peri_handle_reset(&c->h);
  else
    peri_handle_close(&c->h);
}

/* What is unsent now is lost. A protocol is told before the end. */
static void finish(peri_loop *l, peri_transport *c) {
  if (c->finished) return;
  c->finished = 1;
  if (c->lingering) {
    c->lingering = 0;
    peri_io_of(l)->nlingering--;
    peri_heap_remove(&l->timers, &c->linger);
  }
  peri_write_drop(l, c);
  if (c->protocol && c->made)
    peri_protocol_ready(l, c);
  else
    peri_transport_end(c);
}

/* From now on its user has nothing to do with it. */
static void release(peri_loop *l, peri_transport *c) {
  c->closed = 1;
  if (c->box) c->box->c = NULL;
  c->box = NULL;
  peri_read_close(l, c);
  peri_write_close(l, c);
}

void peri_transport_close(peri_loop *l, peri_transport *c) {
  if (c->closed) return;
  release(l, c);
  peri_write_flush(l, c);
  if (!peri_write_unsent(c) || c->write_error || !c->linger_ms) {
    finish(l, c);
    return;
  }
  c->lingering = 1;
  peri_io_of(l)->nlingering++;
  peri_loop_clock(l);
  peri_heap_add(&l->timers, &c->linger,
                l->now + (uint64_t)c->linger_ms * NS_PER_MS);
}

void peri_transport_abort(peri_loop *l, peri_transport *c) {
  if (!c->closed) release(l, c);
  c->resetting = 1;
  finish(l, c);
}

void peri_transport_drained(peri_loop *l, peri_transport *c) {
  if (c->lingering) finish(l, c);
}

static void on_linger(peri_loop *l, peri_timer *t) {
  finish(l, PERI_OF(t, peri_transport, linger));
}

static void transport_shut(peri_loop *l, peri_handle *h) {
  peri_transport *c = transport_of(h);
  if (c->standing && !l->closing) return;
  c->linger_ms = 0;
  peri_transport_close(l, c);
  finish(l, c);
}

static void transport_closed(peri_loop *l, peri_handle *h) {
  peri_transport *c = transport_of(h);
  if (c->box) c->box->c = NULL; /* at the end of the Lua state */
  c->finished = 1; /* to writes that uv ends later, see sever in handle.c */
  c->taking = 0;
  peri_read_close(l, c);
  peri_write_drop(l, c);
  if (c->medium) c->medium->type->free(l, c);
  peri_link_out(&c->leaving.link);
  peri_link_out(&c->run.link);
  peri_heap_remove(&l->timers, &c->linger);
  peri_heap_unreserve(&l->timers);
  peri_protocol_take_back(l, c);
  peri_frame_release(l, &c->frame);
  peri_free(l, c, sizeof *c);
}

static const peri_handle_type transport_type = {
  "transport", 0, transport_shut, transport_closed};

int peri_transport_owes(const peri_loop *l) {
  const peri_link *all = &peri_io_of(l)->handles;
  for (peri_link *k = all->next; k != all; k = k->next) {
    peri_handle *h = PERI_OF(k, peri_handle, link);
    if (h->type != &transport_type) continue;
    const peri_transport *c = transport_of(h);
    if (c->standing && !c->write_error && peri_write_unsent(c)) return 1;
  }
  return 0;
}

/* }===================================================================== */

/* {== In the turn ====================================================== */

static int describe(lua_State *L) {
  push_peer(L, lua_touserdata(L, 1));
  lua_pushfstring(L, "a transport was collected before it was closed (%s)",
                  lua_tostring(L, -1));
  return 1;
}

/* Nobody holds it. While the Lua state is being closed, tasks that unwind
** may still use it, and the poller closes it afterwards. */
static void collect(peri_loop *l, peri_transport *c, lua_State *L) {
  if (l->closing) return;
  if (!c->closed) peri_report_leak(l, L, describe, c);
  peri_transport_close(l, c);
  peri_unanchor(l, c);
}

static void transport_run(peri_loop *l, peri_runnable *r, lua_State *L) {
  peri_transport *c = PERI_OF(r, peri_transport, run);
  if (c->collected)
    collect(l, c, L);
  else if (c->protocol)
    peri_protocol_run(l, c, L);
}

/* }===================================================================== */

/* {== New ============================================================== */

static void init(peri_loop *l, peri_transport *c) {
  peri_link_init(&c->run.link);
  c->run.run = transport_run;
  peri_timer_init(&c->linger, on_linger);
  c->linger_ms = PERI_LINGER;
  c->readable = 1;
  peri_write_init(c);
  c->frame = peri_frame_capture(l);
}

static void init_handle(peri_loop *l, peri_transport *c,
                        uv_handle_type type, int fd) {
  uv_loop_t *uv = peri_poller_uv(l);
  if (type == UV_POLL && fd >= 0 && !peri_handle_poll(l, &c->uv.poll, fd))
    return;
  if (type == UV_TCP)
    uv_tcp_init(uv, &c->uv.tcp); /* neither makes a socket yet, or fails */
  else
    uv_pipe_init(uv, &c->uv.pipe, 0);
}

/* The C part of a transport that uv knows of; NULL when out of memory. */
static peri_transport *new_transport(peri_loop *l, uv_handle_type type,
                                     int fd) {
  peri_transport *c = peri_alloc(l, sizeof *c);
  if (!c) return NULL;
  memset(c, 0, sizeof *c);
  if (peri_heap_reserve(l, &l->timers)) {
    peri_free(l, c, sizeof *c);
    return NULL;
  }
  init_handle(l, c, type, fd);
  init(l, c);
  peri_handle_open(l, &c->h, &transport_type, &c->uv.any);
  return c;
}

peri_box *peri_transport_box(lua_State *L, peri_loop *l,
                             uv_handle_type type) {
  peri_error_room(L, 4);
  peri_task_logical(L, l);
  peri_box *box = lua_newuserdatauv(L, sizeof *box, 1);
  box->c = NULL;
  box->type = type_name(type);
  lua_rawgetp(L, LUA_REGISTRYINDEX, type_name(type));
  lua_setmetatable(L, -2);
  peri_trace_made(L, l);
  return box;
}

peri_transport *peri_transport_begin(peri_loop *l, peri_box *box,
                                     uv_handle_type type, int fd) {
  peri_transport *c = new_transport(l, type, fd);
  if (!c) return NULL;
  box->c = c;
  c->box = box;
  return c;
}

peri_transport *peri_transport_new(lua_State *L, peri_loop *l,
                                   uv_handle_type type) {
  peri_box *box = peri_transport_box(L, l, type);
  peri_transport *c = peri_transport_begin(l, box, type, -1);
  if (!c) luaL_error(L, "not enough memory");
  return c;
}

int peri_transport_adopt(peri_transport *c, uv_os_sock_t fd) {
  c->fd = fd;
  if (c->uv.any.type == UV_TCP) return uv_tcp_open(&c->uv.tcp, fd);
  return uv_pipe_open(&c->uv.pipe, (uv_file)fd);
}

int peri_transport_connected(peri_transport *c) {
  uv_os_fd_t fd;
  int status = uv_fileno(&c->uv.any, &fd);
  if (!status) c->fd = (uv_os_sock_t)fd;
  return status;
}

/* }===================================================================== */

/* {== Options ========================================================== */

uint32_t peri_option_ms(lua_State *L, int idx, const char *name,
                        uint32_t none) {
  uint32_t ms = none;
  if (lua_getfield(L, idx, name) != LUA_TNIL) {
    lua_Number s = lua_tonumber(L, -1);
    if (!lua_isnumber(L, -1) || !(s >= 0))
      luaL_argerror(L, idx, lua_pushfstring(
        L, "option '%s' must be a number of seconds", name));
    ms = s * 1000 < (lua_Number)UINT32_MAX ? (uint32_t)ceil(s * 1000)
                                           : UINT32_MAX;
  }
  lua_pop(L, 1);
  return ms;
}

void peri_options_read(lua_State *L, int idx, peri_options *o) {
  o->linger_ms = PERI_LINGER;
  o->nodelay = 1;
  if (lua_isnoneornil(L, idx)) return;
  luaL_checktype(L, idx, LUA_TTABLE);
  o->linger_ms = peri_option_ms(L, idx, "linger", PERI_LINGER);
  if (lua_getfield(L, idx, "nodelay") != LUA_TNIL)
    o->nodelay = lua_toboolean(L, -1);
  lua_pop(L, 1);
}

/* }===================================================================== */

/* {== Lua side ========================================================= */

/*
** conn:close() -> true. Unusable at once; never waits. What was written and
** is unsent goes out in the background, for at most `linger` (5 s). Whoever
** waits on it gets nil, message, "ECLOSED". Twice is fine.
*/
static int transport_close(lua_State *L) {
  peri_transport *c = peri_transport_check(L);
  if (c) peri_transport_close(PERI_LOOP(L), c);
  lua_pushboolean(L, 1);
  return 1;
}

/* conn:abort() -> true. Closes without sending what is unsent; a TCP peer
** gets a reset. Never waits. */
static int transport_abort(lua_State *L) {
  peri_transport *c = peri_transport_check(L);
  if (c) peri_transport_abort(PERI_LOOP(L), c);
  lua_pushboolean(L, 1);
  return 1;
}

/* Nobody holds the box. Closing is left to the turn: at the end of the Lua
** state, tasks that use it are still to be unwound. It stays valid until
** then, as it can be reached from other objects that are collected. */
static int transport_gc(lua_State *L) {
  if (peri_gc_is_called(PERI_LOOP(L))) return 0;
  peri_transport *c = peri_box_at(L, 1);
  if (!c) return 0;
  if (!c->protocol) peri_anchor(L, c->h.loop, 1, c);
  c->collected = 1;
  peri_protocol_ready(c->h.loop, c);
  return 0;
}

/* "tcp (127.0.0.1:80)", "unix (/run/socket)", "tcp (closed)" */
static int transport_tostring(lua_State *L) {
  peri_transport *c = peri_transport_check(L);
  const char *type = ((const peri_box *)lua_touserdata(L, 1))->type;
  if (c)
    push_peer(L, c);
  else
    lua_pushliteral(L, "closed");
  lua_pushfstring(L, "%s (%s)", type + sizeof "perilune." - 1,
                  lua_tostring(L, -1));
  return 1;
}

typedef int (*get_name)(const uv_tcp_t *, struct sockaddr *, int *);

static int tcp_name(lua_State *L, get_name get, const char *operation) {
  peri_transport *c = check_type(L, peri_tcp_type);
  struct sockaddr_storage sa;
  int n = sizeof sa, status = PERI_ECLOSED;
  peri_addr a;
  if (c) status = get(&c->uv.tcp, (struct sockaddr *)&sa, &n);
  if (status) return peri_transport_fail(L, c, status, operation);
  peri_addr_set(&a, (struct sockaddr *)&sa);
  return peri_addr_push(L, &a);
}

/* conn:sockname() -> host, port of a tcp socket. Never waits. */
static int tcp_sockname(lua_State *L) {
  return tcp_name(L, uv_tcp_getsockname, "sockname");
}

/* conn:peername() -> host, port of a tcp socket. Never waits. */
static int tcp_peername(lua_State *L) {
  return tcp_name(L, uv_tcp_getpeername, "peername");
}

/* conn:sockname() -> path of a unix socket, "" if it has none. Never
** waits. */
static int unix_sockname(lua_State *L) {
  peri_transport *c = check_type(L, peri_unix_type);
  if (!c) return peri_transport_fail(L, c, PERI_ECLOSED, "sockname");
  push_path(L, c, uv_pipe_getsockname);
  return 1;
}

/* conn:peername() -> path of a unix socket's peer, "" if it has none. Never
** waits. */
static int unix_peername(lua_State *L) {
  peri_transport *c = check_type(L, peri_unix_type);
  if (!c) return peri_transport_fail(L, c, PERI_ECLOSED, "peername");
  push_path(L, c, uv_pipe_getpeername);
  return 1;
}

/* Returns the transport if the status is good. */
static int chain(lua_State *L, peri_transport *c, int status,
                 const char *operation) {
  if (status) return peri_transport_fail(L, c, status, operation);
  lua_settop(L, 1);
  return 1;
}

/* conn:nodelay([on = true]) -> conn. Whether small packets are sent at once
** (TCP_NODELAY, which is on when nothing else was asked for). Never waits. */
static int tcp_nodelay(lua_State *L) {
  peri_transport *c = check_type(L, peri_tcp_type);
  int on = lua_isnoneornil(L, 2) || lua_toboolean(L, 2);
  return chain(L, c, c ? uv_tcp_nodelay(&c->uv.tcp, on) : PERI_ECLOSED,
               "nodelay");
}

/* conn:keepalive([on = true [, seconds = 60]]) -> conn. Whether the system
** probes a peer that is silent for that long. Never waits. */
static int tcp_keepalive(lua_State *L) {
  peri_transport *c = check_type(L, peri_tcp_type);
  int on = lua_isnoneornil(L, 2) || lua_toboolean(L, 2);
  lua_Number s = luaL_optnumber(L, 3, 60);
  luaL_argcheck(L, s >= 1 && s <= 32767, 3,
                "number of seconds from 1 to 32767 expected");
  int status = PERI_ECLOSED;
  if (c) status = uv_tcp_keepalive(&c->uv.tcp, on, (unsigned)s);
  return chain(L, c, status, "keepalive");
}

static const luaL_Reg methods[] = {
  {"close", transport_close}, {"abort", transport_abort},
  {"__close", transport_close}, {"__gc", transport_gc},
  {"__tostring", transport_tostring}, {NULL, NULL}};

static const luaL_Reg tcp_methods[] = {
  {"sockname", tcp_sockname}, {"peername", tcp_peername},
  {"nodelay", tcp_nodelay}, {"keepalive", tcp_keepalive}, {NULL, NULL}};

static const luaL_Reg unix_methods[] = {
  {"sockname", unix_sockname}, {"peername", unix_peername}, {NULL, NULL}};

/* Adds functions to the metatable on top. */
static void add(lua_State *L, peri_loop *l, const luaL_Reg *functions) {
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, functions, 1);
}

static void open_type(lua_State *L, peri_loop *l, uv_handle_type type) {
  luaL_newmetatable(L, type_name(type));
  add(L, l, methods);
  add(L, l, peri_read_methods);
  add(L, l, peri_write_methods);
  add(L, l, peri_protocol_methods);
  if (type == UV_TCP) add(L, l, tcp_methods);
  if (type == UV_NAMED_PIPE) add(L, l, unix_methods);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_rawsetp(L, LUA_REGISTRYINDEX, type_name(type));
}

/* core.served(conn): a connection that was accepted to be served, and that
** nobody has used yet, is no part of the server's logical context. If it is
** handed to a protocol, its own is known: see peri_protocol_start. */
static int served(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_transport *c = peri_transport_check(L);
  if (!c || c->protocol) return 0;
  peri_logical_release(l, c->frame.logical);
  c->frame.logical = NULL;
  return 0;
}

void peri_transport_open(lua_State *L, peri_loop *l) {
  static const luaL_Reg functions[] = {{"served", served}, {NULL, NULL}};
  open_type(L, l, UV_TCP);
  open_type(L, l, UV_NAMED_PIPE);
  open_type(L, l, UV_POLL);
  add(L, l, functions);
}

/* }===================================================================== */
