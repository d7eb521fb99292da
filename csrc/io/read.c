/*
** read.c - the reading side of transports.
**
** uv side: on_alloc, on_readable. Takes no bytes: an alloc callback that
** offers no room makes libuv report UV_ENOBUFS and leave the watch on. The
** continuation reads the descriptor itself, in the task.
** Lua side: read, lines, read_some, read_exactly, read_until, peek.
**
** A read looks for what it wants among the bytes read ahead (`in`), and takes
** them all at once when it is complete (framing.h): one that is cancelled has
** consumed nothing.
**
** SPDX-License-Identifier: MIT
*/
#include "transport.h"

#include <errno.h>
#include <lauxlib.h>
#include <string.h>

#include "sched/error.h"

#if !PERI_BY_UV
#include <sys/socket.h>
#include <sys/uio.h>
#endif

/* {== From the kernel ================================================== */

static void stop(peri_transport *c) {
  int was = c->watching;
  c->watching = 0;
  if (was && c->medium)
    c->medium->type->unwatch(c);
  else if (was)
    uv_read_stop(&c->uv.stream);
}

static int wake_reader(peri_loop *l, peri_transport *c) {
  peri_task *t = c->reader;
  if (!t) return 0;
  c->reader = NULL;
  peri_task_wake(l, t);
  return 1;
}

/* There is something to read: whoever reads is told. With nobody reading
** the watch is stopped, or libuv would tell again and again. */
void peri_read_tell(peri_transport *c) {
  peri_loop *l = c->h.loop;
  c->readable = 1;
  if (wake_reader(l, c)) return;
  if (c->protocol && !c->paused)
    peri_protocol_ready(l, c);
  else
    stop(c);
}

static peri_transport *transport_of(const void *uv) {
  return PERI_OF(peri_handle_of(uv), peri_transport, h);
}

/* Nothing follows: libuv would report the same for ever. */
static void ended(peri_transport *c, int status) {
  if (status == UV_EOF)
    c->eof = 1;
  else
    c->read_error = status;
  stop(c);
}

#if PERI_BY_UV

/* Bytes arrive when libuv wants, and are appended to those read ahead. */

static void on_alloc(uv_handle_t *uv, size_t hint, uv_buf_t *b) {
  peri_loop *l = transport_of(uv)->h.loop;
  (void)hint;
  char *block = peri_pool_block(l, &peri_io_of(l)->pool);
  *b = uv_buf_init(block, block ? PERI_BLOCK_SIZE : 0);
}

static void on_read(uv_stream_t *uv, ssize_t n, const uv_buf_t *b) {
  peri_transport *c = transport_of(uv);
  peri_loop *l = c->h.loop;
  peri_pool *pool = &peri_io_of(l)->pool;
  if (n > 0 && peri_buf_add(l, pool, &c->in, b->base, (size_t)n))
    n = UV_ENOMEM;
  if (b->base) peri_pool_give(l, pool, b->base);
  if (n < 0) ended(c, (int)n);
  if (n) peri_read_tell(c);
}

static int fill_from_medium(peri_loop *l, peri_transport *c) {
  peri_pool *pool = &peri_io_of(l)->pool;
  peri_room room = {peri_pool_block(l, pool), PERI_BLOCK_SIZE};
  if (!room.at) return UV_ENOMEM;
  ssize_t n = c->medium->type->recv(c, &room, 1);
  if (n > 0 && peri_buf_add(l, pool, &c->in, room.at, (size_t)n))
    n = UV_ENOMEM;
  peri_pool_give(l, pool, room.at);
  return n > 0 ? 0 : n ? (int)n : UV_EOF;
}

int peri_read_fill(peri_loop *l, peri_transport *c, size_t want) {
  (void)want;
  if (!c->readable) return UV_EAGAIN;
  c->readable = 0;
  int status = c->medium ? fill_from_medium(l, c) : 0;
  if (status == UV_EAGAIN) return status;
  if (status) ended(c, status);
  return 0;
}

#else

static void on_alloc(uv_handle_t *uv, size_t hint, uv_buf_t *b) {
  (void)uv;
  (void)hint;
  *b = uv_buf_init(NULL, 0);
}

/* Always UV_ENOBUFS: see on_alloc. */
static void on_read(uv_stream_t *uv, ssize_t n, const uv_buf_t *b) {
  (void)b;
  if (n) peri_read_tell(transport_of(uv));
}

/* Reads into one place or two, uninterrupted: bytes, or a uv status. */
static ssize_t read_into(peri_transport *c, peri_room *room, int rooms) {
  struct iovec v[2] = {{room[0].at, room[0].size},
                       {room[1].at, room[1].size}};
  ssize_t n;
  if (c->medium) return c->medium->type->recv(c, room, rooms);
  do
    n = rooms == 1 ? recv(c->fd, room[0].at, room[0].size, 0)
                   : readv(c->fd, v, 2);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : n;
}

