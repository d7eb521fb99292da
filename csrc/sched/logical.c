/*
** logical.c - logical contexts: what a key stands for, and what ends.
**
** Lua side: context.key and context.on_close, in var.c.
**
** The struct is the userdata that users get as the key. The loop anchors it
** as long as there are references in C, and so it is the same one each time,
** also if nobody holds it meanwhile.
**
** SPDX-License-Identifier: MIT
*/
#include "logical.h"

#include <assert.h>
#include <lauxlib.h>

#include "error.h"

#define KEY "perilune.key"

/* {== Indices ========================================================== */

/* Makes room, and chains what is new. */
static int grow(peri_loop *l) {
  uint32_t was = l->logical_room, room = was ? 2 * was : 64;
  size_t size = sizeof *l->logicals;
  void *at = peri_realloc(l, l->logicals, was * size, room * size);
  if (!at) return -1;
  l->logicals = at;
  l->logical_room = room;
  l->logicals[0] = NULL;
  for (uint32_t i = room - 1; i >= was && i; i--) {
    l->logicals[i] = (void *)(uintptr_t)l->free_logical;
    l->free_logical = i;
  }
  return 0;
}

static int take_index(peri_loop *l, peri_logical *g) {
  if (!l->free_logical && grow(l)) return -1;
  g->index = l->free_logical;
  l->free_logical = (uint32_t)(uintptr_t)l->logicals[g->index];
  l->logicals[g->index] = g;
  return 0;
}

static void give_index(peri_loop *l, const peri_logical *g) {
  if (!l->logicals) return; /* the loop is over */
  l->logicals[g->index] = (void *)(uintptr_t)l->free_logical;
  l->free_logical = g->index;
}

void peri_logical_free_all(peri_loop *l) {
  peri_realloc(l, l->logicals, l->logical_room * sizeof *l->logicals, 0);
  l->logicals = NULL;
  l->logical_room = 0;
}

/* }===================================================================== */

/* {== References ======================================================= */

void peri_logical_release(peri_loop *l, peri_logical *g) {
  if (!g) return;
  assert(g->refs > 0);
  if (--g->refs) return;
  give_index(l, g);
  peri_unanchor(l, g);
}

void peri_logical_leave(peri_loop *l, peri_logical *g) {
  if (!g) return;
  assert(g->live > 0);
  if (--g->live || !g->hooks || l->dead) return;
  if (!peri_link_alone(&g->run.link)) return;
  peri_logical_retain(g);
  peri_loop_ready(l, &g->run);
}

void peri_logical_push(lua_State *L, peri_loop *l, const peri_logical *g) {
  peri_push_anchored(l, L, g);
}

/* }===================================================================== */

/* {== Hooks ============================================================ */

/* Pushes the list of hooks of the key on top. A finalizer that runs while the
** list is made may have made it already. */
static void push_hooks(lua_State *L) {
  if (lua_getiuservalue(L, -1, 1) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_newtable(L);
  if (lua_getiuservalue(L, -2, 1) == LUA_TTABLE) {
    lua_remove(L, -2);
    return;
  }
  lua_pop(L, 1);
  lua_pushvalue(L, -1);
  lua_setiuservalue(L, -3, 1);
}

void peri_logical_add(lua_State *L, peri_loop *l, peri_logical *g,
                      const peri_owner *owner) {
  peri_error_room(L, 4);
  peri_logical_push(L, l, g);
  push_hooks(L);
  lua_pushvalue(L, -3);
  lua_rawseti(L, -2, (lua_Integer)g->hooks + 1);
  if (!g->hooks++) {
    g->owner = owner;
    peri_list_append(&l->hooked, &g->link);
  }
  lua_pop(L, 3);
}

/* The key exists in the list, so this allocates nothing. */
void peri_logical_take(lua_State *L, peri_loop *l, peri_logical *g) {
  if (!g->hooks) {
    lua_pushnil(L);
    return;
  }
  peri_logical_push(L, l, g);
  lua_getiuservalue(L, -1, 1);
  lua_rawgeti(L, -1, g->hooks);
  lua_pushnil(L);
  lua_rawseti(L, -3, g->hooks);
  if (!--g->hooks) peri_link_out(&g->link);
  lua_replace(L, -3);
  lua_pop(L, 1);
}

/* }===================================================================== */

peri_logical *peri_logical_new(lua_State *L, peri_loop *l) {
  peri_error_room(L, 6);
  peri_logical *g = lua_newuserdatauv(L, sizeof *g, 1);
  peri_link_init(&g->run.link);
  g->run.run = l->ended;
  peri_link_init(&g->link);
  g->owner = NULL;
  g->refs = 1;
  g->live = g->hooks = 0;
  luaL_setmetatable(L, KEY);
  peri_anchor(L, l, -1, g);
  if (take_index(l, g)) {
    peri_unanchor(l, g);
    luaL_error(L, "not enough memory");
  }
  lua_pop(L, 1);
  return g;
}

void peri_logical_open(lua_State *L, peri_loop *l) {
  luaL_newmetatable(L, KEY);
  lua_pop(L, 1);
  l->origin = peri_logical_new(L, l);
  l->origin->live = 1; /* until the end */
  l->frame.logical = peri_logical_retain(l->origin);
}
