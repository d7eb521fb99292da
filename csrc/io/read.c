/*
** read.c - the reading side of transports.
**
** uv side: on_alloc, on_readable. Takes no bytes: an alloc callback that
** offers no room makes libuv report UV_ENOBUFS and leave the watch on. The
** continuation reads the descriptor itself, in the task.
** Lua side: read, lines, read_some, read_exactly, read_until, peek.
**
** A read looks for what it wants among the bytes read ahead (`in`), from
** `cursor` on, and takes them all at once when it is complete: one that is
** cancelled has consumed nothing.
**
** SPDX-License-Identifier: MIT
*/
#include "memory.h"
#include "transport.h"
#include "want.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdint.h>
#include <string.h>

#include "sched/error.h"

#if !PERI_BY_UV
#include <sys/socket.h>
#include <sys/uio.h>
#endif

/* {== From the kernel ================================================== */

static void stop(peri_transport *c) {
  if (c->watching && !c->memory) uv_read_stop(&c->uv.stream);
  c->watching = 0;
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

static int fill_from_memory(peri_loop *l, peri_transport *c) {
  peri_pool *pool = &peri_io_of(l)->pool;
  peri_room room = {peri_pool_block(l, pool), PERI_BLOCK_SIZE};
  if (!room.at) return UV_ENOMEM;
  ssize_t n = peri_memory_recv(c, &room, 1);
  if (n > 0 && peri_buf_add(l, pool, &c->in, room.at, (size_t)n))
    n = UV_ENOMEM;
  peri_pool_give(l, pool, room.at);
  return n > 0 ? 0 : n ? (int)n : UV_EOF;
}

int peri_read_fill(peri_loop *l, peri_transport *c, size_t want) {
  (void)want;
  if (!c->readable) return UV_EAGAIN;
  c->readable = 0;
  int status = c->memory ? fill_from_memory(l, c) : 0;
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
  if (c->memory) return peri_memory_recv(c, room, rooms);
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
  if (c->memory) {
    c->watching = 1;
    peri_memory_watch(c);
    return 0;
  }
  int status = uv_read_start(&c->uv.stream, on_alloc, on_read);
  c->watching = !status;
  return status;
}

void peri_read_close(peri_loop *l, peri_transport *c) {
  stop(c);
  wake_reader(l, c);
  peri_buf_clear(l, &peri_io_of(l)->pool, &c->in);
}

/* }===================================================================== */

/* {== Arguments ======================================================== */

/* Which method reads; it and the next format travel in the context of the
** continuation. */
enum { FORMATS, LINES, READ_SOME, READ_EXACTLY, READ_UNTIL, READ_PEEK };

typedef struct reading {
  int kind;
  int next, count; /* formats: that comes next, and in all */
  int parsed;      /* what is wanted next is known already */
} reading;

#define FORMATS_MAX 200

static lua_KContext pack(const reading *r) {
  return r->kind | r->next << 4 | r->count << 16;
}

static reading unpack(lua_KContext ctx) {
  reading r = {(int)ctx & 15, (int)ctx >> 4 & 4095, (int)ctx >> 16, 0};
  return r;
}

static const char *const names[] = {"read",         "read",       "read_some",
                                    "read_exactly", "read_until", "peek"};

static size_t check_size(lua_State *L, int idx) {
  lua_Integer n = luaL_checkinteger(L, idx);
  luaL_argcheck(L, n >= 0, idx, "number of bytes expected");
  return (size_t)n;
}

static void want_line(peri_want *w, int keep) {
  w->what = PERI_WANT_LINE;
  w->keep = keep;
  w->delim = "\n";
  w->delim_len = 1;
  w->n = PERI_LINE_LIMIT;
}

/* The format at `idx`, as io's: "l", "L", "a" (also with a "*"), a number
** of bytes. Raises "bad argument". */
static void want_format(lua_State *L, int idx, peri_want *w) {
  if (lua_type(L, idx) == LUA_TNUMBER) {
    w->what = PERI_WANT_COUNT;
    w->n = check_size(L, idx);
    return;
  }
  const char *f = luaL_checkstring(L, idx);
  if (*f == '*') f++;
  switch (*f) {
    case 'l': want_line(w, 0); break;
    case 'L': want_line(w, 1); break;
    case 'a': w->what = PERI_WANT_ALL; break;
    default: luaL_argerror(L, idx, "invalid format");
  }
}

/* The stack of read_until: conn, delimiter, limit, keep. */
static void want_until(lua_State *L, peri_want *w) {
  w->what = PERI_WANT_UNTIL;
  w->delim = lua_tolstring(L, 2, &w->delim_len);
  w->n = (size_t)lua_tointeger(L, 3);
  w->keep = lua_toboolean(L, 4);
}

static void want_bytes(lua_State *L, peri_want *w, int what) {
  w->what = what;
  w->n = lua_isnoneornil(L, 2) ? SIZE_MAX : (size_t)lua_tointeger(L, 2);
}

static void parse(lua_State *L, const reading *r, peri_want *w) {
  switch (r->kind) {
    case FORMATS: case LINES: want_format(L, 2 + r->next, w); break;
    case READ_SOME: want_bytes(L, w, PERI_WANT_SOME); break;
    case READ_EXACTLY: want_bytes(L, w, PERI_WANT_EXACT); break;
    case READ_PEEK: want_bytes(L, w, PERI_WANT_PEEK); break;
    default: want_until(L, w);
  }
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
                  const reading *r) {
  const char *name = names[r->kind];
  if (r->kind != LINES) return peri_transport_fail(L, c, status, name);
  return peri_status_raise(L, status, "%s",
                           peri_transport_what(L, c, name));
}

/* Pushes the next result and moves the cursor behind it. */
static void push_found(lua_State *L, peri_transport *c, const char *p,
                       const peri_found *f) {
  lua_pushlstring(L, p, f->give);
  c->cursor += f->take;
  c->scanned = 0;
}

static int commit(peri_transport *c, int n) {
  peri_loop *l = c->h.loop;
  if (c->cursor)
    peri_buf_take(l, &peri_io_of(l)->pool, &c->in, c->cursor);
  c->cursor = 0;
  return n;
}

/* The stream ended with `n` bytes where more are wanted. Returns how many
** values were pushed; nil is the last one there is. */
static int at_end(lua_State *L, peri_transport *c, const reading *r,
                  const peri_want *w, size_t n) {
  const char *p = n ? peri_buf_bytes(&c->in) + c->cursor : "";
  int partial =
    w->what == PERI_WANT_EXACT || (w->what == PERI_WANT_UNTIL && n);
  if (!partial && !n && (w->what != PERI_WANT_ALL || r->kind == LINES)) {
    lua_pushnil(L);
    return 1;
  }
  if (partial) failed(L, c, UV_EOF, r);
  peri_found f = {w->what == PERI_WANT_PEEK ? 0 : n, n};
  push_found(L, c, p, &f);
  return partial ? 4 : 1;
}

/* Takes what there is: returns how many results to return, or 0 if more
** bytes are needed; `w` says what for. */
static int attempt(lua_State *L, peri_transport *c, reading *r,
                   peri_want *w) {
  for (; r->next < r->count; r->next++) {
    peri_found f = {0, 0};
    if (!r->parsed) parse(L, r, w);
    r->parsed = 0;
    size_t n = c->in.len - c->cursor;
    const char *p = n ? peri_buf_bytes(&c->in) + c->cursor : "";
    int what = peri_want_match(w, p, n, &c->scanned, &f);
    if (what == PERI_LIMIT) return failed(L, c, PERI_ELIMIT, r);
    if (what == PERI_MORE) {
      if (c->read_error) return failed(L, c, c->read_error, r);
      if (!c->eof) return 0;
      int pushed = at_end(L, c, r, w, n);
      if (pushed > 1) return commit(c, pushed);
      if (lua_isnil(L, -1)) return commit(c, r->next + 1);
      continue;
    }
    push_found(L, c, p, &f);
  }
  return commit(c, r->count);
}

/* A task that was woken may be cancelled by now: then `t` is NULL. */
static int wait(lua_State *L, peri_loop *l, peri_transport *c, peri_task *t,
                const reading *r) {
  if (!t) t = peri_wait_enter(L, l);
  int status = peri_read_watch(c);
  if (status) return failed(L, c, status, r);
  c->reader = t;
  c->reading = 1;
  return peri_task_park(L, l, &waiting, c, pack(r));
}

/* With nothing there it is no use to look, but for reads of 0 bytes. */
static int is_empty(const peri_transport *c, const reading *r) {
  return !c->in.len && !c->in.lost && !c->eof && !c->read_error &&
         r->kind != READ_EXACTLY && r->kind != READ_PEEK;
}

/* Stack: conn, arguments, results so far. `t` has just entered the wait, or
** is NULL. */
static int go(lua_State *L, peri_transport *c, peri_task *t, reading r,
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
    if (all) all += c->cursor;
    if (peri_read_fill(l, c, all)) return wait(L, l, c, t, &r);
  }
}

