/*
** fileread.c - reading from open files.
**
** Lua side: read, lines, read_some, read_exactly, read_until, peek.
**
** A read looks at the bytes that are there; while they are not enough it
** waits for the piece that was asked for. It takes all at once when it is
** complete, and leaves everything where it is when it is cancelled.
**
** The end of a file is no state: it may grow. So an end counts only if it was
** seen by a piece that was asked for since the read began.
**
** SPDX-License-Identifier: MIT
*/
#include "file.h"

/* {== Waiting ========================================================== */

static int read_k(lua_State *L, int status, lua_KContext ctx);

static const peri_wait waiting = {"read", peri_file_leave, read_k,
                                  peri_file_drop};

static int failed(lua_State *L, const peri_file *f, int status,
                  const peri_reading *r) {
  const char *name = peri_reading_name(r);
  if (r->kind != PERI_READ_LINES) return peri_file_fail(L, f, status, name);
  if (!f) return peri_status_raise(L, status, "read");
  return peri_status_raise(L, status, "read %s", f->path);
}

/* A task that was woken may be cancelled by now. */
static int wait(lua_State *L, peri_file *f, const peri_reading *r,
                int woken) {
  if (woken) peri_wait_enter(L, f->loop);
  return peri_file_park(L, f, &waiting, peri_reading_pack(r));
}

/* }===================================================================== */

/* {== Reading ========================================================== */

static int commit(peri_file *f, int n) {
  if (!f->closed) peri_file_consume(f, f->marks.cursor);
  f->marks.cursor = 0;
  return n;
}

/* Takes what there is: returns how many results to return, or 0 if more
** bytes are needed. A finalizer may close the file while strings are made. */
static int attempt(lua_State *L, peri_file *f, peri_reading *r,
                   peri_want *w) {
  int n = peri_framing_take(L, r, w, f->in.base + f->in.at, f->in.len,
                            &f->marks, f->end);
  if (n > 0) return commit(f, n);
  if (n == PERI_TAKE_LIMIT) return failed(L, f, PERI_ELIMIT, r);
  if (n == PERI_TAKE_MORE)
    return f->closed ? failed(L, NULL, PERI_ECLOSED, r) : 0;
  int rest = lua_gettop(L);
  failed(L, f, UV_EOF, r);
  lua_pushvalue(L, rest);
  return commit(f, 4);
}

/* Where appending has put us. */
static int find_end(peri_file *f) {
  if (f->op != PERI_FILE_STAT) {
    peri_file_begin(f, PERI_FILE_STAT);
    return 0;
  }
  f->op = PERI_FILE_READ;
  if (f->status < 0) return f->status;
  f->pos = (int64_t)f->st.st_size;
  f->moved = 0;
  return 0;
}

/* Gets on towards more bytes, while no job runs: 0, or a uv error. */
static int advance(peri_file *f) {
  if (f->out.len) peri_file_push(f);
  if (f->running) return 0;
  if (f->write_error) return f->write_error;
  if (f->moved) return find_end(f);
  if (!f->arrived) {
    f->fresh = 1;
    return peri_file_ask(f);
  }
  if (f->status >= 0) return peri_file_take(f);
  int status = f->fresh ? f->status : 0; /* else it is tried again */
  f->arrived = f->fresh = 0;
  return status;
}

/* Stack: file, arguments, results so far. */
static int go(lua_State *L, peri_file *f, peri_reading r, peri_want w,
              int woken) {
  if (!f) return failed(L, f, PERI_ECLOSED, &r);
  f->busy = 0;
  for (;;) {
    int n = peri_file_writes(f) || f->moved ? 0 : attempt(L, f, &r, &w);
    if (n) return n;
    int status = f->running ? 0 : advance(f);
    if (status) return failed(L, f, status, &r);
    if (f->running) return wait(L, f, &r, woken);
  }
}

static int read_k(lua_State *L, int status, lua_KContext ctx) {
  peri_want none = {0};
  (void)status;
  return go(L, peri_file_at(L, 1), peri_reading_unpack(ctx), none, 1);
}

/* Looking at the arguments may have closed the file. */
static int begin(lua_State *L, peri_reading r, const peri_want *w) {
  peri_loop *l = PERI_LOOP(L);
  peri_file *f = peri_file_check(L);
  peri_wait_enter(L, l);
  if (f && !f->readable) return failed(L, f, UV_EBADF, &r);
  if (f) {
    f->marks = (peri_marks){0, 0};
    f->fresh = f->end = 0;
    f->cached = 0;
  }
  return peri_file_done(L, l, go(L, f, r, *w, 0));
}

/* }===================================================================== */

/* {== Lua side ========================================================= */

/*
** file:read(format...) -> a value for each. "l" (the default) a line without
** its end, "L" with it, "a" everything up to the end, a number that many
** bytes, fewer only at the end. nil at the end ("" for "a"), and no values
** after that. Or nil, message, code; "ELIMIT" for a line of over 64 KiB. A
** read that fails or is cancelled consumes nothing. Waits.
*/
static int file_read(lua_State *L) {
  peri_want w;
  peri_file_check(L);
  peri_reading r = peri_framing_read(L, &w);
  return begin(L, r, &w);
}

/* file:read_some([max]) -> what is there, at least a byte, at most `max`
** bytes; nil at the end; or nil, message, code. Waits. */
static int file_read_some(lua_State *L) {
  peri_want w;
  peri_file_check(L);
  peri_reading r = peri_framing_some(L, &w);
  return begin(L, r, &w);
}

/* file:read_exactly(n) -> n bytes; or nil, message, "EOF", the fewer bytes
** that came before the end; or nil, message, code. Waits. */
static int file_read_exactly(lua_State *L) {
  peri_want w;
  peri_file_check(L);
  peri_reading r = peri_framing_exactly(L, &w);
  return begin(L, r, &w);
}

/* file:peek(n) -> the next n bytes, fewer only at the end, nil if there are
** none; or nil, message, code. Consumes nothing. Waits. */
static int file_peek(lua_State *L) {
  peri_want w;
  peri_file_check(L);
  peri_reading r = peri_framing_peek(L, &w);
  return begin(L, r, &w);
}

/*
** file:read_until(delimiter [, {limit = 65536, keep = false}]) -> the bytes
** before the delimiter, which is taken as well and is part of the result
** with `keep`. `limit` counts up to the delimiter's end; beyond it: nil,
** message, "ELIMIT". At the end nil, or nil, message, "EOF", the bytes that
** were left. Waits.
*/
static int file_read_until(lua_State *L) {
  peri_want w;
  peri_file_check(L);
  peri_reading r = peri_framing_until(L, &w);
  return begin(L, r, &w);
}

static int next_line(lua_State *L) {
  peri_want w;
  peri_reading r = peri_framing_next(L, &w);
  return begin(L, r, &w);
}

/* file:lines([format = "l"]) -> an iterator that reads with this format
** until the end, and raises where read would fail. The iterator waits. */
static int file_lines(lua_State *L) {
  peri_file_check(L);
  return peri_framing_lines(L, next_line);
}

const luaL_Reg peri_file_read_methods[] = {
  {"read", file_read}, {"lines", file_lines}, {"read_some", file_read_some},
  {"read_exactly", file_read_exactly}, {"read_until", file_read_until},
  {"peek", file_peek}, {NULL, NULL}};

/* }===================================================================== */
