/*
** fs.c - files and directories by their names.
**
** uv side: what is called in a thread of the pool, see work.h; each is a call
** of libuv's, or several: then nothing is left half done that can be undone.
** Lua side: core.fs: a function for each row of the table of operations; the
** rest of it is in scandir.c, fsevent.c and fileopen.c.
**
** A job holds a copy of its arguments, and its results, up to when they are
** pushed.
**
** SPDX-License-Identifier: MIT
*/
#include "fs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "sched/error.h"
#include "stat.h"
#include "status.h"
#include "whole.h"

#define BOX "perilune.fs"
#define MODE_BITS 07777

typedef struct op op;

/* The arguments that there are; `req` has the result of one call, `all` that
** of those which are several. */
typedef struct job {
  peri_work w;
  const op *op;
  uv_fs_t req;
  const char *path, *to;
  lua_Integer number;
  double time[2];
  int flag;
  peri_whole all;
} job;

/*
** What `args` says of an argument: p a path, s a string, i a mode, b a
** boolean, t a time. A capital may be left out.
*/
struct op {
  peri_wait wait;
  const char *args;
  int (*run)(job *j);
  int (*push)(lua_State *L, const job *j);
};

/* {== In a thread ====================================================== */

static int run_stat(job *j) {
  return uv_fs_stat(NULL, &j->req, j->path, NULL);
}

static int run_lstat(job *j) {
  return uv_fs_lstat(NULL, &j->req, j->path, NULL);
}

/* That there is none is an answer. */
static int run_exists(job *j) {
  int status = uv_fs_stat(NULL, &j->req, j->path, NULL);
  j->flag = status >= 0;
  return status == UV_ENOENT || status == UV_ENOTDIR ? 0 : status;
}

static int run_mkdir(job *j) {
  return uv_fs_mkdir(NULL, &j->req, j->path, (int)j->number, NULL);
}

static int run_rmdir(job *j) {
  return uv_fs_rmdir(NULL, &j->req, j->path, NULL);
}

static int run_mkdtemp(job *j) {
  return uv_fs_mkdtemp(NULL, &j->req, j->path, NULL);
}

static int run_rename(job *j) {
  return uv_fs_rename(NULL, &j->req, j->path, j->to, NULL);
}

static int run_unlink(job *j) {
  return uv_fs_unlink(NULL, &j->req, j->path, NULL);
}

/* libuv's would wait for ever at FIFOs, and for a file that has become
** shorter. */
static int run_copy(job *j) {
  return peri_whole_copy(j->path, j->to, &j->w.stop);
}

static int run_link(job *j) {
  return uv_fs_link(NULL, &j->req, j->path, j->to, NULL);
}

static int run_symlink(job *j) {
  return uv_fs_symlink(NULL, &j->req, j->path, j->to, 0, NULL);
}

static int run_readlink(job *j) {
  return uv_fs_readlink(NULL, &j->req, j->path, NULL);
}

static int run_realpath(job *j) {
  return uv_fs_realpath(NULL, &j->req, j->path, NULL);
}

static int run_chmod(job *j) {
  return uv_fs_chmod(NULL, &j->req, j->path, (int)j->number, NULL);
}

/* Without times, it is now. */
static int run_utime(job *j) {
  uv_timeval64_t now;
  uv_gettimeofday(&now);
  if (isnan(j->time[0]))
    j->time[0] = (double)now.tv_sec + (double)now.tv_usec / 1e6;
  if (isnan(j->time[1])) j->time[1] = j->time[0];
  return uv_fs_utime(NULL, &j->req, j->path, j->time[0], j->time[1], NULL);
}

static int run_read(job *j) {
  return peri_whole_read(&j->all, j->path, &j->w.stop);
}

static int run_write(job *j) {
  if (j->flag) return peri_whole_replace(&j->all, j->path, &j->w.stop);
  return peri_whole_write(&j->all, j->path, UV_FS_O_TRUNC, &j->w.stop);
}

static int run_append(job *j) {
  return peri_whole_write(&j->all, j->path, UV_FS_O_APPEND, &j->w.stop);
}

static void job_run(peri_work *w) {
  job *j = PERI_OF(w, job, w);
  w->status = j->op->run(j);
}

