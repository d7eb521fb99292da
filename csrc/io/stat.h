/*
** stat.h - what the system knows of a file, as a table.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_STAT_H
#define PERI_STAT_H

#include <lua.h>
#include <uv.h>

/* Pushes it. */
void peri_stat_push(lua_State *L, const uv_stat_t *st);

#endif
