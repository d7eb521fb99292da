/*
** bound.c - socket files: what a unix server binds, and removes again.
**
** Plain C and POSIX; elsewhere the system sees to it.
**
** SPDX-License-Identifier: MIT
*/
#include "bound.h"

#include <errno.h>
#include <string.h>
#include <uv.h>

#ifdef _WIN32

int peri_bound_set(peri_loop *l, peri_bound *b, const char *path) {
  (void)l;
  (void)b;
  (void)path;
  return 0;
}

void peri_bound_remove(peri_loop *l, peri_bound *b) {
  (void)l;
  (void)b;
}

int peri_bound_remove_stale(const char *path) {
  (void)path;
  return UV_EADDRINUSE;
}

#else

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

int peri_bound_set(peri_loop *l, peri_bound *b, const char *path) {
  struct stat st;
  size_t size = strlen(path) + 1;
  if (stat(path, &st)) return -errno;
  b->path = peri_alloc(l, size);
  if (!b->path) {
    unlink(path);
    return UV_ENOMEM;
  }
  memcpy(b->path, path, size);
  b->size = size;
  b->dev = (uint64_t)st.st_dev;
  b->ino = (uint64_t)st.st_ino;
  return 0;
}

void peri_bound_remove(peri_loop *l, peri_bound *b) {
  struct stat st;
  if (!b->path) return;
  if (!stat(b->path, &st) && (uint64_t)st.st_dev == b->dev &&
      (uint64_t)st.st_ino == b->ino)
    unlink(b->path);
  peri_free(l, b->path, b->size);
  b->path = NULL;
}

/* A server that died has left a file which nobody accepts from. Connecting
** does not block: a server with a full queue would make us wait. */
static int is_stale(const char *path) {
  struct sockaddr_un sa = {.sun_family = AF_UNIX};
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd < 0) return 0;
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  fcntl(fd, F_SETFL, O_NONBLOCK);
  strncpy(sa.sun_path, path, sizeof sa.sun_path - 1);
  int refused = connect(fd, (struct sockaddr *)&sa, sizeof sa) &&
                errno == ECONNREFUSED;
  close(fd);
  return refused;
}

int peri_bound_remove_stale(const char *path) {
  struct stat st;
  if (lstat(path, &st)) return -errno;
  if (!S_ISSOCK(st.st_mode)) return UV_EADDRINUSE;
  if (!is_stale(path)) return UV_EADDRINUSE;
  return unlink(path) ? -errno : 0;
}

#endif
