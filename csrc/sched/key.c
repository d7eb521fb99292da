/*
** key.c - logical contexts, opened to Lua: keys, and hooks for their end.
**
** Lua side: context.key, context.on_close; core.closer, take_hook.
**
** Hooks may wait, and so it is a task that calls them: a background task in
** the logical context that has ended. What it does is in
** lua/perilune/run.lua.
**
** SPDX-License-Identifier: MIT
*/
#include "key.h"

#include "error.h"
#include "var.h"

/* {== Calling hooks ==================================================== */

/* In protected mode. Stack: the loop, light, and the key. */
static int spawn_closer(lua_State *L) {
  peri_loop *l = lua_touserdata(L, 1);
  peri_stash_push(l, L, PERI_STASH_CLOSER);
  lua_insert(L, 2);
  peri_task_new(L, l, l->background, 1, 0);
  return 0;
}

static int begin_closer(peri_loop *l, lua_State *L, peri_logical *g) {
  peri_frame f = {NULL, g};
  if (!lua_checkstack(L, LUA_MINSTACK)) return LUA_ERRMEM;
  lua_pushcfunction(L, spawn_closer);
  lua_pushlightuserdata(L, l);
  peri_logical_push(L, l, g);
  peri_frame was = peri_frame_swap(l, f);
  int status = lua_pcall(L, 2, 0, 0);
  peri_frame_swap(l, was);
  if (status) lua_pop(L, 1);
  return status;
}

/* It has ended, unless something was begun in it again since. Without memory
** for the task the next turn tries again: hooks are not to be lost. */
static void ended(peri_loop *l, peri_runnable *r, lua_State *L) {
  peri_logical *g = PERI_OF(r, peri_logical, run);
  if (!g->live && g->hooks && begin_closer(l, L, g))
    peri_loop_ready(l, &g->run);
  else
    peri_logical_release(l, g);
}

void peri_key_take(lua_State *L, peri_loop *l, const peri_owner *owner) {
  peri_link *k = l->hooked.prev;
  for (; k != &l->hooked; k = k->prev) {
    peri_logical *g = PERI_OF(k, peri_logical, link);
    if (owner && g->owner != owner) continue;
    peri_logical_take(L, l, g);
    return;
  }
  lua_pushnil(L);
}

/* core.take_hook([key]) -> the last hook of this logical context, or of the
** youngest that has any; or nil. */
static int take_hook(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  if (lua_isnoneornil(L, 1))
    peri_key_take(L, l, NULL);
  else
    peri_logical_take(L, l, lua_touserdata(L, 1));
  return 1;
}

/* core.closer(fn): fn(key) is called in a task, to call what is left of the
** hooks of that key. */
static int set_closer(lua_State *L) {
  lua_settop(L, 1);
  peri_stash_set(PERI_LOOP(L), L, PERI_STASH_CLOSER);
  return 0;
}

/* }===================================================================== */

/* context.key() -> a value that stands for the current logical context: the
** same each time, and nobody else's. Never waits. */
static int key(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_logical_push(L, l, peri_task_logical(L, l));
  return 1;
}

/* context.on_close(fn) -> true. fn() is called when the current logical
** context and its tasks have ended, the last one first, with the values of
** now; it may wait, and is shielded for at most the grace. An error goes to
** the error hook and stops no other. Never waits. */
static int on_close(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_check_callable(L, 1);
  lua_settop(L, 1);
  peri_logical *g = peri_task_logical(L, l);
  const peri_context *c = peri_context_now(l);
  if (c && c->suppressed) g = l->origin;
  peri_var_bind(L, l);
  peri_logical_add(L, l, g, g == l->origin ? NULL : peri_task_run(l));
  lua_pushboolean(L, 1);
  return 1;
}

void peri_key_functions(lua_State *L, peri_loop *l) {
  static const luaL_Reg functions[] = {
    {"key", key}, {"on_close", on_close}, {NULL, NULL}};
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, functions, 1);
}

void peri_key_open(lua_State *L, peri_loop *l) {
  static const luaL_Reg functions[] = {
    {"closer", set_closer}, {"take_hook", take_hook}, {NULL, NULL}};
  l->ended = ended;
  peri_logical_open(L, l);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, functions, 1);
}
