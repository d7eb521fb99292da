/*
** whole.c - files that are read or written as a whole, in a thread.
**
** All is done by libuv's functions, without callbacks and without a loop.
**
** SPDX-License-Identifier: MIT
*/
#include "whole.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "status.h"
#include "work.h"

#define PIECE ((size_t)1 << 20) /* between two looks at `stop` */
#define FIRST 4096u  /* for files that do not say how long they are */
#define DEVICE_MOST ((size_t)16 << 20) /* read from what may have no end */
#define TRIES 16     /* names for a temporary file */
#define NAME_ROOM 32 /* for such a name */

#ifdef S_IFSOCK
#define IS_SOCKET(mode) (((mode) & S_IFMT) == S_IFSOCK)
#else
#define IS_SOCKET(mode) 0
#endif

/* {== Descriptors ====================================================== */

static int is_a(const uv_stat_t *st, uint64_t type) {
  return (st->st_mode & S_IFMT) == type;
}

static int no_whole(const uv_stat_t *st) {
  return is_a(st, S_IFIFO) || IS_SOCKET(st->st_mode);
}

static int open_file(const char *path, int flags, int mode) {
  uv_fs_t req;
  int fd = uv_fs_open(NULL, &req, path, flags, mode, NULL);
  uv_fs_req_cleanup(&req);
  return fd;
}

/* Opens without waiting, as the other end of a FIFO may never be; `st` tells
** what it is. Returns a descriptor, or a uv error. */
static int open_plain(const char *path, int flags, int mode, uv_stat_t *st) {
  uv_fs_t req;
  int fd = open_file(path, flags | UV_FS_O_NONBLOCK, mode);
  if (fd < 0) return fd;
  int status = uv_fs_fstat(NULL, &req, fd, NULL);
  *st = req.statbuf;
  uv_fs_req_cleanup(&req);
  if (!status && no_whole(st)) status = UV_ESPIPE;
  if (!status) return fd;
  peri_work_close_fd(fd);
  return status;
}

static int stat_file(const char *path, uv_stat_t *st) {
  uv_fs_t req;
  int status = uv_fs_stat(NULL, &req, path, NULL);
  *st = req.statbuf;
  uv_fs_req_cleanup(&req);
  return status;
}

/* }===================================================================== */

/* {== Reading ========================================================== */

/* From `offset`, or if that is -1 from where the last one has ended. */
static int read_piece(int fd, char *at, size_t room, int64_t offset) {
  uv_fs_t req;
  uv_buf_t buf = uv_buf_init(at, (unsigned)(room < PIECE ? room : PIECE));
  int n;
  do {
    n = uv_fs_read(NULL, &req, fd, &buf, 1, offset, NULL);
    uv_fs_req_cleanup(&req);
  } while (n == UV_EINTR);
  return n;
}

/* `room` bytes are there; at least one more than the file has, so that its
** end is seen without getting more. */
static int read_all(peri_whole *all, size_t room, size_t most, int fd,
                    atomic_int *stop) {
  for (;;) {
    if (all->len >= most) return PERI_ELIMIT;
    if (!all->bytes || all->len == room) {
      if (all->bytes) room += room / 2;
      char *more = realloc(all->bytes, room);
      if (!more) return UV_ENOMEM;
      all->bytes = more;
    }
    if (atomic_load(stop)) return UV_ECANCELED;
    int n = read_piece(fd, all->bytes + all->len, room - all->len, -1);
    if (n <= 0) return n;
    all->len += (size_t)n;
  }
}

int peri_whole_read(peri_whole *all, const char *path, atomic_int *stop) {
  uv_stat_t st;
  int fd = open_plain(path, UV_FS_O_RDONLY, 0, &st);
  if (fd < 0) return fd;
  size_t room = st.st_size < FIRST ? FIRST : (size_t)st.st_size + 1;
  size_t most = is_a(&st, S_IFCHR) ? DEVICE_MOST : SIZE_MAX;
  int status = read_all(all, room, most, fd, stop);
  peri_work_close_fd(fd);
  return status;
}

