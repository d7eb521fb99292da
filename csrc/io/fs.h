/*
** fs.h - files and directories by their names, opened to Lua.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_FS_H
#define PERI_FS_H

#include "work.h"

/* Sets `fs` in the table on top. */
void peri_fs_open(lua_State *L, peri_loop *l);

/* Pushes what is known of a file, as a table. */
void peri_fs_push_stat(lua_State *L, const uv_stat_t *st);

/* "file", "directory" and so on, for the type that is part of a mode. */
const char *peri_fs_type(uint64_t mode);

/* Raises "bad argument" at the caller of the library. */
int peri_fs_bad(lua_State *L, int arg, const char *fname, const char *text);

#endif
