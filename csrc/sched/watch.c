/*
** watch.c - waiting for several awaitables at once.
**
** Lua side (for the combinators written in Lua): core.watch(list) -> watch,
** with wait, order, next, close. A watch puts one node into the waitlist of each
** pending awaitable; a node that is told notes its place in the order. It
** takes its nodes back when it is closed.
**
** The nodes are part of the userdata; user value 1 is the list, which keeps
** the awaitables.
**
** SPDX-License-Identifier: MIT
*/
#include "watch.h"

#include "error.h"

#define WATCH "perilune.watch"

enum { ALL, ANY, FIRST_ERROR, NEXT }; /* modes */

typedef struct watch watch;

typedef struct node {
  peri_notice notice;
  peri_outcome *of; /* NULL once it is noted, or was taken back */
  watch *owner;
} node;

struct watch {
  peri_waitlist waiters; /* who waits; several if they ask for the next */
  uint32_t count, done, told;
  uint8_t mode;
  uint8_t error;   /* one of those done failed or was cancelled */
  uint8_t closed;
  uint32_t *order; /* indices of those done, in order */
  node nodes[];
};

static int satisfied(const watch *w) {
  if (w->done == w->count) return 1;
  if (w->mode == ANY || w->mode == NEXT) return w->done > w->told;
  return w->mode == FIRST_ERROR && w->error;
}

static void note(watch *w, node *n) {
  if (n->of->state != PERI_DONE) w->error = 1;
  n->of = NULL;
  w->order[w->done++] = (uint32_t)(n - w->nodes) + 1;
}

static void on_done(peri_loop *l, peri_notice *notice) {
  node *n = PERI_OF(notice, node, notice);
  watch *w = n->owner;
  note(w, n);
  if (satisfied(w)) peri_waitlist_wake(l, &w->waiters);
  if (w->done == w->count) peri_waitlist_wake_all(l, &w->waiters);
}

static void node_watch(watch *w, node *n, peri_outcome *o) {
  n->of = o;
  o->flags |= PERI_TAKEN;
  if (o->state != PERI_PENDING)
    note(w, n);
  else
    peri_waitlist_add(&o->waiters, &n->notice.run);
}

static void node_back(node *n) {
  peri_outcome *o = n->of;
  if (!o) return;
  n->of = NULL;
  peri_waitlist_remove(&o->waiters, &n->notice.run);
}

/* core.watch(list) -> a watch of the futures in list. Never waits. */
static int new_watch(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  luaL_checktype(L, 1, LUA_TTABLE);
  uint32_t count = (uint32_t)lua_rawlen(L, 1);
  size_t size = sizeof(watch) + count * (sizeof(node) + sizeof(uint32_t));
  watch *w = lua_newuserdatauv(L, size, 1);
  w->waiters.first = NULL;
  w->count = count;
  w->done = w->told = 0;
  w->mode = w->error = w->closed = 0;
  w->order = (uint32_t *)(void *)&w->nodes[count];
  for (uint32_t i = 0; i < count; i++) {
    peri_link_init(&w->nodes[i].notice.run.link);
    w->nodes[i].notice.run.run = NULL;
    w->nodes[i].notice.notice = on_done;
    w->nodes[i].of = NULL;
    w->nodes[i].owner = w;
  }
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  luaL_setmetatable(L, WATCH);
  for (uint32_t i = 0; i < count; i++) {
    lua_rawgeti(L, 1, i + 1);
    node_watch(w, &w->nodes[i], peri_outcome_check(L, l, -1));
    lua_pop(L, 1);
  }
  return 1;
}

static int watch_gc(lua_State *L) {
  watch *w = luaL_checkudata(L, 1, WATCH);
  for (uint32_t i = 0; i < w->count; i++) node_back(&w->nodes[i]);
  return 0;
}

/* w:close(): its nodes wait no more, and there is no next one. Never
** waits; twice is fine. */
static int watch_close(lua_State *L) {
  watch *w = luaL_checkudata(L, 1, WATCH);
  w->closed = 1;
  peri_waitlist_wake_all(PERI_LOOP(L), &w->waiters);
  return watch_gc(L);
}

static const peri_wait waiting = {"several at once", peri_task_unlist,
                                  peri_task_true_k};

/* w:wait(mode) -> true once all, any, or the first that failed are done
** ("all", "any", "first_error"). Waits. */
static int watch_wait(lua_State *L) {
  static const char *const modes[] = {"all", "any", "first_error", NULL};
  peri_loop *l = PERI_LOOP(L);
  watch *w = luaL_checkudata(L, 1, WATCH);
  w->mode = (uint8_t)luaL_checkoption(L, 2, "all", modes);
  peri_wait_enter(L, l);
  if (satisfied(w)) {
    lua_pushboolean(L, 1);
    return peri_task_done(L, l, 1);
  }
  return peri_task_park_in(L, l, &waiting, &w->waiters);
}

static int next_k(lua_State *L, int status, lua_KContext ctx);

static const peri_wait asking = {"next one done", peri_task_unlist, next_k};

/* w:next() -> the index of the next one that is done, in order; nil if
** there are no more. Waits. Several may ask: each is told of another one. */
static int watch_next(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  watch *w = luaL_checkudata(L, 1, WATCH);
  peri_wait_enter(L, l);
  lua_settop(L, 1);
  w->mode = NEXT;
  if (!w->closed && w->told < w->done)
    lua_pushinteger(L, w->order[w->told++]);
  else if (w->closed || w->told == w->count)
    lua_pushnil(L);
  else
    return peri_task_park_in(L, l, &asking, &w->waiters);
  return peri_task_done(L, l, 1);
}

/* Another one may have asked in between: then it has been told. */
static int next_k(lua_State *L, int status, lua_KContext ctx) {
  watch *w = lua_touserdata(L, 1);
  (void)status;
  (void)ctx;
  if (w->closed || w->told == w->done) return watch_next(L);
  lua_pushinteger(L, w->order[w->told++]);
  return 1;
}

/* w:order() -> list of the indices of those done, in order. */
static int watch_order(lua_State *L) {
  watch *w = luaL_checkudata(L, 1, WATCH);
  lua_createtable(L, (int)w->done, 0);
  for (uint32_t i = 0; i < w->done; i++) {
    lua_pushinteger(L, w->order[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

void peri_watch_open(lua_State *L, peri_loop *l) {
  static const luaL_Reg methods[] = {
    {"wait", watch_wait}, {"order", watch_order}, {"next", watch_next},
    {"close", watch_close}, {"__close", watch_close}, {"__gc", watch_gc},
    {NULL, NULL}};
  peri_stash_push(l, L, PERI_STASH_LOOP);
  lua_pushcclosure(L, new_watch, 1);
  lua_setfield(L, -2, "watch");
  luaL_newmetatable(L, WATCH);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, methods, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}