/* }===================================================================== */

/* {== Writing ========================================================== */

static int write_all(const peri_whole *all, int fd, atomic_int *stop) {
  for (size_t at = 0; at < all->len;) {
    size_t n = all->len - at < PIECE ? all->len - at : PIECE;
    uv_buf_t buf = uv_buf_init(all->bytes + at, (unsigned)n);
    uv_fs_t req;
    if (atomic_load(stop)) return UV_ECANCELED;
    int status = uv_fs_write(NULL, &req, fd, &buf, 1, -1, NULL);
    uv_fs_req_cleanup(&req);
    if (status < 0) return status;
    at += (size_t)status;
  }
  return 0;
}

/* Some file systems tell only now that there is no room. */
static int close_written(int fd, int status) {
  int closed = peri_work_close_fd(fd);
  return status < 0 ? status : closed;
}

int peri_whole_write(const peri_whole *all, const char *path, int how,
                     atomic_int *stop) {
  uv_stat_t st;
  int fd = open_plain(path, UV_FS_O_WRONLY | UV_FS_O_CREAT | how, 0666, &st);
  if (fd < 0) return fd;
  return close_written(fd, write_all(all, fd, stop));
}

/* }===================================================================== */

/* {== Replacing ======================================================== */

static int unlink_file(const char *path) {
  uv_fs_t req;
  int status = uv_fs_unlink(NULL, &req, path, NULL);
  uv_fs_req_cleanup(&req);
  return status;
}

static int rename_file(const char *from, const char *to) {
  uv_fs_t req;
  int status = uv_fs_rename(NULL, &req, from, to, NULL);
  uv_fs_req_cleanup(&req);
  return status;
}

static int sync_file(int fd) {
  uv_fs_t req;
  int status = uv_fs_fsync(NULL, &req, fd, NULL);
  uv_fs_req_cleanup(&req);
  return status;
}

/* Makes a file in the folder of `path`: returns its descriptor, and its name
** in `name`, which has room for that path and NAME_ROOM bytes. */
static int open_beside(const char *path, char *name) {
  const char *base = strrchr(path, '/');
  size_t folder = base ? (size_t)(base - path) + 1 : 0;
  int flags = UV_FS_O_WRONLY | UV_FS_O_CREAT | UV_FS_O_EXCL;
  memcpy(name, path, folder);
  int fd = UV_EEXIST;
  for (int i = 0; i < TRIES && fd == UV_EEXIST; i++) {
    unsigned lot[2];
    int status = uv_random(NULL, NULL, lot, sizeof lot, 0, NULL);
    if (status) return status;
    snprintf(name + folder, NAME_ROOM, ".%08x%08x.tmp", lot[0], lot[1]);
    fd = open_file(name, flags, 0666);
  }
  return fd;
}

/* The new one may be read and written by whom the old one might. */
static int take_mode(int fd, const uv_stat_t *old) {
  uv_fs_t req;
  int status = uv_fs_fchmod(NULL, &req, fd, (int)(old->st_mode & 07777), NULL);
  uv_fs_req_cleanup(&req);
  return status;
}

/* `old` is what is there, or NULL. */
static int replace(const peri_whole *all, const char *path, char *name,
                   const uv_stat_t *old, atomic_int *stop) {
  int fd = open_beside(path, name);
  if (fd < 0) return fd;
  int status = old ? take_mode(fd, old) : 0;
  if (!status) status = write_all(all, fd, stop);
  if (!status) status = sync_file(fd);
  status = close_written(fd, status);
  if (!status && atomic_load(stop)) status = UV_ECANCELED;
  if (!status) status = rename_file(name, path);
  if (status) unlink_file(name);
  return status;
}

