/*
** slot.c - the table of tasks, and idle coroutines.
**
** A slot of the table holds a task from spawn to finish. A free slot holds
** an idle coroutine, for the next task that takes the slot, or false. Free
** slots are chained in C; slots are numbered from 1.
**
** The table is in the stash; the chain is an array of the loop's, freed with
** it. It also has, for each task, of which logical contexts that is.
**
** SPDX-License-Identifier: MIT
*/
#include "slot.h"

#define POOL_KEPT 1024 /* idle coroutines that are always kept */

static int grow_slots(peri_loop *l) {
  uint32_t room = l->slot_room ? 2 * l->slot_room : 64;
  size_t size = sizeof *l->slot;
  void *at = peri_realloc(l, l->slot, l->slot_room * size, room * size);
  if (!at) return -1;
  l->slot = at;
  l->slot_room = room;
  return 0;
}

/* Adds a slot to the table and chains it; may raise. */
static void add_slot(lua_State *L, peri_loop *l) {
  uint32_t slot = l->slots + 1;
  if (slot >= l->slot_room && grow_slots(l))
    luaL_error(L, "not enough memory");
  peri_stash_push(l, L, PERI_STASH_TASKS);
  lua_pushboolean(L, 0);
  lua_rawseti(L, -2, slot);
  lua_pop(L, 1);
  l->slot[slot].next = 0;
  l->free_slot = l->slots = slot;
}

/* Makes a coroutine. A finalizer that runs meanwhile may spawn, and take the
** slot that was free. */
static lua_State *new_coroutine(lua_State *L, peri_loop *l) {
  lua_State *co = lua_newthread(L);
  if (!l->free_slot) add_slot(L, l);
  return co;
}

lua_State *peri_slot_coroutine(lua_State *L, peri_loop *l, int idx) {
  if (!l->free_slot) add_slot(L, l);
  lua_rawgeti(l->stash, PERI_STASH_TASKS, l->free_slot);
  lua_State *co = lua_tothread(l->stash, -1);
  if (co) {
    lua_xmove(l->stash, L, 1);
  } else {
    lua_pop(l->stash, 1);
    co = new_coroutine(L, l);
  }
  lua_setiuservalue(L, idx, 1);
  return co;
}

/* The key exists, so this allocates nothing. */
void peri_slot_take(peri_loop *l, peri_task *t) {
  uint32_t slot = t->out.slot = l->free_slot;
  l->free_slot = l->slot[slot].next;
  l->slot[slot].logical = l->slot[slot].own = 0;
  lua_rawseti(l->stash, PERI_STASH_TASKS, slot);
}

/* Pushes on the stash what the task leaves in its slot: its coroutine, if
** that has returned, for it can run another function then. */
static void push_idle(peri_loop *l, lua_State *co) {
  if (!co) {
    lua_pushboolean(l->stash, 0);
    return;
  }
  lua_settop(co, 0);
  if (lua_gethook(co)) lua_sethook(co, NULL, 0, 0);
  lua_pushthread(co);
  lua_xmove(co, l->stash, 1);
}

void peri_slot_free(peri_loop *l, peri_task *t, lua_State *idle) {
  uint32_t slot = t->out.slot;
  l->slot[slot].own = 0;
  if (t->out.flags & PERI_LOST) return;
  push_idle(l, idle);
  lua_rawseti(l->stash, PERI_STASH_TASKS, slot);
  l->slot[slot].next = l->free_slot;
  l->free_slot = slot;
  t->out.slot = 0;
}

/* {== Context ========================================================== */

void peri_slot_own(peri_loop *l, const peri_task *t, peri_logical *g) {
  l->slot[t->out.slot].own = peri_logical_index(peri_logical_retain(g));
  peri_logical_enter(g);
}

/* A frame without one is of a task that begins one: others have captured
** theirs. */
peri_logical *peri_task_logical(lua_State *L, peri_loop *l) {
  if (peri_frame_foreign(l)) return l->origin;
  if (l->frame.logical) return l->frame.logical;
  peri_task *t = l->current;
  peri_logical *g = t == l->root ? l->origin : peri_task_own(l, t);
  if (g) return l->frame.logical = peri_logical_retain(g);
  g = peri_logical_new(L, l);
  peri_slot_own(l, t, g);
  return l->frame.logical = g;
}

const peri_owner *peri_task_run(const peri_loop *l) {
  peri_scope *s = &l->current->scope;
  while (s->parent) s = s->parent;
  if (s->kind != PERI_SCOPE_OWNER) return l->background;
  return PERI_OF(s, peri_owner, scope);
}

void peri_task_forget(peri_loop *l, peri_task *t) {
  peri_frame f = peri_task_frame(l, t);
  peri_logical_release(l, peri_task_own(l, t));
  peri_frame_release(l, &f);
  peri_task_rest(l, t, f);
}

/* }===================================================================== */

/* Called after each cycle of the collector: lets go of half of the idle
** coroutines, if there are many. */
static void trim(peri_loop *l) {
  lua_State *S = l->stash;
  uint32_t n = 0;
  for (uint32_t slot = l->free_slot; slot; slot = l->slot[slot].next) {
    int idle = lua_rawgeti(S, PERI_STASH_TASKS, slot) == LUA_TTHREAD;
    lua_pop(S, 1);
    if (!idle || n++ < POOL_KEPT || n % 2) continue;
    lua_pushboolean(S, 0);
    lua_rawseti(S, PERI_STASH_TASKS, slot);
  }
}

/* __gc of an object that nobody holds: makes the next one. */
static int on_cycle(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  if (l->closing || l->dead) return 0;
  trim(l);
  lua_newuserdatauv(L, 1, 0);
  lua_getmetatable(L, 1);
  lua_setmetatable(L, -2);
  return 0;
}

void peri_slot_open(lua_State *L, peri_loop *l) {
  lua_newuserdatauv(L, 1, 0);
  lua_createtable(L, 0, 1);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  lua_pushcclosure(L, on_cycle, 1);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_pop(L, 1);
}

void peri_task_push(lua_State *L, peri_loop *l, const peri_task *t) {
  lua_rawgeti(l->stash, PERI_STASH_TASKS, t->out.slot);
  lua_xmove(l->stash, L, 1);
}

peri_task *peri_task_check(lua_State *L, peri_loop *l, int idx) {
  peri_outcome *o = peri_outcome_test(L, l, idx);
  if (!o || o->kind != PERI_TASK) luaL_typeerror(L, idx, "task");
  return (peri_task *)(void *)o;
}

void peri_task_release(peri_loop *l, peri_task *t) {
  if (!t->out.slot) return;
  peri_task_forget(l, t);
  peri_slot_free(l, t, NULL);
}
