/*
** filewrite.c - writing to open files, and what else there is to do with one.
**
** Lua side: write, setvbuf, flush, seek, sync, truncate, stat.
**
** What is written is gathered, and leaves when the activation ends or when it
** is much. It is written behind the back of who wrote it; the next one waits
** if that takes long. Whatever depends on it being written waits for that.
**
** SPDX-License-Identifier: MIT
*/
#include "file.h"
#include "stat.h"

#include <stdint.h>
#include <string.h>

#define HIGH PERI_FILE_GATHERS /* unwritten bytes; above it writers wait */

static int self(lua_State *L) {
  lua_settop(L, 1);
  return 1;
}

/* {== write ============================================================ */

static int write_k(lua_State *L, int status, lua_KContext ctx);

static const peri_wait writing = {"write", peri_file_leave, write_k,
                                  peri_file_drop};

/* Why nothing can be written: 0, or a status. */
static int refusal(const peri_file *f) {
  if (!f) return PERI_ECLOSED;
  return f->writable ? f->write_error : UV_EBADF;
}

/* Has room for `n` bytes: 0, or a uv error. */
static int reserve(peri_file *f, size_t n) {
  if (n > (uint64_t)(INT64_MAX - f->pos)) return UV_EFBIG;
  return peri_bytes_reserve(&f->out, n);
}

static void put(peri_file *f, const char *s, size_t n) {
  if (!f->out.len) f->outpos = f->pos;
  memcpy(f->out.base + f->out.len, s, n);
  f->out.len += n;
  f->pos += (int64_t)n;
}

/* Takes them. In the main chunk no activation ends. */
static int take(lua_State *L, peri_loop *l, peri_file *f) {
  int last = lua_gettop(L), in_main = !l->running && !l->callback;
  size_t all = 0;
  for (int i = 2; i <= last; i++) all += lua_rawlen(L, i);
  if (!all) return 0;
  int status = reserve(f, all);
  if (status) return status;
  peri_file_forget(f);
  for (int i = 2; i <= last; i++) {
    size_t n;
    const char *s = lua_tolstring(L, i, &n);
    if (n) put(f, s, n);
  }
  f->dirty = 1;
  f->moved = f->append;
  if (in_main || f->out.len >= f->outmax)
    peri_file_push(f);
  else
    peri_loop_leave(l, &f->leaving);
  return 0;
}

static int write_go(lua_State *L, peri_file *f, int woken) {
  peri_loop *l = PERI_LOOP(L);
  int status = refusal(f);
  if (f) f->busy = 0;
  if (!status && f->running && peri_file_unwritten(f) > HIGH && !l->callback) {
    if (woken) peri_wait_enter(L, l);
    return peri_file_park(L, f, &writing, 0);
  }
  if (!status) status = take(L, l, f);
  return status ? peri_file_fail(L, f, status, "write") : self(L);
}

static int write_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  return write_go(L, peri_file_at(L, 1), 1);
}

/*
** file:write(...) -> file, or nil, message, code. Writes strings and numbers.
** Waits until no more than 64 KiB are unwritten, then takes the whole;
** cancelled before that, nothing is written. An error that comes later is
** returned by the next call, by close at the latest. In callbacks it never
** waits.
*/
static int file_write(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_file_check(L);
  for (int i = lua_gettop(L); i > 1; i--)
    if (lua_type(L, i) != LUA_TSTRING) luaL_checkstring(L, i);
  peri_file *f = peri_file_at(L, 1); /* a finalizer may have closed it */
  if (l->callback) return write_go(L, f, 0);
  peri_wait_enter(L, l);
  return peri_file_done(L, l, write_go(L, f, 0));
}

/*
** file:setvbuf(mode [, size]) -> file. "full", the default: what a task or
** callback writes leaves when it waits or ends, or when `size` bytes (64
** KiB, which is also the most) are gathered. "no": each write leaves at
** once. Never waits.
*/
static int file_setvbuf(lua_State *L) {
  static const char *const modes[] = {"no", "full", NULL};
  peri_file *f = peri_file_check(L);
  int full = luaL_checkoption(L, 2, NULL, modes);
  lua_Integer size = luaL_optinteger(L, 3, HIGH);
  luaL_argcheck(L, size > 0, 3, "more than 0 bytes expected");
  if (!f) return peri_file_fail(L, f, PERI_ECLOSED, "setvbuf");
  f->outmax = !full ? 0 : size < HIGH ? (size_t)size : HIGH;
  peri_file_push(f);
  return self(L);
}

/* }===================================================================== */

/* {== Operations that come after what was written ====================== */

enum { FLUSH, MOVE, FIND, SYNC, TRUNCATE, STAT };

/* `job` is what it has done in a thread, or -1; it is part of the context of
** the continuation whether that has begun. */
typedef struct operation {
  const char *name;
  int job;
  int (*done)(lua_State *L, peri_file *f);
} operation;

#define BEGUN 16

static int flush_done(lua_State *L, peri_file *f) {
  (void)f;
  return self(L);
}

/* Goes where the offset at 3, counted from `from`, leads. What is there of
** the file stays if that is in it. */
static int move(lua_State *L, peri_file *f, int64_t from) {
  int64_t to = (int64_t)((uint64_t)from + (uint64_t)lua_tointeger(L, 3));
  if (to < 0) return peri_file_fail(L, f, UV_EINVAL, "seek");
  if (!f->moved && to >= f->pos && to - f->pos <= (int64_t)f->in.len) {
    peri_file_consume(f, (size_t)(to - f->pos));
  } else {
    peri_file_forget(f);
    f->pos = to;
  }
  f->moved = 0;
  lua_pushinteger(L, to);
  return 1;
}

