/*
** fileopen.c - opening and closing files; the Lua class.
**
** uv side: none in the loop; a thread of the pool opens.
** Lua side: core.fs.open; close, and the metatable of "perilune.file".
**
** The userdata is a box that owns a peri_file. Opening is a job of its own,
** which holds the descriptor until the file is made. What has another end,
** FIFOs and terminals, becomes a transport: see stream.c.
**
** SPDX-License-Identifier: MIT
*/
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "fs.h"
#include "sched/error.h"
#include "stream.h"
#include "work.h"

#define BOX "perilune.fs" /* of jobs that are done once, made in fs.c */

const char peri_file_type[] = "perilune.file";

/* {== What operations share ============================================ */

static peri_file_box *check_box(lua_State *L) {
  return luaL_checkudata(L, 1, peri_file_type);
}

peri_file *peri_file_check(lua_State *L) {
  peri_file *f = check_box(L)->f;
  if (f && f->busy)
    peri_error_raise(L, "EBUSY", "another task is using this file");
  return f;
}

int peri_file_fail(lua_State *L, const peri_file *f, int status,
                   const char *operation) {
  peri_error_room(L, LUA_MINSTACK);
  if (!f) return peri_status_fail(L, status, "%s", operation);
  return peri_status_fail(L, status, "%s %s", operation, f->path);
}

/* It waits on the box, whose memory is there as long as its task's is. */
int peri_file_park(lua_State *L, peri_file *f, const peri_wait *w,
                   lua_KContext ctx) {
  f->task = f->loop->current;
  f->busy = 1;
  return peri_task_park(L, f->loop, w, f->box, ctx);
}

int peri_file_leave(peri_loop *l, peri_task *t, int why) {
  (void)why;
  peri_file_drop(l, t);
  return 1;
}

int peri_file_stay(peri_loop *l, peri_task *t, int why) {
  peri_file *f = ((peri_file_box *)t->on)->f;
  if (why != PERI_ABORTED || l->closing || !f)
    return peri_file_leave(l, t, why);
  f->interrupted = 1;
  return 0;
}

void peri_file_drop(peri_loop *l, peri_task *t) {
  peri_file *f = ((peri_file_box *)t->on)->f;
  (void)l;
  if (!f) return;
  f->task = NULL;
  f->busy = f->interrupted = 0;
}

/* Four that found what they wanted count as one. */
int peri_file_done(lua_State *L, peri_loop *l, int n) {
  peri_file *f = peri_file_at(L, 1);
  if (f && !f->cached && ++f->cheap) return n; /* of two bits */
  return peri_task_done(L, l, n);
}

/* }===================================================================== */

/* {== Closing ========================================================== */

static int close_k(lua_State *L, int status, lua_KContext raises);

/* Closing goes on by itself: who waits for it can be ended, not cancelled. */
static int close_abort(peri_loop *l, peri_task *t, int why) {
  peri_file_box *b = t->on;
  if (why == PERI_ABORTED && !l->closing && b->closing) return 0;
  if (b->closing) peri_file_release(b->closing);
  return 1;
}

static void close_drop(peri_loop *l, peri_task *t) {
  close_abort(l, t, PERI_STARVED);
}

static const peri_wait closing = {"close", close_abort, close_k, close_drop};

static int close_failed(lua_State *L, const peri_file *f, int raises) {
  if (!raises) return peri_file_fail(L, f, f->write_error, "close");
  return peri_status_raise(L, f->write_error, "close %s", f->path);
}

/* If this raises, the box still has the file. */
static int close_k(lua_State *L, int status, lua_KContext raises) {
  peri_file_box *b = lua_touserdata(L, 1);
  peri_file *f = b->closing;
  int n = 1;
  (void)status;
  if (f && f->write_error)
    n = close_failed(L, f, (int)raises);
  else
    lua_pushboolean(L, 1);
  if (f) peri_file_release(f);
  return n;
}

/* Asked where it is no mistake if one cannot. */
static int can_wait(lua_State *L, const peri_loop *l) {
  if (l->callback || l->closing || peri_loop_forked(l)) return 0;
  if (l->current == l->root) return !l->hosted && !peri_in_finalizer(l);
  return peri_task_can_yield(L, l);
}

/* Whoever else works with it is told. */
static void tell(peri_loop *l, peri_file *f) {
  peri_task *t = f->task;
  f->task = NULL;
  f->busy = f->interrupted = 0;
  if (t) peri_task_wake(l, t);
}

