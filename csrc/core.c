/*
** core.c - luaopen_perilune_core: makes the loop of a Lua state, and the
** table of everything that is written in C.
**
** There is one loop for each Lua state. It is a userdata made before all
** that lives on it, and so finalized last, when the state is closed.
**
** SPDX-License-Identifier: MIT
*/
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "embed/embed.h"
#include "run.h"
#include "sched/context.h"
#include "sched/block.h"
#include "sched/callback.h"
#include "sched/channel.h"
#include "sched/clock.h"
#include "sched/coro.h"
#include "sched/emit.h"
#include "sched/error.h"
#include "sched/future.h"
#include "sched/group.h"
#include "sched/inspect.h"
#include "sched/key.h"
#include "sched/lock.h"
#include "sched/nopoll.h"
#include "sched/probe.h"
#include "sched/select.h"
#include "sched/trace.h"
#include "sched/var.h"
#include "sched/watch.h"

#ifndef PERILUNE_NO_UV
#include "io/io.h"
#include "io/poller.h"
#endif

#if LUA_VERSION_NUM != 504 || LUA_VERSION_RELEASE_NUM < 50404
#error "perilune needs Lua 5.4, 5.4.4 or newer"
#endif

#define LOOP "perilune.loop"
#define CORE "perilune.core"

/* {== The end of a loop ================================================ */

/* Errors have nobody left to hear them. */
void peri_loop_exit(lua_State *L, peri_loop *l) {
  peri_stash_push(l, L, PERI_STASH_EXIT);
  if (lua_isnil(L, -1))
    lua_pop(L, 1);
  else if (lua_pcall(L, 0, 0, 0))
    lua_pop(L, 1);
}

void peri_loop_end(peri_loop *l, int reap) {
  perilune_loop *p = l->host;
  peri_embed_end(l);
  peri_block_free_all(l);
  peri_loop *rest = l->poller ? l->poller->close(l, reap) : NULL;
  if (rest && p) peri_embed_leave(p, rest);
  peri_nopoll_open(l); /* finalizers of what is older than the loop come */
  l->dead = 1;
  peri_heap_free(l, &l->timers);
  peri_clock_free_all(l);
  peri_realloc(l, l->slot, l->slot_room * sizeof *l->slot, 0);
  l->slot = NULL;
  l->slot_room = 0;
  peri_logical_free_all(l);
}

/* __gc: tasks end, in one pass in which waits raise; then the outside. */
static int loop_gc(lua_State *L) {
  peri_loop *l = luaL_checkudata(L, 1, LOOP);
  if ((l->dead && !l->host) || !l->alloc) return 0;
  if (l->stash && peri_gc_is_called(l)) return 0;
  l->closing = 1;
  if (l->running) l->frame = peri_frame_root(l); /* a task has left its own */
  l->in = L;
  l->running = l->polling = l->callback = l->pinned = 0; /* os.exit in there */
  if (l->poller) l->poller->drive(l, 1); /* ends with the poller */
  if (l->root && !l->dead && !peri_loop_forked(l)) { /* else the parent's */
    peri_task_close_all(l, L);
    peri_loop_exit(L, l);
    peri_task_close_all(l, L);
  }
  peri_loop_end(l, 0);
  return 0;
}

/* }===================================================================== */

/* {== Making it ======================================================== */

static void weak_table(lua_State *L, peri_loop *l, int index) {
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  peri_stash_set(l, L, index);
}

/* coroutine.close as it is now: lua_resetthread and lua_closethread differ
** between releases of Lua 5.4. */
static void stash_close(lua_State *L, peri_loop *l) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  if (lua_getfield(L, -1, LUA_COLIBNAME) != LUA_TTABLE)
    luaL_error(L, "perilune needs the coroutine library");
  lua_getfield(L, -1, "close");
  peri_stash_set(l, L, PERI_STASH_CLOSE);
  lua_pop(L, 2);
}

static void fill_stash(lua_State *L, peri_loop *l, int loop) {
  static const int tables[] = {
    PERI_STASH_TASKS, PERI_STASH_OBJECTS, PERI_STASH_CONTEXTS,
    PERI_STASH_REASONS};
  lua_pushvalue(L, loop);
  peri_stash_set(l, L, PERI_STASH_LOOP);
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
    lua_newtable(L);
    peri_stash_set(l, L, tables[i]);
  }
  lua_createtable(L, 32, 0);
  peri_stash_set(l, L, PERI_STASH_TRACES);
  weak_table(L, l, PERI_STASH_NAMES);
  weak_table(L, l, PERI_STASH_MADE);
  weak_table(L, l, PERI_STASH_SWALLOWED);
  weak_table(L, l, PERI_STASH_CORO);
  peri_error_new(L, "ECANCELED", "what was awaited has been cancelled");
  peri_stash_set(l, L, PERI_STASH_ENDED);
  peri_error_new(L, "EBROKEN", "the write end of the future was dropped");
  peri_stash_set(l, L, PERI_STASH_BROKEN);
  peri_cancelled_new(L, 0);
  peri_stash_set(l, L, PERI_STASH_CANCELLED);
  stash_close(L, l);
}