static int read_k(lua_State *L, int status, lua_KContext ctx) {
  peri_want none = {0};
  (void)status;
  return go(L, peri_box_at(L, 1), NULL, unpack(ctx), none);
}

/* Begins to read; `first` is what is wanted first. */
static int begin(lua_State *L, peri_transport *c, int kind, int count,
                 const peri_want *first) {
  peri_loop *l = peri_loop_of(L, c);
  reading r = {kind, 0, count, 1};
  if (c && c->reading)
    return peri_error_raise(L, "EBUSY",
                            "another task is reading from this transport");
  if (c && c->protocol)
    return peri_error_raise(L, "EBUSY",
                            "a protocol reads from this transport; "
                            "conn:protocol(nil) gives reading back");
  peri_task *t = peri_wait_enter(L, l);
  if (c) c->cursor = c->scanned = 0;
  return peri_transport_done(L, l, go(L, c, t, r, *first));
}

/* The same for a method that reads one thing, as its arguments say. */
static int begin_one(lua_State *L, peri_transport *c, int kind) {
  reading r = {kind, 0, 1, 0};
  peri_want w = {0};
  parse(L, &r, &w);
  return begin(L, c, kind, 1, &w);
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
  peri_transport *c = peri_transport_check(L);
  peri_want w;
  int count = lua_gettop(L) - 1;
  if (!count) {
    lua_pushliteral(L, "l");
    count = 1;
  }
  luaL_argcheck(L, count <= FORMATS_MAX, FORMATS_MAX + 2,
                "too many formats");
  for (int i = count; i > 0; i--) want_format(L, 1 + i, &w);
  if (count > 4) peri_error_room(L, count + LUA_MINSTACK);
  return begin(L, c, FORMATS, count, &w);
}