/* Stack of seek: file, whence as a number, offset. */
static int move_done(lua_State *L, peri_file *f) {
  return move(L, f, lua_tointeger(L, 2) ? f->pos : 0);
}

static int find_done(lua_State *L, peri_file *f) {
  return move(L, f, (int64_t)f->st.st_size);
}

static int truncate_done(lua_State *L, peri_file *f) {
  peri_file_forget(f);
  return self(L);
}

static int stat_done(lua_State *L, peri_file *f) {
  peri_stat_push(L, &f->st);
  return 1;
}

static const operation operations[] = {
  {"flush", -1, flush_done},
  {"seek", -1, move_done},
  {"seek", PERI_FILE_STAT, find_done},
  {"sync", PERI_FILE_SYNC, flush_done},
  {"truncate", PERI_FILE_TRUNCATE, truncate_done},
  {"stat", PERI_FILE_STAT, stat_done}};

static int operate_k(lua_State *L, int status, lua_KContext ctx);

#define WAITS(abort) \
  {{"flush", abort, operate_k, peri_file_drop}, \
   {"seek", abort, operate_k, peri_file_drop}, \
   {"seek", abort, operate_k, peri_file_drop}, \
   {"sync", abort, operate_k, peri_file_drop}, \
   {"truncate", abort, operate_k, peri_file_drop}, \
   {"stat", abort, operate_k, peri_file_drop}}

/* Until the job before it has ended, and until its own has. */
static const peri_wait before[] = WAITS(peri_file_leave);
static const peri_wait inside[] = WAITS(peri_file_stay);

/* It was begun, and has ended. */
static int ended(lua_State *L, peri_file *f, const operation *o) {
  if (f->interrupted) {
    f->interrupted = 0;
    if (o->job == PERI_FILE_TRUNCATE) peri_file_forget(f);
    return peri_task_raise(L, f->loop, f->loop->current);
  }
  if (f->status < 0) return peri_file_fail(L, f, f->status, o->name);
  return o->done(L, f);
}

static int operate(lua_State *L, peri_file *f, lua_KContext ctx, int woken) {
  const operation *o = &operations[ctx & ~BEGUN];
  if (!f) return peri_file_fail(L, f, PERI_ECLOSED, o->name);
  f->busy = 0;
  if (ctx & BEGUN) return ended(L, f, o);
  peri_file_push(f);
  if (peri_file_writes(f) || (f->running && o->job >= 0)) {
    if (woken) peri_wait_enter(L, f->loop);
    return peri_file_park(L, f, &before[ctx], ctx);
  }
  if (f->write_error) return peri_file_fail(L, f, f->write_error, o->name);
  if (o->job < 0) return o->done(L, f);
  f->offset = lua_tointeger(L, 2); /* for truncate */
  peri_file_begin(f, o->job);
  return peri_file_park(L, f, &inside[ctx], ctx | BEGUN);
}

static int operate_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  return operate(L, peri_file_at(L, 1), ctx, 1);
}

static int begin(lua_State *L, peri_file *f, int what) {
  peri_loop *l = PERI_LOOP(L);
  peri_wait_enter(L, l);
  return peri_file_done(L, l, operate(L, f, what, 0));
}

/* file:flush() -> file once the system has all that was written; or nil,
** message, code. Waits. */
static int file_flush(lua_State *L) {
  return begin(L, peri_file_check(L), FLUSH);
}

/* file:sync() -> file once the disk has all that was written; or nil,
** message, code. Waits. */
static int file_sync(lua_State *L) {
  return begin(L, peri_file_check(L), SYNC);
}

/*
** file:seek([whence = "cur" [, offset = 0]]) -> the position, in bytes from
** the beginning; or nil, message, code. Goes to `offset`, counted from the
** beginning ("set"), the position ("cur") or the end ("end"), and tells where
** that is. What was written is written first. "ESPIPE" for devices. Waits.
*/
static int file_seek(lua_State *L) {
  static const char *const names[] = {"set", "cur", "end", NULL};
  peri_file *f = peri_file_check(L);
  int whence = luaL_checkoption(L, 2, "cur", names);
  lua_Integer offset = luaL_optinteger(L, 3, 0);
  lua_settop(L, 1);
  lua_pushinteger(L, whence);
  lua_pushinteger(L, offset);
  if (f && !f->plain) return peri_file_fail(L, f, UV_ESPIPE, "seek");
  int at_end = whence == 2 || (whence == 1 && f && f->moved);
  return begin(L, f, at_end ? FIND : MOVE);
}

/* file:truncate(size) -> file; or nil, message, code. Makes it so many bytes
** long: what is beyond is lost, what is missing is zero. The position stays
** where it is. Waits. */
static int file_truncate(lua_State *L) {
  peri_file *f = peri_file_check(L);
  luaL_argcheck(L, luaL_checkinteger(L, 2) >= 0, 2,
                "number of bytes expected");
  if (f && !f->writable) return peri_file_fail(L, f, UV_EBADF, "truncate");
  return begin(L, f, TRUNCATE);
}

/* file:stat() -> what is known of it, as from aio.fs.stat; or nil, message,
** code. What was written is written first. Waits. */
static int file_stat(lua_State *L) {
  return begin(L, peri_file_check(L), STAT);
}

const luaL_Reg peri_file_write_methods[] = {
  {"write", file_write}, {"setvbuf", file_setvbuf}, {"flush", file_flush},
  {"sync", file_sync}, {"seek", file_seek}, {"truncate", file_truncate},
  {"stat", file_stat}, {NULL, NULL}};

/* }===================================================================== */
