/*
** emit.c - frames, and signals that a program gives to its scripts.
**
** Lua side: aio.next_frame; signal: wait, emit.
**
** Who waits for the next frame is in one list of the loop's. When it begins,
** that list is put behind the ready list as it is, without looking at the
** tasks: they are in the phase PERI_ARMED still. Which of the two lists a task
** is in is told by the count of frames that it has noted.
**
** A signal is a userdata, which the loop's table of signals keeps under its
** name until the Lua state is closed.
**
** SPDX-License-Identifier: MIT
*/
#include "emit.h"

#include "error.h"
#include "hand.h"
#include "type.h"

static const char signal_type[] = "perilune.signal";

/* {== Frames =========================================================== */

/* One that is ready keeps what it has waited for, also when it is cancelled
** before it runs; only force takes it out of the list. */
static int frame_abort(peri_loop *l, peri_task *t, int why) {
  uint32_t noted = (uint32_t)(uintptr_t)t->on;
  if (noted != l->frame_count && why != PERI_STARVED) return 0;
  peri_link_out(&t->run.link);
  return 1;
}

static const peri_wait framing = {"next frame", frame_abort,
                                  peri_task_true_k};
static const peri_wait passing = {"next frame", NULL, peri_task_true_k};

/* aio.next_frame() -> true. Waits for the next step of the host, in which it
** comes before what polls and timers bring; where the library drives itself,
** for the next turn, as aio.yield does. */
static int next_frame(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_task *t = peri_wait_enter(L, l);
  if (!l->hosted) return peri_task_requeue(L, l, &passing, 0);
  peri_list_append(&l->frames, &t->run.link);
  return peri_task_park(L, l, &framing, (void *)(uintptr_t)l->frame_count,
                        0);
}

/* }===================================================================== */

/* {== Signals ========================================================== */

static peri_emitter *check_signal(lua_State *L) {
  return peri_type_check(L, 1, signal_type, sizeof(peri_emitter));
}

static void new_signal(lua_State *L, const char *name) {
  peri_emitter *s = lua_newuserdatauv(L, sizeof *s, 1);
  s->type = signal_type;
  s->waiters.first = NULL;
  luaL_setmetatable(L, signal_type);
  lua_pushstring(L, name);
  lua_setiuservalue(L, -2, 1);
}

/* Making one may run finalizers, which may ask for the same. */
peri_emitter *peri_emitter_push(lua_State *L, peri_loop *l, const char *name) {
  int table = lua_gettop(L) + 1;
  peri_error_room(L, 6);
  peri_stash_push(l, L, PERI_STASH_SIGNALS);
  if (lua_getfield(L, table, name) == LUA_TNIL) {
    new_signal(L, name);
    lua_getiuservalue(L, -1, 1);
    lua_pushvalue(L, -1);
    if (lua_rawget(L, table) == LUA_TNIL) {
      lua_pop(L, 1);
      lua_pushvalue(L, -2);
      lua_rawset(L, table);
    }
  }
  lua_replace(L, table);
  lua_settop(L, table);
  return lua_touserdata(L, table);
}

static int signal_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  int n = peri_task_given(L, PERI_LOOP(L), 1);
  if (n) return n;
  lua_pushboolean(L, 1);
  return 1;
}

static const peri_wait waiting = {"signal", peri_task_unlist, signal_k};

/* signal:wait() -> the values it is emitted with; true if there are none.
** Waits for the next time: what was before is not kept. */
static int signal_wait(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_emitter *s = check_signal(L);
  lua_settop(L, 1);
  peri_task_keep(L, l, 2); /* may run finalizers: before entering */
  peri_wait_enter(L, l);
  return peri_task_park_in(L, l, &waiting, &s->waiters);
}

/* Gives the values from `first` on, which for the main chunk are packed. */
static void serve(lua_State *L, peri_loop *l, peri_task *t, int first,
                  int n) {
  if (t == l->root) {
    lua_pushvalue(L, first + n);
    peri_task_give(L, l, t, 1);
    return;
  }
  for (int i = 0; i < n; i++) lua_pushvalue(L, first + i);
  if (n) peri_task_give(L, l, t, n);
}

/* The main chunk alone needs memory for what it is given: pushes that, or
** nil if it does not wait here. */
static void pack_for_root(lua_State *L, peri_loop *l, const peri_emitter *s,
                          int first, int n) {
  int waits = l->root->out.phase == PERI_ARMED && l->root->on == &s->waiters;
  lua_pushnil(L);
  if (!waits) return;
  for (int i = 0; i < n; i++) lua_pushvalue(L, first + i);
  peri_task_pack(L, l, l->root, n);
  lua_replace(L, first + n);
  lua_settop(L, first + n);
}

int peri_emitter_send(lua_State *L, peri_loop *l, peri_emitter *s, int n) {
  int first = lua_gettop(L) - n + 1, woken = 0;
  peri_task *t;
  peri_error_room(L, 2 * n + 4);
  pack_for_root(L, l, s, first, n);
  while ((t = peri_task_first(l, &s->waiters))) {
    serve(L, l, t, first, n);
    peri_waitlist_wake(l, &s->waiters);
    woken++;
  }
  lua_settop(L, first + n - 1);
  return woken;
}

/* signal:emit(...) -> how many tasks it wakes: all that wait for it now, in
** order, each with these values, 16 at most. They run in the next turn. Never
** waits. */
static int signal_emit(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_emitter *s = check_signal(L);
  int n = lua_gettop(L) - 1;
  if (n > PERI_EMIT_VALUES)
    luaL_argerror(L, PERI_EMIT_VALUES + 2, "too many values");
  lua_pushinteger(L, peri_emitter_send(L, l, s, n));
  return 1;
}

static int signal_tostring(lua_State *L) {
  check_signal(L);
  lua_getiuservalue(L, 1, 1);
  lua_pushfstring(L, "signal (%s)", lua_tostring(L, -1));
  return 1;
}

/* aio.signal(name) -> signal. The one of this name, the same for all who ask,
** in C as well; it lives as long as the loop. Signals of the system are
** another thing: aio.signals. Never waits. */
static int get_signal(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  peri_emitter_push(L, PERI_LOOP(L), name);
  return 1;
}

/* }===================================================================== */

static const luaL_Reg methods[] = {
  {"wait", signal_wait}, {"emit", signal_emit},
  {"__tostring", signal_tostring}, {NULL, NULL}};

void peri_emit_open(lua_State *L, peri_loop *l) {
  static const luaL_Reg functions[] = {
    {"signal", get_signal}, {"next_frame", next_frame}, {NULL, NULL}};
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, functions, 1);
  luaL_newmetatable(L, signal_type);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, methods, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  lua_newtable(L);
  peri_stash_set(l, L, PERI_STASH_SIGNALS);
}