static int fill_failed(peri_transport *c, int status) {
  if (status == UV_EAGAIN || status == -EWOULDBLOCK) {
    c->readable = 0;
    return UV_EAGAIN;
  }
  ended(c, status);
  return 0;
}

/* A short read has drained the socket: the next one waits without trying.
** The watch, being level-triggered, tells of what comes after. */
int peri_read_fill(peri_loop *l, peri_transport *c, size_t want) {
  peri_pool *pool = &peri_io_of(l)->pool;
  peri_room room[2] = {{0}};
  if (!c->readable) return UV_EAGAIN;
  c->asked = 1;
  int rooms = peri_buf_room(l, pool, &c->in, want, room);
  if (!rooms) return fill_failed(c, UV_ENOMEM);
  ssize_t n = read_into(c, room, rooms);
  if (n < 0) return fill_failed(c, (int)n);
  if (!n) return fill_failed(c, UV_EOF);
  if ((size_t)n < room[0].size + room[1].size) c->readable = 0;
  if (peri_buf_filled(l, pool, &c->in, room, (size_t)n))
    return fill_failed(c, UV_ENOMEM);
  return 0;
}

#endif

int peri_read_watch(peri_transport *c) {
  if (c->watching) return 0;
  c->watching = 1;
  int status = c->medium ? c->medium->type->watch(c)
                         : uv_read_start(&c->uv.stream, on_alloc, on_read);
  c->watching = !status;
  return status;
}

/* Bytes of which a read makes strings just now stay until that has ended, or
** until the transport is freed. */
void peri_read_close(peri_loop *l, peri_transport *c) {
  stop(c);
  wake_reader(l, c);
  if (!c->taking) peri_buf_clear(l, &peri_io_of(l)->pool, &c->in);
}

/* }===================================================================== */

/* {== Reading ========================================================== */

static int read_k(lua_State *L, int status, lua_KContext ctx);

static int read_abort(peri_loop *l, peri_task *t, int why) {
  peri_transport *c = t->on;
  (void)l;
  (void)why;
  c->reader = NULL;
  c->reading = 0;
  if (c->medium) stop(c); /* which would keep the loop alive */
  return 1;
}

/* It has taken nothing yet: the next one may read. */
static void read_drop(peri_loop *l, peri_task *t) {
  peri_transport *c = peri_box_at(peri_task_waits_in(t), 1);
  (void)l;
  if (c) c->reading = 0;
}

static const peri_wait waiting = {"read", read_abort, read_k, read_drop};

static int failed(lua_State *L, const peri_transport *c, int status,
                  const peri_reading *r) {
  const char *name = peri_reading_name(r);
  if (r->kind != PERI_READ_LINES)
    return peri_transport_fail(L, c, status, name);
  return peri_status_raise(L, status, "%s",
                           peri_transport_what(L, c, name));
}

/* What was taken is consumed. */
static int commit(peri_transport *c, int n) {
  peri_loop *l = c->h.loop;
  if (c->marks.cursor && !c->closed)
    peri_buf_take(l, &peri_io_of(l)->pool, &c->in, c->marks.cursor);
  c->marks.cursor = 0;
  return n;
}

/* Takes what there is: returns how many results to return, or 0 if more
** bytes are needed; `w` says what for. A finalizer may close the transport
** while strings are made. */
static int attempt(lua_State *L, peri_transport *c, peri_reading *r,
                   peri_want *w) {
  c->taking = 1;
  int n = peri_framing_take(L, r, w, peri_buf_bytes(&c->in), c->in.len,
                            &c->marks, c->eof && !c->read_error);
  c->taking = 0;
  if (c->closed) peri_read_close(c->h.loop, c);
  if (n > 0) return commit(c, n);
  if (!n && c->closed) return failed(L, NULL, PERI_ECLOSED, r);
  if (n == PERI_TAKE_LIMIT) return failed(L, c, PERI_ELIMIT, r);
  if (n == PERI_TAKE_MORE)
    return c->read_error ? failed(L, c, c->read_error, r) : 0;
  int rest = lua_gettop(L);
  failed(L, c, UV_EOF, r);
  lua_pushvalue(L, rest);
  return commit(c, 4);
}

/* A task that was woken may be cancelled by now: then `t` is NULL. */
static int wait(lua_State *L, peri_loop *l, peri_transport *c, peri_task *t,
                const peri_reading *r) {
  if (!t) t = peri_wait_enter(L, l);
  int status = peri_read_watch(c);
  if (status) return failed(L, c, status, r);
  c->reader = t;
  c->reading = 1;
  return peri_task_park(L, l, &waiting, c, peri_reading_pack(r));
}

