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

/* Sets `scandir` in that table; in scandir.c. */
void peri_fs_open_scandir(lua_State *L, peri_loop *l);

/* Sets `watch` in it; in fsevent.c. */
void peri_fs_open_watch(lua_State *L, peri_loop *l);

/* Raises "bad argument", at the caller of the library, unless there is a path
** at `arg`. */
void peri_fs_check_path(lua_State *L, int arg, const char *fname);

#endif
