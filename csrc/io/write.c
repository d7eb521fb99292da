/*
** write.c - the writing side of transports.
**
** uv side: on_wrote.
** Lua side: write, setvbuf, flush, shutdown.
**
** What an activation (a task between two waits, a callback) writes in small
** pieces is gathered in a pooled buffer and leaves when it ends; big pieces
** leave at once, straight from the Lua string. What the kernel does not take
** is copied to a chunk and queued in uv. A chunk is freed in on_wrote; uv
** calls that for each of them, at the latest when the handle is closed.
**
** SPDX-License-Identifier: MIT
*/
#include "transport.h"

#include <assert.h>
#include <errno.h>
#include <lauxlib.h>
#include <string.h>

#include "sched/error.h"

#if !PERI_BY_UV
#include <sys/socket.h>
#endif

#define BIG 16384u /* pieces from this size on are not gathered */

/* {== To the kernel ==================================================== */

/* The bytes follow the struct. */
typedef struct chunk {
  uv_write_t req;
  size_t len;
} chunk;

static peri_pool *pool_of(peri_loop *l) {
  return &peri_io_of(l)->pool;
}

/* The next writer has its turn if there is room for it and nobody else has
** a turn that he did not use yet. */
static void grant(peri_loop *l, peri_transport *c) {
  if (c->granted || peri_write_unsent(c) > PERI_WRITE_HIGH) return;
  if (peri_waitlist_wake(l, &c->writers)) c->granted = 1;
}

static void wake_all(peri_loop *l, peri_transport *c) {
  peri_waitlist_wake_all(l, &c->writers);
  peri_waitlist_wake_all(l, &c->flushers);
}

/* Nothing can be sent any more: everybody is told, now or next time. */
void peri_write_fail(peri_loop *l, peri_transport *c, int status) {
  if (c->write_error) return;
  c->write_error = status;
  peri_write_drop(l, c);
  wake_all(l, c);
  if (c->protocol) peri_protocol_ready(l, c);
  peri_transport_drained(l, c);
}

#if PERI_BY_UV

static ssize_t try_send(peri_transport *c, uv_buf_t *b, unsigned n) {
  if (c->medium) return c->medium->type->send(c, b, n);
  return uv_try_write(&c->uv.stream, b, n);
}

static void on_shutdown(uv_shutdown_t *req, int status) {
  peri_loop *l = peri_handle_of((uv_handle_t *)req->handle)->loop;
  (void)status;
  peri_free(l, req, sizeof *req);
}

static int shut_down(peri_loop *l, peri_transport *c) {
  if (c->medium) return c->medium->type->shut(c);
  uv_shutdown_t *req = peri_alloc(l, sizeof *req);
  if (!req) return UV_ENOMEM;
  int status = uv_shutdown(req, &c->uv.stream, on_shutdown);
  if (status) peri_free(l, req, sizeof *req);
  return status;
}

#else

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