/* With nothing there it is no use to look, but for reads of 0 bytes. */
static int is_empty(const peri_transport *c, const peri_reading *r) {
  return !c->in.len && !c->in.lost && !c->eof && !c->read_error &&
         r->kind != PERI_READ_EXACTLY && r->kind != PERI_READ_PEEK;
}

/* Stack: conn, arguments, results so far. `t` has just entered the wait, or
** is NULL. */
static int go(lua_State *L, peri_transport *c, peri_task *t, peri_reading r,
              peri_want w) {
  peri_loop *l = peri_loop_of(L, c);
  if (!c) return failed(L, c, PERI_ECLOSED, &r);
  c->reading = 0;
  if (is_empty(c, &r) && peri_read_fill(l, c, 0))
    return wait(L, l, c, t, &r);
  for (;;) {
    if (c->in.lost) ended(c, UV_ENOMEM);
    int n = attempt(L, c, &r, &w);
    if (n) return n;
    size_t all = peri_want_needs(&w);
    if (all) all += c->marks.cursor;
    if (peri_read_fill(l, c, all)) return wait(L, l, c, t, &r);
  }
}

static int read_k(lua_State *L, int status, lua_KContext ctx) {
  peri_want none = {0};
  (void)status;
  return go(L, peri_box_at(L, 1), NULL, peri_reading_unpack(ctx), none);
}

/* Begins to read; `w` is what is wanted first. Looking at the arguments may
** have closed the transport. */
static int begin(lua_State *L, peri_reading r, const peri_want *w) {
  peri_transport *c = peri_box_at(L, 1);
  peri_loop *l = peri_loop_of(L, c);
  if (c && c->reading)
    return peri_error_raise(L, "EBUSY",
                            "another task is reading from this transport");
  if (c && c->protocol)
    return peri_error_raise(L, "EBUSY",
                            "a protocol reads from this transport; "
                            "conn:protocol(nil) gives reading back");
  peri_task *t = peri_wait_enter(L, l);
  if (c) c->marks = (peri_marks){0, 0};
  return peri_transport_done(L, l, go(L, c, t, r, *w));
}

/* }===================================================================== */

/* {== Lua side ========================================================= */

/*
** conn:read(format...) -> a value for each. "l" (the default) a line without
** its end, "L" with it, "a" everything up to the end, a number that many
** bytes, fewer only at the end. nil at the end ("" for "a"), and no values
** after that. Or nil, message, code; "ELIMIT" for a line of over 64 KiB. A
** read that fails or is cancelled consumes nothing. Waits.
*/
static int conn_read(lua_State *L) {
  peri_want w;
  peri_transport_check(L);
  peri_reading r = peri_framing_read(L, &w);
  return begin(L, r, &w);
}

/* conn:read_some([max]) -> what is there, at least a byte, at most `max`
** bytes; nil at the end; or nil, message, code. Waits. */
static int conn_read_some(lua_State *L) {
  peri_want w;
  peri_transport_check(L);
  peri_reading r = peri_framing_some(L, &w);
  return begin(L, r, &w);
}

/* conn:read_exactly(n) -> n bytes; or nil, message, "EOF", the fewer bytes
** that came before the end; or nil, message, code. Waits. */
static int conn_read_exactly(lua_State *L) {
  peri_want w;
  peri_transport_check(L);
  peri_reading r = peri_framing_exactly(L, &w);
  return begin(L, r, &w);
}

/* conn:peek(n) -> the next n bytes, fewer only at the end, nil if there are
** none; or nil, message, code. Consumes nothing. Waits. */
static int conn_peek(lua_State *L) {
  peri_want w;
  peri_transport_check(L);
  peri_reading r = peri_framing_peek(L, &w);
  return begin(L, r, &w);
}

/*
** conn:read_until(delimiter [, {limit = 65536, keep = false}]) -> the bytes
** before the delimiter, which is taken as well and is part of the result
** with `keep`. `limit` counts up to the delimiter's end; beyond it: nil,
** message, "ELIMIT". At the end nil, or nil, message, "EOF", the bytes that
** were left. Waits.
*/
static int conn_read_until(lua_State *L) {
  peri_want w;
  peri_transport_check(L);
  peri_reading r = peri_framing_until(L, &w);
  return begin(L, r, &w);
}

static int next_line(lua_State *L) {
  peri_want w;
  peri_reading r = peri_framing_next(L, &w);
  return begin(L, r, &w);
}

/* conn:lines([format = "l"]) -> an iterator that reads with this format
** until the end, and raises where read would fail. The iterator waits. */
static int conn_lines(lua_State *L) {
  peri_transport_check(L);
  return peri_framing_lines(L, next_line);
}

const luaL_Reg peri_read_methods[] = {
  {"read", conn_read}, {"lines", conn_lines}, {"read_some", conn_read_some},
  {"read_exactly", conn_read_exactly}, {"read_until", conn_read_until},
  {"peek", conn_peek}, {NULL, NULL}};

/* }===================================================================== */
