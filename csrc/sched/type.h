/*
** type.h - userdata of ours that are told from others by their first field.
**
** That is the address of the name of their type. luaL_checkudata looks the
** name up in the registry, which takes longer than many a method.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_TYPE_H
#define PERI_TYPE_H

#include <lauxlib.h>
#include <lua.h>

/* The userdata at `idx`, of `size` bytes and of this type, or NULL. */
static inline void *peri_type_test(lua_State *L, int idx, const char *type,
                                   size_t size) {
  const char *const *p = lua_touserdata(L, idx);
  if (!p || lua_rawlen(L, idx) != size || *p != type) return NULL;
  return (void *)(uintptr_t)p;
}

/* The same; raises "bad argument" for anything else. */
static inline void *peri_type_check(lua_State *L, int idx, const char *type,
                                    size_t size) {
  void *p = peri_type_test(L, idx, type, size);
  if (!p) luaL_typeerror(L, idx, type);
  return p;
}

#endif