static void job_discard(peri_work *w) {
  job *j = PERI_OF(w, job, w);
  uv_fs_req_cleanup(&j->req);
  free(j->all.bytes);
  free(j);
}

/* }===================================================================== */

/* {== Results ========================================================== */

static int push_stat(lua_State *L, const job *j) {
  peri_stat_push(L, &j->req.statbuf);
  return 1;
}

static int push_true(lua_State *L, const job *j) {
  (void)j;
  lua_pushboolean(L, 1);
  return 1;
}

static int push_flag(lua_State *L, const job *j) {
  lua_pushboolean(L, j->flag);
  return 1;
}

static int push_name(lua_State *L, const job *j) {
  lua_pushstring(L, j->req.ptr);
  return 1;
}

static int push_path(lua_State *L, const job *j) {
  lua_pushstring(L, j->req.path);
  return 1;
}

static int push_bytes(lua_State *L, const job *j) {
  lua_pushlstring(L, j->all.bytes ? j->all.bytes : "", j->all.len);
  return 1;
}

static int fail(lua_State *L, const job *j) {
  const char *name = j->op->wait.name;
  if (j->to)
    return peri_status_fail(L, j->w.status, "%s %s -> %s", name, j->path,
                            j->to);
  return peri_status_fail(L, j->w.status, "%s %s", name, j->path);
}

/* }===================================================================== */

/* {== Arguments ======================================================== */

static int bad_type(lua_State *L, int arg, const char *fname,
                    const char *expected) {
  const char *text = lua_pushfstring(L, "%s expected, got %s", expected,
                                     luaL_typename(L, arg));
  return peri_error_bad(L, arg, fname, text);
}

void peri_fs_check_path(lua_State *L, int arg, const char *fname) {
  size_t n;
  if (lua_type(L, arg) != LUA_TSTRING) bad_type(L, arg, fname, "string");
  const char *path = lua_tolstring(L, arg, &n);
  if (strlen(path) != n)
    peri_error_bad(L, arg, fname, "path with a zero byte");
}

static void check_mode(lua_State *L, int arg, const op *o) {
  int good;
  lua_Integer mode = lua_tointegerx(L, arg, &good);
  if (lua_type(L, arg) != LUA_TNUMBER) bad_type(L, arg, o->wait.name, "integer");
  if (!good || mode < 0 || mode > MODE_BITS)
    peri_error_bad(L, arg, o->wait.name, "mode from 0 to 4095 expected");
}

static void check_time(lua_State *L, int arg, const op *o) {
  if (lua_type(L, arg) != LUA_TNUMBER) bad_type(L, arg, o->wait.name, "number");
  if (!isfinite(lua_tonumber(L, arg)))
    peri_error_bad(L, arg, o->wait.name, "finite number expected");
}

/* Raises unless the arguments are what they should be. */
static void check_arguments(lua_State *L, const op *o) {
  for (int i = 1; o->args[i - 1]; i++) {
    char kind = o->args[i - 1];
    if (kind < 'a' && lua_isnoneornil(L, i)) continue;
    if (kind == 'p')
      peri_fs_check_path(L, i, o->wait.name);
    else if (kind == 'I' || kind == 'i')
      check_mode(L, i, o);
    else if (kind == 'T')
      check_time(L, i, o);
    else if (kind == 's' && !lua_isstring(L, i))
      bad_type(L, i, o->wait.name, "string");
  }
}

/* The size of the paths, which follow the struct. */
static size_t room_for(lua_State *L, const op *o) {
  size_t room = 0;
  for (int i = 1; o->args[i - 1] == 'p'; i++)
    room += lua_rawlen(L, i) + 1;
  return room;
}

static void take_path(lua_State *L, int arg, job *j) {
  char *at = (char *)(j + 1);
  if (j->path) j->to = at = strchr(at, '\0') + 1;
  if (!j->path) j->path = at;
  memcpy(at, lua_tostring(L, arg), lua_rawlen(L, arg) + 1);
}