/* Sends without waiting: bytes, or a uv status. By hand, as it spares the
** signal that a peer which has gone would cause. */
static ssize_t try_send(peri_transport *c, uv_buf_t *b, unsigned n) {
  if (c->medium) return c->medium->type->send(c, b, n);
  struct msghdr m = {.msg_iov = (struct iovec *)b, .msg_iovlen = n};
  ssize_t sent;
  do
    sent = n == 1 ? send(c->fd, b->base, b->len, MSG_NOSIGNAL)
                  : sendmsg(c->fd, &m, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  if (sent >= 0) return sent;
  return errno == EWOULDBLOCK || errno == ENOBUFS ? UV_EAGAIN : -errno;
}

/* By hand, as uv would do so only in a later poll. */
static int shut_down(peri_loop *l, peri_transport *c) {
  (void)l;
  if (c->medium) return c->medium->type->shut(c);
  return shutdown(c->fd, SHUT_WR) ? -errno : 0;
}

#endif

/* Ends our side if that was asked for and all is sent. */
static void end_side(peri_loop *l, peri_transport *c) {
  if (c->shut != 1 || peri_write_unsent(c) || c->closed) return;
  c->shut = 2;
  int status = shut_down(l, c);
  if (status) peri_write_fail(l, c, status);
}

/* Bytes were sent. */
static void progress(peri_loop *l, peri_transport *c) {
  grant(l, c);
  peri_waitlist_wake_all(l, &c->flushers); /* each looks for itself */
  if (c->choked && peri_write_unsent(c) <= PERI_WRITE_LOW)
    peri_protocol_ready(l, c);
  if (c->handed != c->sent) return;
  end_side(l, c);
  peri_transport_drained(l, c);
}

void peri_write_sent(peri_loop *l, peri_transport *c, size_t n) {
  c->sent += n;
  progress(l, c);
}

/* Also called, with UV_ECANCELED, for what is left when it is closed. */
static void on_wrote(uv_write_t *req, int status) {
  chunk *k = PERI_OF(req, chunk, req);
  peri_transport *c =
    PERI_OF(peri_handle_of((uv_handle_t *)req->handle), peri_transport, h);
  peri_loop *l = c->h.loop;
  c->sent += k->len;
  peri_free(l, k, sizeof *k + k->len);
  if (c->finished) return;
  if (status)
    peri_write_fail(l, c, status);
  else
    progress(l, c);
}

/* Queues what follows the first `skip` bytes of the two pieces. */
static int queue(peri_loop *l, peri_transport *c, const uv_buf_t b[2],
                 size_t skip) {
  size_t first = skip < b[0].len ? b[0].len - skip : 0;
  size_t second = b[0].len + b[1].len - skip - first;
  chunk *k = peri_alloc(l, sizeof *k + first + second);
  if (!k) return UV_ENOMEM;
  char *to = (char *)(k + 1);
  uv_buf_t all = {.base = to, .len = first + second};
  if (first) memcpy(to, b[0].base + b[0].len - first, first);
  if (second) memcpy(to + first, b[1].base + b[1].len - second, second);
  k->len = first + second;
  int status = c->medium
                 ? c->medium->type->queue(c, all.base, all.len)
                 : uv_write(&k->req, &c->uv.stream, &all, 1, on_wrote);
  if (!status) c->handed += k->len;
  if (status || c->medium) peri_free(l, k, sizeof *k + k->len);
  return status;
}

/* Sends what was gathered, and then the `n` bytes at `s`. */
static void send_all(peri_loop *l, peri_transport *c, const char *s,
                     size_t n) {
  uv_buf_t b[2] = {{c->out, c->outlen}, {(char *)(uintptr_t)s, n}};
  unsigned first = !c->outlen, count = n ? 2 - first : 1;
  ssize_t did = 0;
  int status = 0;
  c->asked = 1;
  if (c->handed == c->sent) did = try_send(c, b + first, count);
  if (did < 0) {
    status = did == UV_EAGAIN ? 0 : (int)did;
    did = 0;
  }
  if (!status && (size_t)did < c->outlen + n)
    status = queue(l, c, b, (size_t)did);
  peri_write_drop(l, c);
  if (status) peri_write_fail(l, c, status);
  if (c->protocol && !c->choked && peri_write_unsent(c) > PERI_WRITE_HIGH)
    peri_protocol_ready(l, c);
}

void peri_write_flush(peri_loop *l, peri_transport *c) {
  if (!c->outlen || c->write_error) return;
  send_all(l, c, NULL, 0);
  end_side(l, c);
}

static void on_leave(peri_loop *l, peri_leaving *v) {
  peri_write_flush(l, PERI_OF(v, peri_transport, leaving));
}

/* }===================================================================== */

/* {== Gathering ======================================================== */

void peri_write_init(peri_transport *c) {
  peri_link_init(&c->leaving.link);
  c->leaving.leave = on_leave;
  c->outmax = PERI_BLOCK_SIZE;
}

void peri_write_drop(peri_loop *l, peri_transport *c) {
  if (c->out) peri_pool_give(l, pool_of(l), c->out);
  c->out = NULL;
  c->outlen = 0;
}

void peri_write_close(peri_loop *l, peri_transport *c) {
  wake_all(l, c);
  peri_link_out(&c->leaving.link);
}

/* A block to gather in: 0, or -1. */
static int take_block(peri_loop *l, peri_transport *c) {
  if (!c->out) c->out = peri_pool_block(l, pool_of(l));
  return c->out ? 0 : -1;
}

/* Takes one piece. */
static void put(peri_loop *l, peri_transport *c, const char *s, size_t n) {
  size_t most = c->outmax ? c->outmax : PERI_BLOCK_SIZE;
  if (n >= BIG || n >= most) {
    send_all(l, c, s, n);
    return;
  }
  if (c->outlen + n > most) send_all(l, c, NULL, 0);
  if (c->write_error) return;
  if (take_block(l, c)) {
    peri_write_fail(l, c, UV_ENOMEM);
    return;
  }
  memcpy(c->out + c->outlen, s, n);
  c->outlen += (uint32_t)n;
}

/* Takes the strings from 2 on. Does not raise. In the main chunk no
** activation ends: there all is sent at once, without the signal that a
** peer which has gone would cause. */
static void take(lua_State *L, peri_loop *l, peri_transport *c) {
  int last = lua_gettop(L), in_main = !l->running && !l->callback;
  if (in_main) l->poller->drive(l, 1);
  for (int i = 2; i <= last && !c->write_error; i++) {
    size_t n;
    const char *s = lua_tolstring(L, i, &n);
    if (n) put(l, c, s, n);
  }
  if (c->outlen && !in_main && c->outlen < c->outmax)
    peri_loop_leave(l, &c->leaving);
  else
    peri_write_flush(l, c);
  if (in_main) l->poller->drive(l, 0);
}

/* }===================================================================== */

/* {== Waiting ========================================================== */

/* Why nothing can be written: 0, or a status. */
static int refusal(const peri_transport *c) {
  if (!c) return PERI_ECLOSED;
  if (c->write_error) return c->write_error;
  return c->shut ? UV_EPIPE : 0;
}

static int self(lua_State *L) {
  lua_settop(L, 1);
  return 1;
}

static int write_abort(peri_loop *l, peri_task *t, int why) {
  peri_transport *c = t->on;
  (void)l;
  (void)why;
  peri_waitlist_remove(&c->writers, &t->run);
  return 1;
}

/* The turn it got is the next one's. */
static void write_drop(peri_loop *l, peri_task *t) {
  peri_transport *c = peri_box_at(peri_task_waits_in(t), 1);
  if (!c) return;
  c->granted = 0;
  grant(l, c);
}

static int flush_abort(peri_loop *l, peri_task *t, int why) {
  peri_transport *c = t->on;
  (void)l;
  (void)why;
  peri_waitlist_remove(&c->flushers, &t->run);
  return 1;
}

/* Must one queue up behind others, or for room? */
static int must_wait(const peri_transport *c) {
  return c->granted || !peri_waitlist_empty(&c->writers) ||
         peri_write_unsent(c) > PERI_WRITE_HIGH;
}

/* The same, after having sent what can be. */
static int still_must_wait(peri_loop *l, peri_transport *c) {
  if (refusal(c) || !must_wait(c)) return 0;
  peri_write_flush(l, c);
  return !refusal(c) && must_wait(c);
}

static int wait_turn(lua_State *L, peri_loop *l, peri_transport *c,
                     peri_task *t, const peri_wait *w) {
  peri_waitlist_add(&c->writers, &t->run);
  return peri_task_park(L, l, w, c, 0);
}

/* }===================================================================== */

/* {== write ============================================================ */

static int write_now(lua_State *L, peri_loop *l, peri_transport *c) {
  int status = refusal(c);
  if (!status) {
    if (c->medium && c->medium->type->before) c->medium->type->before(c);
    take(L, l, c);
    status = c->write_error;
  }
  return status ? peri_transport_fail(L, c, status, "write") : self(L);
}

static int wait_sent(lua_State *L, peri_loop *l, peri_transport *c);

/* After a write with `n` results. In the main chunk there may be no later: what
** outlives it is sent now. */
static int write_rest(lua_State *L, peri_loop *l, peri_transport *c, int n) {
  if (n > 1 || !c->standing || l->running || l->callback) return n;
  return wait_sent(L, l, c);
}

static int write_k(lua_State *L, int status, lua_KContext ctx) {
  peri_transport *c = peri_box_at(L, 1);
  peri_loop *l = peri_loop_of(L, c);
  (void)status;
  (void)ctx;
  if (c) c->granted = 0;
  int n = write_now(L, l, c);
  if (c) grant(l, c); /* before it waits, and may be closed */
  return write_rest(L, l, c, n);
}

static const peri_wait writing = {"write", write_abort, write_k, write_drop};

/*
** conn:write(...) -> conn, or nil, message, code. Writes strings and
** numbers. Waits until no more than 64 KiB are unsent and earlier writers
** had their turn, then takes the whole; cancelled before that, nothing was
** sent. An error that comes later is returned by the next call. In callbacks
** it never waits.
*/
static int conn_write(lua_State *L) {
  peri_transport_check(L);
  for (int i = lua_gettop(L); i > 1; i--)
    if (lua_type(L, i) != LUA_TSTRING) luaL_checkstring(L, i);
  peri_transport *c = peri_box_at(L, 1); /* a finalizer may have closed it */
  peri_loop *l = peri_loop_of(L, c);
  if (l->callback) return write_now(L, l, c);
  peri_task *t = peri_wait_enter(L, l);
  if (still_must_wait(l, c)) return wait_turn(L, l, c, t, &writing);
  int n = write_now(L, l, c);
  return peri_transport_done(L, l, write_rest(L, l, c, n));
}

/* }===================================================================== */

/* {== flush, shutdown ================================================== */

static int flush_k(lua_State *L, int status, lua_KContext target);
static int shut_k(lua_State *L, int status, lua_KContext target);

static const peri_wait flushing = {"flush", flush_abort, flush_k};
static const peri_wait draining = {"shutdown", flush_abort, shut_k};

/* Waits until `target` bytes are sent, counted modulo. */
static int sent_to(lua_State *L, peri_loop *l, peri_transport *c,
                   lua_KContext target, const peri_wait *w) {
  int status = c ? c->write_error : PERI_ECLOSED;
  if (status) return peri_transport_fail(L, c, status, w->name);
  if ((lua_KContext)(c->sent - (size_t)target) >= 0) return self(L);
  peri_task *t = peri_wait_enter(L, l); /* it may be cancelled by now */
  peri_waitlist_add(&c->flushers, &t->run);
  return peri_task_park(L, l, w, c, target);
}

static int flush_k(lua_State *L, int status, lua_KContext target) {
  (void)status;
  return sent_to(L, PERI_LOOP(L), peri_box_at(L, 1), target, &flushing);
}

static int shut_k(lua_State *L, int status, lua_KContext target) {
  (void)status;
  return sent_to(L, PERI_LOOP(L), peri_box_at(L, 1), target, &draining);
}

static lua_KContext all_of(const peri_transport *c) {
  return c ? (lua_KContext)c->handed : 0;
}

static int wait_sent(lua_State *L, peri_loop *l, peri_transport *c) {
  return sent_to(L, l, c, all_of(c), &flushing);
}

/* conn:flush() -> conn once the kernel has all that was written; or nil,
** message, code. Waits. */
static int conn_flush(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_transport *c = peri_transport_check(L);
  peri_wait_enter(L, l);
  if (c) peri_write_flush(l, c);
  return peri_task_done(L, l, wait_sent(L, l, c));
}

/* Nothing is written from now on; what was goes out first. */
static void shut(peri_loop *l, peri_transport *c) {
  if (c->shut) return;
  c->shut = 1;
  if (c->outlen)
    peri_write_flush(l, c);
  else
    end_side(l, c);
}

static int shutdown_k(lua_State *L, int status, lua_KContext ctx) {
  peri_loop *l = PERI_LOOP(L);
  peri_transport *c = peri_box_at(L, 1);
  (void)status;
  (void)ctx;
  if (c) {
    c->granted = 0;
    shut(l, c);
    grant(l, c); /* those behind learn that it is over */
  }
  return sent_to(L, l, c, all_of(c), &draining);
}

static const peri_wait shutting = {"shutdown", write_abort, shutdown_k,
                                   write_drop};

/*
** conn:shutdown() -> conn, or nil, message, code. Ends our side of the
** stream behind what was written; the peer reads the end, and can still be
** read from. Waits until all is sent; in callbacks it never does.
*/
static int conn_shutdown(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_transport *c = peri_transport_check(L);
  peri_task *t = l->callback ? NULL : peri_wait_enter(L, l);
  if (t && still_must_wait(l, c)) return wait_turn(L, l, c, t, &shutting);
  if (c) shut(l, c);
  if (!t && c && !c->write_error) return self(L);
  return peri_task_done(L, l, sent_to(L, l, c, all_of(c), &draining));
}

/* }===================================================================== */

/*
** conn:setvbuf(mode [, size]) -> conn. "full", the default: what a task or
** callback writes leaves when it waits or ends, or when `size` bytes (64
** KiB, which is also the most) are gathered. "no": each write leaves at
** once. Never waits.
*/
static int conn_setvbuf(lua_State *L) {
  static const char *const modes[] = {"no", "full", NULL};
  peri_transport *c = peri_transport_check(L);
  int full = luaL_checkoption(L, 2, NULL, modes);
  lua_Integer size = luaL_optinteger(L, 3, PERI_BLOCK_SIZE);
  luaL_argcheck(L, size > 0, 3, "more than 0 bytes expected");
  if (!c) return peri_transport_fail(L, c, PERI_ECLOSED, "setvbuf");
  if (size > PERI_BLOCK_SIZE) size = PERI_BLOCK_SIZE;
  c->outmax = full ? (uint32_t)size : 0;
  peri_write_flush(PERI_LOOP(L), c);
  return self(L);
}

const luaL_Reg peri_write_methods[] = {
  {"write", conn_write}, {"flush", conn_flush},
  {"shutdown", conn_shutdown}, {"setvbuf", conn_setvbuf}, {NULL, NULL}};