static int replace_real(const peri_whole *all, const char *path,
                        atomic_int *stop) {
  uv_stat_t st;
  int status = stat_file(path, &st);
  if (status && status != UV_ENOENT) return status;
  if (!status && is_a(&st, S_IFDIR)) return UV_EISDIR;
  if (!status && !is_a(&st, S_IFREG)) return UV_ESPIPE;
  char *name = malloc(strlen(path) + NAME_ROOM);
  if (!name) return UV_ENOMEM;
  status = replace(all, path, name, status ? NULL : &st, stop);
  free(name);
  return status;
}

/* A link stays, and what it leads to is replaced. */
int peri_whole_replace(const peri_whole *all, const char *path,
                       atomic_int *stop) {
  uv_fs_t req;
  int status = uv_fs_realpath(NULL, &req, path, NULL);
  if (!status)
    status = replace_real(all, req.ptr, stop);
  else if (status == UV_ENOENT)
    status = replace_real(all, path, stop);
  uv_fs_req_cleanup(&req);
  return status;
}

/* }===================================================================== */

/* {== Copying ========================================================== */

/* A part of a file from `at` on, inside the system: bytes, or a uv error. */
static int send_piece(int from, int to, int64_t at) {
  uv_fs_t req;
  int n;
  do {
    n = uv_fs_sendfile(NULL, &req, to, from, at, PIECE, NULL);
    uv_fs_req_cleanup(&req);
  } while (n == UV_EINTR);
  return n;
}

/* The rest, by hand: of files without a size, as in /proc, that is all. */
static int copy_rest(int from, int to, int64_t at, int64_t most,
                     atomic_int *stop) {
  peri_whole piece = {malloc(PIECE), 0};
  int status = piece.bytes ? 0 : UV_ENOMEM;
  while (!status) {
    int n = read_piece(from, piece.bytes, PIECE, at);
    if (n <= 0 || (at += n) > most) {
      status = n > 0 ? PERI_ELIMIT : n;
      break;
    }
    piece.len = (size_t)n;
    status = write_all(&piece, to, stop);
  }
  free(piece.bytes);
  return status;
}

/* A file that is cut off meanwhile has ended. */
static int copy_bytes(int from, int to, int64_t most, atomic_int *stop) {
  int64_t at = 0;
  int n;
  do {
    if (atomic_load(stop)) return UV_ECANCELED;
    n = send_piece(from, to, at);
    if (n > 0) at += n;
  } while (n > 0 && at <= most);
  return n < 0 ? n : copy_rest(from, to, at, most, stop);
}

static int cut(int fd) {
  uv_fs_t req;
  int status = uv_fs_ftruncate(NULL, &req, fd, 0, NULL);
  uv_fs_req_cleanup(&req);
  return status;
}

/* From a descriptor to a path: `st` is what is known of the first. What is not
** complete is removed. */
static int copy_to(int from, const uv_stat_t *st, const char *path,
                   atomic_int *stop) {
  uv_stat_t old;
  int flags = UV_FS_O_WRONLY | UV_FS_O_CREAT;
  int fd = open_plain(path, flags, (int)(st->st_mode & 0777), &old);
  if (fd < 0) return fd;
  int file = is_a(&old, S_IFREG);
  if (file && old.st_dev == st->st_dev && old.st_ino == st->st_ino)
    return peri_work_close_fd(fd);
  int status = file ? cut(fd) : 0;
  if (!status && file) status = take_mode(fd, st);
  int64_t most = is_a(st, S_IFCHR) ? (int64_t)DEVICE_MOST : INT64_MAX;
  if (!status) status = copy_bytes(from, fd, most, stop);
  status = close_written(fd, status);
  if (status && file) unlink_file(path);
  return status;
}

int peri_whole_copy(const char *from, const char *to, atomic_int *stop) {
  uv_stat_t st;
  int fd = open_plain(from, UV_FS_O_RDONLY, 0, &st);
  if (fd < 0) return fd;
  int status = is_a(&st, S_IFDIR) ? UV_EISDIR : copy_to(fd, &st, to, stop);
  peri_work_close_fd(fd);
  return status;
}

/* }===================================================================== */
