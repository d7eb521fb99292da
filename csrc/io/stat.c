/*
** stat.c - what the system knows of a file, as a table.
**
** Lua side: the result of stat and lstat, by name or of an open file.
**
** SPDX-License-Identifier: MIT
*/
#include "stat.h"

#define MODE_BITS 07777
#define NS_PER_S 1e9

static const char *type_of(uint64_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG: return "file";
    case S_IFDIR: return "directory";
    case S_IFLNK: return "link";
    case S_IFIFO: return "fifo";
    case S_IFCHR: return "char";
#ifdef S_IFBLK
    case S_IFBLK: return "block";
#endif
#ifdef S_IFSOCK
    case S_IFSOCK: return "socket";
#endif
    default: return "unknown";
  }
}

static void set_integer(lua_State *L, const char *name, uint64_t n) {
  lua_pushinteger(L, (lua_Integer)n);
  lua_setfield(L, -2, name);
}

static void set_time(lua_State *L, const char *name, const uv_timespec_t *t) {
  lua_pushnumber(L, (double)t->tv_sec + (double)t->tv_nsec / NS_PER_S);
  lua_setfield(L, -2, name);
}

void peri_stat_push(lua_State *L, const uv_stat_t *st) {
  lua_createtable(L, 0, 12);
  lua_pushstring(L, type_of(st->st_mode));
  lua_setfield(L, -2, "type");
  set_integer(L, "mode", st->st_mode & MODE_BITS);
  set_integer(L, "size", st->st_size);
  set_integer(L, "uid", st->st_uid);
  set_integer(L, "gid", st->st_gid);
  set_integer(L, "nlink", st->st_nlink);
  set_integer(L, "ino", st->st_ino);
  set_integer(L, "dev", st->st_dev);
  set_time(L, "atime", &st->st_atim);
  set_time(L, "mtime", &st->st_mtim);
  set_time(L, "ctime", &st->st_ctim);
  set_time(L, "birthtime", &st->st_birthtim);
}