static int close_box(lua_State *L, peri_file_box *b, int raises) {
  peri_loop *l = PERI_LOOP(L);
  peri_file *f = b->f;
  lua_settop(L, 1);
  lua_pushboolean(L, 1);
  if (!f) return 1;
  tell(l, f);
  if (!can_wait(L, l)) {
    f->dirty = 1; /* one of its operations may be on the way to this: freed
                     in the next poll, at the earliest */
    peri_file_detach(f);
    return 1;
  }
  if (!peri_file_close(f)) return close_k(L, LUA_OK, raises);
  f->task = l->current;
  return peri_task_park(L, l, &closing, b, raises);
}

/*
** file:close() -> true; or nil, message, code of what could not be written.
** Unusable at once; whoever works with it gets nil, message, "ECLOSED". Waits
** until all is written, also if the task is cancelled; in callbacks it does
** not. Twice is fine. A file in a `<close>` variable is closed as well; there
** what could not be written is raised.
*/
static int file_close(lua_State *L) {
  return close_box(L, check_box(L), 0);
}

/* An error that is on its way is more important. */
static int file_leave(lua_State *L) {
  return close_box(L, check_box(L), lua_isnoneornil(L, 2));
}

/* What was written and nobody has closed is written here, unless the program
** is not to be kept waiting. A forked child leaves it to its parent. */
static int file_gc(lua_State *L) {
  if (peri_gc_is_called(PERI_LOOP(L))) return 0;
  peri_file_box *b = lua_touserdata(L, 1);
  peri_file *f = b->f;
  if (b->closing) peri_file_release(b->closing);
  if (!f) return 0;
  f->task = NULL;
  int waits = !f->loop->hosted && !peri_loop_forked(f->loop);
  if (peri_file_writes(f) && waits)
    peri_file_drain(f);
  else
    peri_file_detach(f);
  return 0;
}

/* "file (/etc/hosts)", "file (closed)" */
static int file_tostring(lua_State *L) {
  const peri_file *f = check_box(L)->f;
  lua_pushfstring(L, "file (%s)", f ? f->path : "closed");
  return 1;
}

/* }===================================================================== */

/* {== Opening ========================================================== */

typedef struct opening {
  peri_work w;
  uv_file fd; /* -1: it is not open, or the file's */
  int flags;
  uv_stat_t st;
  char path[];
} opening;

static int is_a(const opening *o, uint64_t type) {
  return (o->st.st_mode & S_IFMT) == type;
}

/* Without waiting, as the other end of a FIFO may never be opened. */
static void opening_run(peri_work *w) {
  opening *o = PERI_OF(w, opening, w);
  uv_fs_t req;
  w->status = uv_fs_open(NULL, &req, o->path, o->flags, 0666, NULL);
  uv_fs_req_cleanup(&req);
  if (w->status < 0) return;
  o->fd = w->status;
  w->status = uv_fs_fstat(NULL, &req, o->fd, NULL);
  o->st = req.statbuf;
  uv_fs_req_cleanup(&req);
  if (!w->status && is_a(o, S_IFDIR)) w->status = UV_EISDIR;
}

static void opening_discard(peri_work *w) {
  opening *o = PERI_OF(w, opening, w);
  if (o->fd >= 0) peri_work_close_fd(o->fd);
  free(o);
}

/* As io's: r, w, a; + for both ways; b, which means nothing. */
static int check_mode(lua_State *L, int arg) {
  const char *mode = lua_isnoneornil(L, arg) ? "r" : lua_tostring(L, arg);
  if (!mode) mode = "";
  int both = mode[0] && mode[1] == '+';
  const char *rest = mode + (mode[0] ? 1 + both : 0);
  rest += *rest == 'b';
  int flags = both ? UV_FS_O_RDWR
                   : *mode == 'r' ? UV_FS_O_RDONLY : UV_FS_O_WRONLY;
  if (!*mode || !strchr("rwa", *mode) || *rest)
    peri_error_bad(L, arg, "open", "invalid mode; it is \"r\", \"w\" or "
                   "\"a\", with \"+\" for both ways");
  if (*mode != 'r') flags |= UV_FS_O_CREAT;
  if (*mode == 'w') flags |= UV_FS_O_TRUNC;
  if (*mode == 'a') flags |= UV_FS_O_APPEND;
  return flags | UV_FS_O_NONBLOCK | UV_FS_O_NOCTTY;
}

