/*
** hand.c - values handed from task to task.
**
** A parked task waits with the arguments of its operation on its stack: what
** it gives is looked at there, and what it gets is put there. The stack of
** the parked main chunk is in use by those it drives; its values go by way
** of the stash.
**
** SPDX-License-Identifier: MIT
*/
#include "hand.h"

#include "coro.h"
#include "error.h"

/* Pushes a table with the values of L from `first` on, for the stash. */
static void pack(lua_State *L, int first) {
  int n = lua_gettop(L) - first + 1;
  peri_error_room(L, 3);
  lua_createtable(L, n, 1);
  for (int i = 1; i <= n; i++) {
    lua_pushvalue(L, first + i - 1);
    lua_rawseti(L, -2, i);
  }
  lua_pushinteger(L, n);
  lua_setfield(L, -2, "n");
}

static int unpack(lua_State *L, peri_loop *l) {
  peri_stash_push(l, L, PERI_STASH_MAIL);
  int mail = lua_gettop(L);
  lua_getfield(L, mail, "n");
  int n = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  peri_error_room(L, n + 1);
  for (int i = 1; i <= n; i++) lua_rawgeti(L, mail, i);
  lua_remove(L, mail);
  return n;
}

lua_State *peri_task_waits_in(const peri_task *t) {
  lua_State *co = t->co, *inner;
  if (!(t->out.flags & PERI_NESTED)) return co;
  while ((inner = peri_coro_inner(co))) co = inner;
  return co;
}

/* The stack of the parked main chunk is in use by those it drives. */
void peri_task_keep(lua_State *L, peri_loop *l, int first) {
  if (l->current != l->root) return;
  pack(L, first);
  peri_stash_set(l, L, PERI_STASH_MAIL);
}

int peri_task_pack(lua_State *L, peri_loop *l, const peri_task *t, int n) {
  if (t != l->root) return n;
  pack(L, lua_gettop(L) - n + 1);
  return 1;
}

void peri_task_give(lua_State *L, peri_loop *l, peri_task *t, int n) {
  if (t == l->root) {
    peri_stash_set(l, L, PERI_STASH_MAIL);
    return;
  }
  lua_State *to = peri_task_waits_in(t);
  if (!lua_checkstack(to, n + 1)) luaL_error(L, "too many values");
  lua_xmove(L, to, n);
  t->scope.top += n;
}

int peri_task_closed(const peri_task *t) {
  if (t->out.flags & PERI_LOST) return 1;
  return t->co && lua_status(peri_task_waits_in(t)) != LUA_YIELD;
}

peri_task *peri_task_first(peri_loop *l, peri_waitlist *w) {
  peri_runnable *r;
  while ((r = peri_waitlist_first(w))) {
    peri_task *t = PERI_OF(r, peri_task, run);
    if (!peri_task_closed(t)) return t;
    peri_waitlist_wake(l, w);
  }
  return NULL;
}

int peri_task_look(lua_State *L, peri_loop *l, const peri_task *t,
                   int first) {
  if (t == l->root) return unpack(L, l);
  lua_State *from = peri_task_waits_in(t);
  int n = lua_gettop(from) - first + 1;
  if (!lua_checkstack(from, n + 1)) luaL_error(L, "too many values");
  peri_error_room(L, n + 1);
  for (int i = 0; i < n; i++) lua_pushvalue(from, first + i);
  lua_xmove(from, L, n);
  return n;
}

int peri_task_given(lua_State *L, peri_loop *l, int base) {
  if (l->current == l->root) {
    int n = unpack(L, l);
    lua_pushnil(L);
    peri_stash_set(l, L, PERI_STASH_MAIL);
    return n;
  }
  return lua_gettop(L) - base;
}
