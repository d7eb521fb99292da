/*
** event.c - an event: a flag that tasks can wait for.
**
** Lua side: event: set, clear, is_set, wait.
**
** SPDX-License-Identifier: MIT
*/
#include "channel.h"
#include "type.h"

static const char event_type[] = "perilune.event";

typedef struct event {
  const char *type;
  peri_waitlist waiters;
  int set;
} event;

static event *check_event(lua_State *L) {
  return peri_type_check(L, 1, event_type, sizeof(event));
}

static const peri_wait waiting = {"event", peri_task_unlist,
                                  peri_task_true_k};

/* event:wait() -> true once the event is set. Waits. */
static int event_wait(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  event *e = check_event(L);
  peri_wait_enter(L, l);
  lua_settop(L, 1);
  if (e->set) {
    lua_pushboolean(L, 1);
    return peri_task_done(L, l, 1);
  }
  return peri_task_park_in(L, l, &waiting, &e->waiters);
}

/* event:set() -> event. Wakes all that wait, in order; never waits. */
static int event_set(lua_State *L) {
  event *e = check_event(L);
  e->set = 1;
  peri_waitlist_wake_all(PERI_LOOP(L), &e->waiters);
  lua_settop(L, 1);
  return 1;
}

/* event:clear() -> event. Never waits. */
static int event_clear(lua_State *L) {
  check_event(L)->set = 0;
  lua_settop(L, 1);
  return 1;
}

/* event:is_set() -> true or false. Never waits. */
static int event_is_set(lua_State *L) {
  lua_pushboolean(L, check_event(L)->set);
  return 1;
}

/* aio.event() -> an event that is not set. Never waits. */
static int new_event(lua_State *L) {
  event *e = lua_newuserdatauv(L, sizeof *e, 0);
  e->type = event_type;
  e->waiters.first = NULL;
  e->set = 0;
  luaL_setmetatable(L, event_type);
  return 1;
}

void peri_event_open(lua_State *L, peri_loop *l) {
  static const luaL_Reg methods[] = {
    {"set", event_set}, {"clear", event_clear}, {"is_set", event_is_set},
    {"wait", event_wait}, {NULL, NULL}};
  lua_pushcfunction(L, new_event);
  lua_setfield(L, -2, "event");
  luaL_newmetatable(L, event_type);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, methods, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}