/* conn:read_some([max]) -> what is there, at least a byte, at most `max`
** bytes; nil at the end; or nil, message, code. Waits. */
static int conn_read_some(lua_State *L) {
  peri_transport *c = peri_transport_check(L);
  if (!lua_isnoneornil(L, 2))
    luaL_argcheck(L, check_size(L, 2) > 0, 2, "more than 0 bytes expected");
  return begin_one(L, c, READ_SOME);
}

/* conn:read_exactly(n) -> n bytes; or nil, message, "EOF", the fewer bytes
** that came before the end; or nil, message, code. Waits. */
static int conn_read_exactly(lua_State *L) {
  peri_transport *c = peri_transport_check(L);
  lua_settop(L, 2);
  check_size(L, 2);
  return begin_one(L, c, READ_EXACTLY);
}

/* conn:peek(n) -> the next n bytes, fewer only at the end, nil if there are
** none; or nil, message, code. Consumes nothing. Waits. */
static int conn_peek(lua_State *L) {
  peri_transport *c = peri_transport_check(L);
  lua_settop(L, 2);
  check_size(L, 2);
  return begin_one(L, c, READ_PEEK);
}

/* Replaces the options at 3 by limit and keep, at 3 and 4. */
static void until_options(lua_State *L) {
  lua_Integer limit = PERI_LINE_LIMIT;
  int keep = 0;
  if (!lua_isnoneornil(L, 3)) {
    luaL_checktype(L, 3, LUA_TTABLE);
    if (lua_getfield(L, 3, "limit") != LUA_TNIL) {
      int good;
      limit = lua_tointegerx(L, -1, &good);
      luaL_argcheck(L, good && limit > 0, 3,
                    "field 'limit' must be a number of bytes");
    }
    lua_getfield(L, 3, "keep");
    keep = lua_toboolean(L, -1);
  }
  lua_settop(L, 2);
  lua_pushinteger(L, limit);
  lua_pushboolean(L, keep);
}

/*
** conn:read_until(delimiter [, {limit = 65536, keep = false}]) -> the bytes
** before the delimiter, which is taken as well and is part of the result
** with `keep`. `limit` counts up to the delimiter's end; beyond it: nil,
** message, "ELIMIT". At the end nil, or nil, message, "EOF", the bytes that
** were left. Waits.
*/
static int conn_read_until(lua_State *L) {
  peri_transport *c = peri_transport_check(L);
  size_t n;
  luaL_checklstring(L, 2, &n);
  luaL_argcheck(L, n > 0, 2, "empty delimiter");
  until_options(L);
  return begin_one(L, c, READ_UNTIL);
}

/* The iterator: upvalues are loop, conn, format. */
static int next_line(lua_State *L) {
  lua_settop(L, 0);
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_pushvalue(L, lua_upvalueindex(3));
  return begin_one(L, peri_box_at(L, 1), LINES);
}

/* conn:lines([format = "l"]) -> an iterator that reads with this format
** until the end, and raises where read would fail. The iterator waits. */
static int conn_lines(lua_State *L) {
  peri_want w;
  peri_transport_check(L);
  lua_settop(L, 2);
  if (lua_isnil(L, 2)) {
    lua_pushliteral(L, "l");
    lua_replace(L, 2);
  }
  want_format(L, 2, &w);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_pushcclosure(L, next_line, 3);
  return 1;
}

const luaL_Reg peri_read_methods[] = {
  {"read", conn_read}, {"lines", conn_lines}, {"read_some", conn_read_some},
  {"read_exactly", conn_read_exactly}, {"read_until", conn_read_until},
  {"peek", conn_peek}, {NULL, NULL}};

/* }===================================================================== */
