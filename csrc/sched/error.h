/*
** error.h - error objects: a code, a message, and further fields.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_ERROR_H
#define PERI_ERROR_H

#include <lua.h>

#include "loop.h"

/* Makes the metatables of error and Cancelled objects. Called once. */
void peri_error_open(lua_State *L, peri_loop *l);

/* Sees to it that L has room for `n` more values; raises else. Where so few
** are asked for, it is memory that is lacking. */
void peri_error_room(lua_State *L, int n);

/* Pushes an error object; its message is "CODE: " and the formatted text
** (as lua_pushfstring does it). */
void peri_error_new(lua_State *L, const char *code, const char *fmt, ...);

/* Raises one, for a mistake of the caller, with the caller's position. */
int peri_error_raise(lua_State *L, const char *code, const char *fmt, ...);

/* The level, as for lua_getstack, of the innermost function that is not of
** this library: whose mistake it was. */
int peri_error_level(lua_State *L);

/* True if the function, of which "S" is known, is of the library's Lua. */
int peri_error_is_ours(const peri_loop *l, const lua_Debug *ar);

/* Raises "bad argument", at the caller of the library: for functions that its
** Lua modules call. */
int peri_error_bad(lua_State *L, int arg, const char *fname,
                   const char *text);

/* Raises "bad argument" if the table at `idx` has a key that is not in the
** list, which ends with NULL. */
void peri_error_check_options(lua_State *L, int idx,
                              const char *const names[]);

/* Pushes the value at `idx` as text, which it returns; one whose __tostring
** fails is said not to be showable. */
const char *peri_error_text(lua_State *L, int idx);

/* Pushes nil, the message and the code: what the world says when it says
** no. Returns 3. */
int peri_error_fail(lua_State *L, const char *code, const char *fmt, ...);

/* Pushes a Cancelled object with the reason at `idx`, 0 for none. */
void peri_cancelled_new(lua_State *L, int idx);

/* True if the value at `idx` is a Cancelled object. To be called in C
** functions of the library. */
int peri_cancelled_is(lua_State *L, int idx);

#endif
