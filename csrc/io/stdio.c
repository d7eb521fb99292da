/*
** stdio.c - the streams that a program was started with, as transports.
**
** Lua side: core.stdio: open, unsent.
**
** The descriptors 0, 1 and 2 stay as they are, for C, for child processes and
** for the shell, with whom they may be shared. A pipe or terminal is opened
** anew by way of /proc, which makes an open file of our own; where that is
** not possible, and for sockets and files, there is another descriptor for
** the same one, with its position.
**
** SPDX-License-Identifier: MIT
*/
#include "stdio.h"

#ifndef _WIN32

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stream.h"

#define ABOVE 3 /* ours are none of the three */

/* {== Descriptors ====================================================== */

/* To open the other end of a pseudo-terminal anew would make another one. */
static int is_terminal(int fd) {
#ifdef TIOCGPTN
  int number;
  if (!ioctl(fd, TIOCGPTN, &number)) return 0;
#endif
  return isatty(fd);
}

/* The same pipe or terminal, which then does not block: a descriptor, or -1.
** What it is not open for it must not become. */
static int open_anew(int fd, int mode) {
  char path[32];
  int may = fcntl(fd, F_GETFL) & O_ACCMODE;
  if (may != mode && may != O_RDWR) return -1;
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return open(path, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static int look(const struct stat *st) {
  if (S_ISSOCK(st->st_mode)) return PERI_STREAM_SOCKET;
  if (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode)) return PERI_STREAM_FILE;
  return PERI_STREAM_SHARED;
}

/* A descriptor of our own for what `fd` is: that, or a uv status. */
static int open_own(int fd, int mode, int *how) {
  struct stat st;
  if (fstat(fd, &st)) return -errno;
  *how = look(&st);
  if (S_ISFIFO(st.st_mode) || is_terminal(fd)) {
    int own = open_anew(fd, mode);
    if (own >= 0) {
      *how = PERI_STREAM_OWN;
      return own;
    }
  }
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, ABOVE);
  return copy < 0 ? -errno : copy;
}

/* }===================================================================== */

/* {== Lua side ========================================================= */

/* It belongs to the Lua state: it sees the root context, and outlives runs
** and whoever was the first to use it. What was written goes out, however
** long its reader takes; and at once, as what `print` writes does. */
static void settle(peri_loop *l, peri_transport *c) {
  peri_frame_release(l, &c->frame);
  c->frame = peri_frame_root(l);
  c->standing = 1;
  c->linger_ms = UINT32_MAX;
  c->outmax = 0;
}

/* core.stdio.open(n) -> the transport for stdin (0), stdout or stderr: to be
** called once for each. Raises if the system has no descriptor for it; one
** that is closed is told of by whoever reads or writes. Never waits. */
static int standard(lua_State *L) {
  static const char *const names[] = {"stdin", "stdout", "stderr"};
  peri_loop *l = PERI_LOOP(L);
  int n = (int)luaL_checkinteger(L, 1), how = PERI_STREAM_FILE;
  luaL_argcheck(L, n >= 0 && n <= 2, 1, "0, 1 or 2 expected");
  FILE *files[] = {NULL, stdout, stderr};
  peri_box *box = peri_transport_box(L, l, UV_POLL);
  int fd = open_own(n, n ? O_WRONLY : O_RDONLY, &how);
  if (fd < 0 && fd != UV_EBADF)
    return peri_status_raise(L, fd, "open %s", names[n]);
  peri_transport *c =
    peri_stream_begin(l, box, fd, how, names[n], files[n]);
  if (!c) return luaL_error(L, "not enough memory");
  settle(l, c);
  return 1;
}

/* core.stdio.unsent() -> true while such a stream has bytes to send. */
static int unsent(lua_State *L) {
  lua_pushboolean(L, peri_transport_owes(PERI_LOOP(L)));
  return 1;
}

void peri_stdio_open(lua_State *L, peri_loop *l) {
  static const luaL_Reg functions[] = {
    {"open", standard}, {"unsent", unsent}, {NULL, NULL}};
  luaL_newlibtable(L, functions);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, functions, 1);
  lua_setfield(L, -2, "stdio");
}

/* }===================================================================== */

#else

void peri_stdio_open(lua_State *L, peri_loop *l) {
  (void)L;
  (void)l;
}

#endif