/* The memory of what is in a host's loop: it may be freed when Lua's allocator
** is gone. */
static void *allocate_apart(void *ud, void *p, size_t old, size_t size) {
  peri_loop *l = ud;
  (void)old;
  if (size) return realloc(p, size);
  if (p && p == l->kept)
    l->kept = NULL;
  else
    free(p);
  return NULL;
}

static void attach(peri_loop *l, void *to) {
  l->attached = to;
  l->alloc = allocate_apart;
  l->alloc_ud = l;
  l->polling = 1;
}

/* Pushes a loop with an empty stash. */
static peri_loop *new_loop(lua_State *L) {
  peri_loop *l = lua_newuserdatauv(L, sizeof *l, 1);
  memset(l, 0, sizeof *l);
  luaL_newmetatable(L, LOOP);
  lua_pushcfunction(L, loop_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  l->stash = lua_newthread(L);
  lua_setiuservalue(L, -2, 1);
  if (!lua_checkstack(l->stash, PERI_STASH_TOP + LUA_MINSTACK))
    luaL_error(L, "not enough memory");
  lua_settop(l->stash, PERI_STASH_TOP);
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  l->in = lua_tothread(L, -1);
  lua_pop(L, 1);
  peri_loop_init(l, L);
  return l;
}

/* The loop object: its methods are functions of this file's siblings. */
static void open_methods(lua_State *L, peri_loop *l) {
  luaL_getmetatable(L, LOOP);
  lua_newtable(L);
  peri_run_methods(L, l);
  peri_callback_open(L, l);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

static void open_all(lua_State *L, peri_loop *l) {
  peri_stash_push(l, L, PERI_STASH_LOOP);
  lua_setfield(L, -2, "loop");
  peri_key_open(L, l);
  peri_future_open(L, l);
  peri_inspect_open(L, l);
  peri_task_open(L, l);
  open_methods(L, l);
  peri_task_functions(L, l);
  peri_clock_open(L, l);
  peri_emit_open(L, l);
  peri_block_functions(L, l);
  peri_group_open(L, l);
  peri_coro_open(L, l);
  peri_channel_open(L, l);
  peri_event_open(L, l);
  peri_lock_open(L, l);
  peri_semaphore_open(L, l);
  peri_condition_open(L, l);
  peri_barrier_open(L, l);
  peri_watch_open(L, l);
  peri_select_open(L, l);
  peri_var_open(L, l);
  peri_probe_open(L, l);
  peri_run_open(L, l);
#ifndef PERILUNE_NO_UV
  peri_io_open(L, l);
#endif
}

void peri_core_open(lua_State *L, void *attach_to) {
  if (lua_getfield(L, LUA_REGISTRYINDEX, CORE) == LUA_TTABLE) return;
  peri_loop *l = new_loop(L);
  if (attach_to) attach(l, attach_to);
  peri_error_open(L, l);
  fill_stash(L, l, lua_gettop(L));
#ifndef PERILUNE_NO_UV
  peri_poller_open(L, l);
#else
  peri_nopoll_open(l);
#endif
  l->now = l->poller->now();
  lua_newtable(L);
  open_all(L, l);
  lua_pushvalue(L, -1);
  lua_setfield(L, LUA_REGISTRYINDEX, CORE);
}

void peri_core_libs(lua_State *L, peri_loop *l, unsigned libs) {
#ifndef PERILUNE_NO_UV
  lua_getfield(L, LUA_REGISTRYINDEX, CORE);
  peri_io_open_libs(L, l, libs);
  lua_pop(L, 1);
#else
  (void)L;
  (void)l;
  (void)libs;
#endif
}

/* Opened again, as test runners do, it is the same: there is one loop. Where a
** host has opened it, nothing is added. */
int luaopen_perilune_core(lua_State *L) {
  luaL_checkversion(L);
  peri_core_open(L, NULL);
  lua_getfield(L, -1, "loop");
  peri_loop *l = lua_touserdata(L, -1);
  lua_pop(L, 1);
  if (!l->host && !l->dead) peri_core_libs(L, l, PERI_CORE_ALL);
  return 1;
}

/* }===================================================================== */
