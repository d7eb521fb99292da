/*
** hook.c - the debug hook, borrowed for one event.
**
** There is one for each loop. A hook is given nothing but the lua_State: the
** registry has the loop. Nothing is allocated and nothing owned.
**
** SPDX-License-Identifier: MIT
*/
#include "hook.h"

static const char key; /* its address is that of the loop in the registry */

#define EVENTS (LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT)

static peri_loop *loop_of(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key);
  peri_loop *l = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return l;
}

static void on_hook(lua_State *L, lua_Debug *ar);

/* The user's hook is in place before `in` says so: a signal handler that
** comes in between finds it, and saves it again. */
static void put_back(peri_loop *l, lua_State *L) {
  peri_hook *h = &l->hook;
  if (lua_gethook(L) == on_hook)
    lua_sethook(L, h->before, h->mask, h->count);
  if (h->in == L) h->in = NULL;
}

/* Counts are ours, of one; what else happened the user has asked for. */
static int wanted(const peri_hook *h, const lua_Debug *ar) {
  int event = ar->event == LUA_HOOKTAILCALL ? LUA_HOOKCALL : ar->event;
  return h->before && event != LUA_HOOKCOUNT && (h->mask & 1 << event);
}

static void on_hook(lua_State *L, lua_Debug *ar) {
  peri_loop *l = loop_of(L);
  peri_hook_fn fn = l->hook.fn;
  lua_Hook before = wanted(&l->hook, ar) ? l->hook.before : NULL;
  put_back(l, L);
  if (before) before(L, ar);
  if (fn) fn(L, l);
}

void peri_hook_arm(peri_loop *l, lua_State *L, peri_hook_fn fn) {
  peri_hook *h = &l->hook;
  if (h->in && h->in != L) put_back(l, h->in);
  h->fn = fn;
  if (lua_gethook(L) != on_hook) {
    h->before = lua_gethook(L);
    h->mask = lua_gethookmask(L);
    h->count = lua_gethookcount(L);
  }
  h->in = L;
  lua_sethook(L, on_hook, EVENTS, 1);
}

void peri_hook_disarm(peri_loop *l, peri_hook_fn fn) {
  lua_State *L = l->hook.in;
  if (L && l->hook.fn == fn) put_back(l, L);
}

void peri_hook_move(peri_loop *l, lua_State *L) {
  if (L)
    peri_hook_arm(l, L, l->hook.fn);
  else
    put_back(l, l->hook.in);
}

void peri_hook_open(lua_State *L, peri_loop *l) {
  lua_pushlightuserdata(L, l);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
}