#ifdef _WIN32

static int has_other_end(const opening *o) {
  (void)o;
  return 0;
}

static int push_stream(lua_State *L, peri_loop *l, opening *o) {
  (void)l;
  (void)o;
  return lua_gettop(L);
}

#else

/* Threads that worked with it would wait for somebody else. */
static int has_other_end(const opening *o) {
  if (is_a(o, S_IFIFO)) return 1;
  return is_a(o, S_IFCHR) && uv_guess_handle(o->fd) == UV_TTY;
}

/* Pushes the transport for what was opened. A FIFO that nobody writes to so far
** has not ended. */
static int push_stream(lua_State *L, peri_loop *l, opening *o) {
  peri_box *box = peri_transport_box(L, l, UV_POLL);
  int fifo = is_a(o, S_IFIFO), fd = o->fd;
  o->fd = -1; /* is closed even if this fails */
  peri_transport *c = peri_stream_begin(
    l, box, fd, PERI_STREAM_OWN, fifo ? "fifo" : "terminal", NULL);
  if (!c) return peri_status_fail(L, UV_ENOMEM, "open %s", o->path);
  if (fifo) c->readable = 0;
  return 1;
}

#endif

/* Pushes the file of what was opened. */
static int push_file(lua_State *L, peri_loop *l, opening *o) {
  peri_file_box *b = lua_newuserdatauv(L, sizeof *b, 0);
  *b = (peri_file_box){0};
  luaL_setmetatable(L, peri_file_type);
  peri_file *f = peri_file_new(l, o->path);
  if (!f) return peri_status_fail(L, UV_ENOMEM, "open %s", o->path);
  int access = o->flags & (UV_FS_O_RDONLY | UV_FS_O_WRONLY | UV_FS_O_RDWR);
  f->readable = access != UV_FS_O_WRONLY;
  f->writable = access != UV_FS_O_RDONLY;
  f->append = (o->flags & UV_FS_O_APPEND) != 0;
  f->plain = !is_a(o, S_IFCHR);
  f->sized = o->st.st_size > 0 && f->plain;
  f->outmax = PERI_FILE_GATHERS;
  f->fd = o->fd;
  o->fd = -1;
  f->box = b;
  b->f = f;
  return 1;
}

static int open_k(lua_State *L, int status, lua_KContext ctx) {
  peri_loop *l = PERI_LOOP(L);
  peri_work_box *b = lua_touserdata(L, 3);
  (void)status;
  (void)ctx;
  peri_work *w = peri_work_done(L, l, b);
  if (!w) return peri_status_fail(L, PERI_ECLOSED, "open");
  opening *o = PERI_OF(w, opening, w);
  int n;
  if (w->status < 0)
    n = peri_status_fail(L, w->status, "open %s", o->path);
  else
    n = has_other_end(o) ? push_stream(L, l, o) : push_file(L, l, o);
  peri_work_close(l, b);
  return n;
}

static const peri_wait waiting = {"open", peri_work_abort, open_k,
                                  peri_work_drop};

/* core.fs.open(path [, mode]) -> file or transport; or nil, message, code.
** Waits. */
static int fs_open(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  lua_settop(L, 2);
  peri_fs_check_path(L, 1, "open");
  int flags = check_mode(L, 2);
  peri_wait_enter(L, l);
  size_t n = lua_rawlen(L, 1) + 1;
  opening *o = peri_work_new(L, BOX, sizeof *o + n, opening_run,
                             opening_discard);
  peri_work_box *b = lua_touserdata(L, 3);
  memcpy(o->path, lua_tostring(L, 1), n);
  o->flags = flags;
  o->fd = -1;
  b->once = 1;
  return peri_work_wait(L, l, b, &waiting, 0);
}

void peri_file_open(lua_State *L, peri_loop *l) {
  static const luaL_Reg methods[] = {
    {"close", file_close}, {"__close", file_leave}, {"__gc", file_gc},
    {"__tostring", file_tostring}, {NULL, NULL}};
  luaL_newmetatable(L, peri_file_type);
  const luaL_Reg *const all[] = {methods, peri_file_read_methods,
                                 peri_file_write_methods};
  for (int i = 0; i < 3; i++) {
    peri_stash_push(l, L, PERI_STASH_LOOP);
    luaL_setfuncs(L, all[i], 1);
  }
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  lua_pushcclosure(L, fs_open, 1);
  lua_setfield(L, -2, "open");
}

/* }===================================================================== */