/* What is written may be needed for longer than its string lives. */
static void take_bytes(lua_State *L, int arg, job *j) {
  size_t n;
  const char *bytes = lua_tolstring(L, arg, &n);
  j->all.bytes = malloc(n ? n : 1);
  if (!j->all.bytes) luaL_error(L, "not enough memory");
  memcpy(j->all.bytes, bytes, n);
  j->all.len = n;
}

static void take_arguments(lua_State *L, const op *o, job *j) {
  int times = 0;
  for (int i = 1; o->args[i - 1]; i++) {
    char kind = o->args[i - 1];
    if (kind == 'p')
      take_path(L, i, j);
    else if (kind == 's')
      take_bytes(L, i, j);
    else if (kind == 'b')
      j->flag = lua_toboolean(L, i);
    else if (kind == 'T')
      j->time[times++] = luaL_optnumber(L, i, NAN);
    else
      j->number = luaL_optinteger(L, i, 0777);
  }
}

/* }===================================================================== */

/* {== The operations =================================================== */

static int call_k(lua_State *L, int status, lua_KContext ctx) {
  peri_loop *l = PERI_LOOP(L);
  peri_work_box *b = lua_touserdata(L, -1);
  const op *o = (const op *)ctx;
  (void)status;
  peri_work *w = peri_work_done(L, l, b);
  if (!w) return peri_status_fail(L, PERI_ECLOSED, "%s", o->wait.name);
  const job *j = PERI_OF(w, job, w);
  int n = w->status < 0 ? fail(L, j) : o->push(L, j);
  peri_work_close(l, b);
  return n;
}

#define WAIT(name) {name, peri_work_abort, call_k, peri_work_drop}

static const op ops[] = {
  {WAIT("read_file"), "p", run_read, push_bytes},
  {WAIT("write_file"), "psb", run_write, push_true},
  {WAIT("append_file"), "ps", run_append, push_true},
  {WAIT("stat"), "p", run_stat, push_stat},
  {WAIT("lstat"), "p", run_lstat, push_stat},
  {WAIT("exists"), "p", run_exists, push_flag},
  {WAIT("mkdir"), "pI", run_mkdir, push_true},
  {WAIT("rmdir"), "p", run_rmdir, push_true},
  {WAIT("mkdtemp"), "p", run_mkdtemp, push_path},
  {WAIT("rename"), "pp", run_rename, push_true},
  {WAIT("unlink"), "p", run_unlink, push_true},
  {WAIT("copy"), "pp", run_copy, push_true},
  {WAIT("link"), "pp", run_link, push_true},
  {WAIT("symlink"), "pp", run_symlink, push_true},
  {WAIT("readlink"), "p", run_readlink, push_name},
  {WAIT("realpath"), "p", run_realpath, push_name},
  {WAIT("chmod"), "pi", run_chmod, push_true},
  {WAIT("utime"), "pTT", run_utime, push_true}};

#define NOPS (sizeof ops / sizeof *ops)

/* core.fs.NAME(...): the operation whose number is its upvalue. */
static int call(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  const op *o = &ops[lua_tointeger(L, lua_upvalueindex(2))];
  lua_settop(L, (int)strlen(o->args));
  check_arguments(L, o);
  peri_wait_enter(L, l);
  size_t size = sizeof(job) + room_for(L, o);
  job *j = peri_work_new(L, BOX, size, job_run, job_discard);
  peri_work_box *b = lua_touserdata(L, -1);
  b->once = 1;
  j->op = o;
  take_arguments(L, o, j);
  return peri_work_wait(L, l, b, &o->wait, (lua_KContext)o);
}

void peri_fs_open(lua_State *L, peri_loop *l) {
  peri_work_type(L, BOX);
  lua_pop(L, 1);
  lua_createtable(L, 0, (int)NOPS + 2);
  for (size_t i = 0; i < NOPS; i++) {
    peri_stash_push(l, L, PERI_STASH_LOOP);
    lua_pushinteger(L, (lua_Integer)i);
    lua_pushcclosure(L, call, 2);
    lua_setfield(L, -2, ops[i].wait.name);
  }
  peri_fs_open_scandir(L, l);
  peri_fs_open_watch(L, l);
  peri_file_open(L, l);
  lua_setfield(L, -2, "fs");
}

/* }===================================================================== */
