/*
** require.c - the Lua modules of the library, where there may be no package
** library and no files.
**
** Modules that are compiled in (chunks.c) are loaded by a `require` of their
** own, which is in their environment; of what they load, Lua's own require
** finds `perilune` alone. Without them (in the module that Lua loads) the files
** are asked for.
**
** SPDX-License-Identifier: MIT
*/
#include <lauxlib.h>
#include <string.h>

#include "embed.h"

static const peri_chunk *find(const char *name) {
  const peri_chunk *c = peri_chunks;
  while (c->name && strcmp(c->name, name)) c++;
  return c->name ? c : NULL;
}

/* Runs a chunk, with the environment that is upvalue 1. */
static void run_chunk(lua_State *L, const peri_chunk *c) {
  if (luaL_loadbufferx(L, c->text, c->size, c->file, "t")) lua_error(L);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_setupvalue(L, -2, 1);
  lua_pushstring(L, c->name);
  lua_pushstring(L, c->file + 1); /* without the "@" */
  lua_call(L, 2, 1);
}

/* require(name), for modules of the library; upvalue 2 has those loaded. */
static int require(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  lua_settop(L, 1);
  if (lua_getfield(L, lua_upvalueindex(2), name) != LUA_TNIL) return 1;
  const peri_chunk *c = find(name);
  if (c) {
    run_chunk(L, c);
  } else {
    lua_getglobal(L, "require");
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
  }
  lua_pushvalue(L, -1);
  lua_setfield(L, lua_upvalueindex(2), name);
  return 1;
}

/* Pushes an environment that has `require` and, of the rest, what the globals
** have. */
static void push_environment(lua_State *L) {
  lua_createtable(L, 0, 1);
  lua_createtable(L, 0, 1);
  lua_pushglobaltable(L);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
}

/* Sets package.loaded[name] to the value on top, which stays. */
static void set_loaded(lua_State *L, const char *name) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushvalue(L, -2);
  lua_setfield(L, -2, name);
  lua_pop(L, 1);
}

/* `aio` loads some of its modules when they are first asked for, by the
** `require` of its environment. Scripts find nothing but `aio`: what the core
** has besides is not safe in all hands. Modules that are files need it. */
void peri_embed_require(lua_State *L) {
  if (!peri_chunks->name) set_loaded(L, "perilune.core");
  push_environment(L);
  lua_pushvalue(L, -1);
  lua_createtable(L, 0, 1);
  lua_pushvalue(L, -4);
  lua_setfield(L, -2, "perilune.core");
  lua_pushcclosure(L, require, 2);
  lua_pushvalue(L, -1);
  lua_setfield(L, -3, "require");
  lua_pushliteral(L, "perilune");
  lua_call(L, 1, 1);
  set_loaded(L, "perilune");
  lua_pop(L, 2);
}
