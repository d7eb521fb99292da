/*
** scandir.c - what is in a directory, some entries at a time.
**
** uv side: none in the loop; a thread of the pool opens and reads.
** Lua side: core.fs.scandir; close and being called, of "perilune.scandir".
**
** The userdata is the box of a job, which holds the directory and the entries
** that were read and not yet taken. It is opened when the first one is wanted,
** and closed when there are no more, or with the box.
**
** SPDX-License-Identifier: MIT
*/
#include <stdlib.h>
#include <string.h>

#include "fs.h"
#include "sched/error.h"
#include "status.h"

#define TYPE "perilune.scandir"
#define MANY 64 /* entries that are read at once */

/* `req` owns the names of the `n` entries; the path follows the struct. */
typedef struct listing {
  peri_work w;
  uv_dir_t *dir; /* or NULL: it is not open */
  uv_fs_t req;
  uv_dirent_t entries[MANY];
  int n, at; /* how many there are, and the next one */
  int ended;
  char path[];
} listing;

/* {== In a thread ====================================================== */

/* No entries are left: `req` is no more in use. */
static void close_dir(listing *d) {
  uv_fs_t req;
  if (!d->dir) return;
  uv_fs_closedir(NULL, &req, d->dir, NULL);
  uv_fs_req_cleanup(&req);
  d->dir = NULL;
}

static int open_dir(listing *d) {
  uv_fs_t req;
  int status = uv_fs_opendir(NULL, &req, d->path, NULL);
  if (!status) {
    d->dir = req.ptr;
    d->dir->dirents = d->entries;
    d->dir->nentries = MANY;
  }
  uv_fs_req_cleanup(&req);
  return status;
}

static uv_dirent_type_t type_of(uint64_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG: return UV_DIRENT_FILE;
    case S_IFDIR: return UV_DIRENT_DIR;
    case S_IFLNK: return UV_DIRENT_LINK;
    case S_IFIFO: return UV_DIRENT_FIFO;
    case S_IFCHR: return UV_DIRENT_CHAR;
    default: return UV_DIRENT_UNKNOWN;
  }
}

/* Some file systems do not tell types along with names. */
static void find_type(const listing *d, uv_dirent_t *e) {
  size_t n = strlen(d->path);
  char *path = malloc(n + strlen(e->name) + 2);
  uv_fs_t req;
  if (!path) return;
  memcpy(path, d->path, n);
  path[n] = '/';
  strcpy(path + n + 1, e->name);
  if (!uv_fs_lstat(NULL, &req, path, NULL))
    e->type = type_of(req.statbuf.st_mode);
  uv_fs_req_cleanup(&req);
  free(path);
}

static int read_dir(listing *d) {
  uv_fs_req_cleanup(&d->req);
  d->n = d->at = 0;
  int n = uv_fs_readdir(NULL, &d->req, d->dir, NULL);
  if (n <= 0) {
    uv_fs_req_cleanup(&d->req);
    d->ended = 1;
    close_dir(d);
    return n;
  }
  for (d->n = 0; d->n < n; d->n++)
    if (d->entries[d->n].type == UV_DIRENT_UNKNOWN)
      find_type(d, &d->entries[d->n]);
  return 0;
}

static void listing_run(peri_work *w) {
  listing *d = PERI_OF(w, listing, w);
  w->status = d->dir ? 0 : open_dir(d);
  if (!w->status) w->status = read_dir(d);
}

static void listing_discard(peri_work *w) {
  listing *d = PERI_OF(w, listing, w);
  uv_fs_req_cleanup(&d->req);
  close_dir(d);
  free(d);
}

/* }===================================================================== */

/* {== Taking entries =================================================== */

static const char *type_name(uv_dirent_type_t type) {
  switch (type) {
    case UV_DIRENT_FILE: return "file";
    case UV_DIRENT_DIR: return "directory";
    case UV_DIRENT_LINK: return "link";
    case UV_DIRENT_FIFO: return "fifo";
    case UV_DIRENT_SOCKET: return "socket";
    case UV_DIRENT_CHAR: return "char";
    case UV_DIRENT_BLOCK: return "block";
    default: return "unknown";
  }
}

/* Pushes the next entry, or nil after the last. A finalizer may close the
** listing while its table is made: that is its end. */
static int push_next(lua_State *L, const peri_work_box *b) {
  lua_createtable(L, 0, 2);
  listing *d = b->w ? PERI_OF(b->w, listing, w) : NULL;
  if (!d || d->at == d->n) {
    lua_pushnil(L);
    return 1;
  }
  const uv_dirent_t *e = &d->entries[d->at];
  const char *type = type_name(e->type);
  lua_pushstring(L, e->name);
  lua_setfield(L, -2, "name");
  lua_pushstring(L, type);
  lua_setfield(L, -2, "type");
  if (b->w) d->at++;
  return 1;
}

static int next_k(lua_State *L, int status, lua_KContext ctx) {
  peri_loop *l = PERI_LOOP(L);
  (void)status;
  (void)ctx;
  peri_work_box *b = lua_touserdata(L, 1);
  peri_work *w = peri_work_done(L, l, b);
  if (!w) return peri_status_raise(L, PERI_ECLOSED, "scandir");
  listing *d = PERI_OF(w, listing, w);
  if (w->status < 0) {
    d->ended = 1; /* told once: whoever goes on asking comes to an end */
    return peri_status_raise(L, w->status, "scandir %s", d->path);
  }
  return push_next(L, b);
}

static const peri_wait scanning = {"scandir", peri_work_abort, next_k,
                                   peri_work_drop};

/* `for entry in listing do`: in no order, each a table with `name` and `type`,
** as that of lstat, and `path` in a recursive one; "." and ".." are left out.
** What goes wrong is raised, as an error object. The iterator waits. */
static int listing_next(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_work_box *b = luaL_checkudata(L, 1, TYPE);
  lua_settop(L, 1);
  peri_wait_enter(L, l);
  if (!b->w) return peri_status_raise(L, PERI_ECLOSED, "scandir");
  if (b->r)
    return peri_error_raise(L, "EBUSY", "another task reads this directory");
  listing *d = PERI_OF(b->w, listing, w);
  if (d->at == d->n && !d->ended)
    return peri_work_wait(L, l, b, &scanning, 0);
  return peri_task_done(L, l, push_next(L, b));
}

/* listing:close() -> true. Closes the directory, which is done by itself after
** the last entry. Never waits. */
static int listing_close(lua_State *L) {
  peri_work_box *b = luaL_checkudata(L, 1, TYPE);
  peri_work_close(PERI_LOOP(L), b);
  lua_pushboolean(L, 1);
  return 1;
}

/* core.fs.scandir(path) -> listing, which is opened when it is read. Never
** waits. */
static int fs_scandir(lua_State *L) {
  peri_fs_check_path(L, 1, "scandir");
  size_t n = lua_rawlen(L, 1) + 1;
  listing *d = peri_work_new(L, TYPE, sizeof *d + n, listing_run,
                             listing_discard);
  memcpy(d->path, lua_tostring(L, 1), n);
  return 1;
}

void peri_fs_open_scandir(lua_State *L, peri_loop *l) {
  static const luaL_Reg methods[] = {
    {"close", listing_close}, {"__close", listing_close},
    {"__call", listing_next}, {NULL, NULL}};
  peri_work_type(L, TYPE);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, methods, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  lua_pushcclosure(L, fs_scandir, 1);
  lua_setfield(L, -2, "scandir");
}

/* }===================================================================== */
