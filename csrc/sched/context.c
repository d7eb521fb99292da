/*
** context.c - what follows the work: an immutable map, held by pointer.
**
** The struct is a userdata whose user value is the map; the stash holds it
** until the last reference is given up. Opened to Lua by var.c.
**
** SPDX-License-Identifier: MIT
*/
#include "context.h"

#include <assert.h>
#include <lauxlib.h>

#include "error.h"

/* Gives the map of `c`, or none, to who uses maps most. */
static void put_at_hand(peri_loop *l, peri_context *c) {
  lua_State *S = l->stash;
  l->mapped = c;
  if (!c) {
    lua_pushnil(S);
  } else {
    lua_rawgetp(S, PERI_STASH_CONTEXTS, c);
    lua_getiuservalue(S, -1, 1);
    lua_replace(S, -2);
  }
  lua_pushvalue(S, -1);
  lua_setupvalue(S, PERI_STASH_GET, 2);
  lua_setupvalue(S, PERI_STASH_SET, 2);
}

void peri_context_release(peri_loop *l, peri_context *c) {
  if (!c) return;
  assert(c->refs > 0);
  if (--c->refs) return;
  if (c == l->mapped) put_at_hand(l, NULL);
  lua_pushnil(l->stash); /* the key exists: allocates nothing */
  lua_rawsetp(l->stash, PERI_STASH_CONTEXTS, c);
}

void peri_context_map(peri_loop *l, peri_context *c) {
  if (c != l->mapped) put_at_hand(l, c);
}

void peri_context_push_map(lua_State *L, peri_loop *l, peri_context *c) {
  peri_context_map(l, c);
  lua_getupvalue(l->stash, PERI_STASH_GET, 2);
  lua_xmove(l->stash, L, 1);
}

/* Pushes a copy of the map of `from`, which may be NULL. */
static void copy_map(lua_State *L, peri_loop *l, peri_context *from) {
  lua_createtable(L, 0, 1);
  if (!from) return;
  peri_context_push_map(L, l, from);
  for (lua_pushnil(L); lua_next(L, -2);) {
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, -5);
  }
  lua_pop(L, 1);
}

peri_context *peri_context_copy(lua_State *L, peri_loop *l,
                                peri_context *from) {
  peri_error_room(L, 8);
  peri_stash_push(l, L, PERI_STASH_CONTEXTS);
  peri_context *c = lua_newuserdatauv(L, sizeof *c, 1);
  c->refs = 1;
  c->suppressed = 0;
  copy_map(L, l, from);
  lua_setiuservalue(L, -2, 1);
  lua_rawsetp(L, -2, c);
  lua_pop(L, 1);
  return c;
}
