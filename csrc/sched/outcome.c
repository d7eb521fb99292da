/*
** outcome.c - a result that comes once, and who waits for it.
**
** Lives at the beginning of a userdata; owns nothing. Its values are the
** userdata's first user value: one value as it is, several in a table.
**
** SPDX-License-Identifier: MIT
*/
#include "outcome.h"

#include <assert.h>
#include <lauxlib.h>

#include "error.h"

peri_outcome *peri_outcome_test(lua_State *L, peri_loop *l, int idx) {
  peri_outcome *o = lua_touserdata(L, idx);
  if (!o || !lua_getmetatable(L, idx)) return NULL;
  const void *mt = lua_topointer(L, -1);
  lua_pop(L, 1);
  for (int i = 0; i < PERI_KINDS; i++)
    if (mt == l->kinds[i]) return o;
  return NULL;
}

peri_outcome *peri_outcome_check(lua_State *L, peri_loop *l, int idx) {
  peri_outcome *o = peri_outcome_test(L, l, idx);
  if (!o) luaL_typeerror(L, idx, "future");
  return o;
}

static void pack(lua_State *L, int n) {
  peri_error_room(L, 2);
  lua_createtable(L, n, 1);
  lua_insert(L, -n - 1);
  for (int i = n; i >= 1; i--) lua_rawseti(L, -i - 1, i);
  lua_pushinteger(L, n);
  lua_setfield(L, -2, "n");
}

int peri_outcome_store(lua_State *L, peri_outcome *o, int idx, int n) {
  idx = lua_absindex(L, idx);
  if (n > 1)
    pack(L, n); /* may run finalizers, and these may settle it */
  else if (n == 0)
    lua_pushnil(L);
  if (o->state != PERI_PENDING) {
    lua_pop(L, 1);
    return 0;
  }
  if (n) o->flags |= n > 1 ? PERI_MANY : PERI_ONE;
  lua_setiuservalue(L, idx, 1);
  return 1;
}

void peri_outcome_settle(peri_loop *l, peri_outcome *o, int state) {
  assert(o->state == PERI_PENDING);
  o->state = (uint8_t)state;
  peri_waitlist_wake_all(l, &o->waiters);
}

int peri_outcome_push(lua_State *L, const peri_outcome *o, int idx) {
  if (!(o->flags & (PERI_ONE | PERI_MANY))) return 0;
  lua_getiuservalue(L, idx, 1);
  if (o->flags & PERI_ONE) return 1;
  lua_getfield(L, -1, "n");
  int n = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  peri_error_room(L, n + 1);
  int t = lua_absindex(L, -1);
  for (int i = 1; i <= n; i++) lua_rawgeti(L, t, i);
  lua_remove(L, t);
  return n;
}
