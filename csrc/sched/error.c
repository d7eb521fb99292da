/*
** error.c - error objects: a code, a message, and further fields.
**
** Lua side: tables with the metatable "perilune.error"; a cancellation has
** a metatable of its own, so that a program can tell its own cancellation
** from an error that merely has the code ECANCELED.
**
** SPDX-License-Identifier: MIT
*/
#include "error.h"

#include <lauxlib.h>
#include <string.h>

#include "loop.h"

#define ERROR "perilune.error"
#define CANCELLED "perilune.cancelled"

void peri_error_room(lua_State *L, int n) {
  if (!lua_checkstack(L, n))
    luaL_error(L, "not enough memory for %d values on the stack", n);
}

/* Takes the message on top and replaces it by an error object. */
static void wrap(lua_State *L, const char *type, const char *code) {
  lua_createtable(L, 0, 3);
  lua_insert(L, -2);
  lua_setfield(L, -2, "message");
  lua_pushstring(L, code);
  lua_setfield(L, -2, "code");
  luaL_setmetatable(L, type);
}

static void push_message(lua_State *L, const char *code, const char *fmt,
                         va_list args) {
  lua_pushfstring(L, "%s: ", code);
  lua_pushvfstring(L, fmt, args);
  lua_concat(L, 2);
}

void peri_error_new(lua_State *L, const char *code, const char *fmt, ...) {
  va_list args;
  peri_error_room(L, 6);
  va_start(args, fmt);
  push_message(L, code, fmt, args);
  va_end(args);
  wrap(L, ERROR, code);
}

static int to_text(lua_State *L) {
  luaL_tolstring(L, 1, NULL);
  return 1;
}

const char *peri_error_text(lua_State *L, int idx) {
  idx = lua_absindex(L, idx);
  peri_error_room(L, 4);
  lua_pushcfunction(L, to_text);
  lua_pushvalue(L, idx);
  if (lua_pcall(L, 1, 1, 0)) {
    lua_pop(L, 1);
    lua_pushliteral(L, "object that cannot be shown");
  }
  return lua_tostring(L, -1);
}

/* The modules of the library are the files in one folder. */
int peri_error_is_ours(const peri_loop *l, const lua_Debug *ar) {
  size_t n = l && l->library ? strlen(l->library) : 0;
  return n && !strncmp(ar->source, l->library, n) &&
         !strchr(ar->source + n, '/');
}

int peri_error_level(lua_State *L) {
  lua_Debug ar;
  int level = 1;
  for (; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "S", &ar);
    if (!peri_error_is_ours(PERI_LOOP(L), &ar)) return level;
  }
  return 1;
}

int peri_error_raise(lua_State *L, const char *code, const char *fmt, ...) {
  va_list args;
  peri_error_room(L, 6);
  va_start(args, fmt);
  push_message(L, code, fmt, args);
  va_end(args);
  luaL_where(L, peri_error_level(L));
  if (lua_rawlen(L, -1)) { /* "file:line: " goes to the end, without ": " */
    size_t n;
    const char *at = lua_tolstring(L, -1, &n);
    lua_pushlstring(L, at, n - 2);
    lua_pushfstring(L, "%s (at %s)", lua_tostring(L, -3),
                    lua_tostring(L, -1));
  } else {
    lua_pushvalue(L, -2);
  }
  wrap(L, ERROR, code);
  return lua_error(L);
}

int peri_error_bad(lua_State *L, int arg, const char *fname,
                   const char *text) {
  luaL_where(L, peri_error_level(L));
  lua_pushfstring(L, "%sbad argument #%d to '%s' (%s)", lua_tostring(L, -1),
                  arg, fname, text);
  return lua_error(L);
}

void peri_error_check_options(lua_State *L, int idx,
                              const char *const names[]) {
  for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
    int i = 0;
    const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2)
                                                     : "(not a string)";
    while (names[i] && strcmp(names[i], key)) i++;
    if (!names[i])
      luaL_argerror(L, idx, lua_pushfstring(L, "unknown option '%s'", key));
  }
}

int peri_error_fail(lua_State *L, const char *code, const char *fmt, ...) {
  va_list args;
  peri_error_room(L, 6);
  lua_pushnil(L);
  va_start(args, fmt);
  push_message(L, code, fmt, args);
  va_end(args);
  lua_pushstring(L, code);
  return 3;
}

void peri_cancelled_new(lua_State *L, int idx) {
  if (idx) idx = lua_absindex(L, idx);
  peri_error_room(L, 6);
  lua_pushliteral(L, "ECANCELED: cancelled");
  if (idx && !lua_isnil(L, idx)) {
    peri_error_text(L, idx);
    lua_pushfstring(L, "%s (%s)", lua_tostring(L, -2), lua_tostring(L, -1));
    lua_replace(L, -3);
    lua_pop(L, 1);
  }
  wrap(L, CANCELLED, "ECANCELED");
  if (!idx) return;
  lua_pushvalue(L, idx);
  lua_setfield(L, -2, "reason");
}

int peri_cancelled_is(lua_State *L, int idx) {
  if (lua_type(L, idx) != LUA_TTABLE || !lua_getmetatable(L, idx)) return 0;
  int is = lua_topointer(L, -1) == PERI_LOOP(L)->cancelled;
  lua_pop(L, 1);
  return is;
}

/* {== Lua side ========================================================= */

static int error_tostring(lua_State *L) {
  lua_getfield(L, 1, "message");
  luaL_tolstring(L, -1, NULL);
  return 1;
}

static int error_concat(lua_State *L) {
  luaL_tolstring(L, 1, NULL);
  luaL_tolstring(L, 2, NULL);
  lua_concat(L, 2);
  return 1;
}

/* Returns the identity of the metatable. */
static const void *new_type(lua_State *L, const char *name) {
  static const luaL_Reg meta[] = {
    {"__tostring", error_tostring}, {"__concat", error_concat}, {NULL, NULL}};
  luaL_newmetatable(L, name);
  luaL_setfuncs(L, meta, 0);
  const void *identity = lua_topointer(L, -1);
  lua_pop(L, 1);
  return identity;
}

void peri_error_open(lua_State *L, peri_loop *l) {
  new_type(L, ERROR);
  l->cancelled = new_type(L, CANCELLED);
}

/* }===================================================================== */
