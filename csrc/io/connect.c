/*
** connect.c - connecting a transport.
**
** uv side: peri_on_connected.
**
** The transport is made first and owned by its box, on the stack of the
** task; the attempt is a request. A wait that is left closes the transport:
** nothing happened. So does the time limit; uv then calls back.
**
** SPDX-License-Identifier: MIT
*/
#include "connect.h"

#include <lauxlib.h>
#include <string.h>

#define NS_PER_MS 1000000u
#define BOX 4 /* stack: host or path, port or nil, options, box */

static peri_connecting *connecting_of(peri_request *r) {
  return PERI_OF(r, peri_connecting, r);
}

/* {== The attempt ====================================================== */

static void dispose(peri_loop *l, peri_request *r) {
  peri_heap_remove(&l->timers, &connecting_of(r)->timer);
  peri_heap_unreserve(&l->timers);
}

void peri_on_connected(uv_connect_t *req, int status) {
  peri_connecting *k = PERI_OF(req, peri_connecting, uv);
  peri_heap_remove(&k->r.loop->timers, &k->timer);
  peri_request_done(&k->r, k->timed_out ? UV_ETIMEDOUT : status);
}

static void on_timer(peri_loop *l, peri_timer *t) {
  peri_connecting *k = PERI_OF(t, peri_connecting, timer);
  k->timed_out = 1;
  peri_transport_close(l, k->c); /* uv calls back with UV_ECANCELED */
}

static int connect_abort(peri_loop *l, peri_task *t, int why) {
  peri_connecting *k = t->on;
  (void)why;
  peri_heap_remove(&l->timers, &k->timer);
  peri_transport_close(l, k->c);
  peri_request_drop(&k->r);
  return 1;
}

/* Both lists have room for the timer before anything can fail. */
static peri_connecting *new_connecting(lua_State *L, peri_loop *l) {
  int status = peri_heap_reserve(l, &l->timers);
  peri_connecting *k = NULL;
  if (!status) k = peri_request_new(l, sizeof *k, dispose);
  if (k) {
    peri_timer_init(&k->timer, on_timer);
    return k;
  }
  if (!status) peri_heap_unreserve(&l->timers);
  luaL_error(L, "not enough memory");
  return NULL;
}

/* }===================================================================== */

/* {== The wait ========================================================= */

/* Pushes what names the peer in messages: "connect host:port". */
static const char *push_what(lua_State *L, const peri_transport *c) {
  char text[PERI_ADDR_TEXT];
  if (!lua_isnil(L, 2) && c && c->peer.any.sa_family != AF_UNSPEC)
    return lua_pushfstring(L, "connect %s", peri_addr_text(&c->peer, text));
  if (lua_isnil(L, 2))
    return lua_pushfstring(L, "connect %s", lua_tostring(L, 1));
  return lua_pushfstring(L, "connect %s:%d", lua_tostring(L, 1),
                         (int)lua_tointeger(L, 2));
}

static int fail(lua_State *L, peri_loop *l, int status) {
  peri_transport *c = peri_box_at(L, BOX);
  const char *what = push_what(L, c);
  if (c) peri_transport_close(l, c);
  return peri_status_fail(L, status, "%s", what);
}

static int connect_k(lua_State *L, int uv_status, lua_KContext ctx) {
  peri_loop *l = PERI_LOOP(L);
  peri_connecting *k = (peri_connecting *)ctx;
  int status = k->r.status;
  (void)uv_status;
  peri_transport *c = peri_box_at(L, BOX);
  peri_request_drop(&k->r);
  if (!status) status = c ? peri_transport_connected(c) : PERI_ECLOSED;
  if (status) return fail(L, l, status);
  if (!lua_isnil(L, 3)) {
    lua_getfield(L, 3, "protocol");
    if (lua_isnil(L, -1))
      lua_pop(L, 1);
    else
      peri_protocol_start(L, l, BOX);
  }
  lua_settop(L, BOX);
  return 1;
}

/* The connection is closed when its box is collected. */
static void connect_drop(peri_loop *l, peri_task *t) {
  peri_connecting *k = t->on;
  (void)l;
  peri_request_drop(&k->r);
}

static const peri_wait connecting = {"connect", connect_abort, connect_k,
                                     connect_drop};

peri_connecting *peri_connect_prepare(lua_State *L, peri_loop *l,
                                      uv_handle_type type) {
  peri_options o;
  uint32_t ms = PERI_CONNECT_MS;
  peri_options_read(L, 3, &o);
  if (!lua_isnil(L, 3)) ms = peri_option_ms(L, 3, "timeout", ms);
  peri_task *t = peri_wait_enter(L, l);
  peri_transport *c = peri_transport_new(L, l, type);
  peri_connecting *k = new_connecting(L, l);
  c->linger_ms = o.linger_ms;
  if (type == UV_TCP && o.nodelay)
    uv_tcp_nodelay(&c->uv.tcp, 1); /* noted, as it has no socket yet */
  k->c = c;
  k->r.task = t;
  if (ms != PERI_NO_LIMIT)
    peri_heap_add(&l->timers, &k->timer, l->now + (uint64_t)ms * NS_PER_MS);
  return k;
}

int peri_connect_wait(lua_State *L, peri_loop *l, peri_connecting *k,
                      int status) {
  if (!status) {
    peri_request_begun(&k->r);
    return peri_task_park(L, l, &connecting, k, (lua_KContext)k);
  }
  peri_request_drop(&k->r);
  return peri_task_done(L, l, fail(L, l, status));
}

/* }===================================================================== */
