/*
** signame.h - signals by name: "INT" for SIGINT.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_SIGNAME_H
#define PERI_SIGNAME_H

#include <lua.h>

/* The signal at `idx`: a name, with or without "SIG" in front, or a number.
** Raises "bad argument", for the argument `arg` of `fname`. */
int peri_signal_check(lua_State *L, int idx, int arg, const char *fname);

/* Pushes the name, or the number if it has none. */
void peri_signal_push(lua_State *L, int signum);

#endif
