/*
** clock.c - clocks that are moved by hand.
**
** Lua side: clock: time, advance; aio.now.
**
** A clock is a userdata, which the loop's table of clocks keeps under its name
** until the Lua state is closed: so the array of pointers to them, and all who
** have their number, need not ask whether they are there. The array and the
** heaps are freed at the end of the loop.
**
** SPDX-License-Identifier: MIT
*/
#include "clock.h"

#include <math.h>

#include "error.h"
#include "type.h"

static const char clock_type[] = "perilune.clock";

#define CLOCKS_MAX UINT16_MAX /* as a scope has room for the number of one */
#define NS_MAX (UINT64_MAX / 2)

/* {== Making them ====================================================== */

peri_clock *peri_clock_test(lua_State *L, int idx) {
  return peri_type_test(L, idx, clock_type, sizeof(peri_clock));
}

static peri_clock *check_clock(lua_State *L) {
  return peri_type_check(L, 1, clock_type, sizeof(peri_clock));
}

/* Pushes what the table at `table` has under the name at `name`. */
static peri_clock *push_known(lua_State *L, int table, int name) {
  lua_pushvalue(L, name);
  lua_rawget(L, table);
  return peri_clock_test(L, -1);
}

static peri_clock *new_clock(lua_State *L) {
  peri_clock *c = lua_newuserdatauv(L, sizeof *c, 0);
  *c = (peri_clock){.type = clock_type};
  luaL_setmetatable(L, clock_type);
  return c;
}

/* Room for one more; number 0 is that of no clock. */
static int grow(peri_loop *l) {
  uint32_t n = l->clock_count ? l->clock_count : 1;
  size_t size = sizeof *l->clocks;
  void *at = peri_realloc(l, l->clocks, l->clock_count * size, (n + 1) * size);
  if (!at) return -1;
  l->clocks = at;
  l->clocks[0] = NULL;
  l->clock_count = n;
  return 0;
}

/* Everything that can fail comes before the clock has its number. */
static void adopt(lua_State *L, peri_loop *l, peri_clock *c) {
  if (l->clock_count >= CLOCKS_MAX) luaL_error(L, "too many clocks");
  if (peri_heap_match(l, &c->timers)) luaL_error(L, "not enough memory");
  if (grow(l)) {
    peri_heap_free(l, &c->timers);
    luaL_error(L, "not enough memory");
  }
  c->number = l->clock_count;
  l->clocks[l->clock_count++] = c;
}

/* Making the userdata may run finalizers, which may ask for the same; what
** follows does not, and the place in the table is made first. Stack: table,
** name. */
static peri_clock *make(lua_State *L, peri_loop *l, int table, int name) {
  new_clock(L);
  peri_clock *c = push_known(L, table, name);
  if (c) return c;
  lua_pop(L, 1);
  lua_pushvalue(L, name);
  lua_pushboolean(L, 0);
  lua_rawset(L, table);
  c = peri_clock_test(L, -1);
  c->name = lua_tostring(L, name);
  adopt(L, l, c);
  lua_pushvalue(L, name);
  lua_pushvalue(L, -2);
  lua_rawset(L, table);
  return c;
}

peri_clock *peri_clock_push(lua_State *L, peri_loop *l, const char *name) {
  int table = lua_gettop(L) + 1;
  peri_error_room(L, 8);
  peri_stash_push(l, L, PERI_STASH_CLOCKS);
  if (name)
    lua_pushstring(L, name);
  else
    lua_pushboolean(L, 1); /* the key of the loop's own */
  peri_clock *c = push_known(L, table, table + 1);
  if (!c) c = make(L, l, table, table + 1);
  lua_replace(L, table);
  lua_settop(L, table);
  return c;
}

void peri_clock_free_all(peri_loop *l) {
  uint32_t n = l->clock_count;
  l->clock_count = 0;
  for (uint32_t i = 1; i < n; i++) peri_heap_free(l, &l->clocks[i]->timers);
  peri_realloc(l, l->clocks, n * sizeof *l->clocks, 0);
  l->clocks = NULL;
}

/* }===================================================================== */

uint32_t peri_clock_timers(const peri_loop *l) {
  uint32_t n = l->timers.count;
  for (uint32_t i = 1; i < l->clock_count; i++) n += l->clocks[i]->timers.count;
  return n;
}

static uint64_t later(uint64_t now, uint64_t ns) {
  return ns < NS_MAX - now ? now + ns : NS_MAX;
}

/* The loop's own is moved by a test only. */
int peri_clock_advance(peri_loop *l, peri_clock *c, uint64_t ns) {
  if (!c->number) {
    if (l->manual) l->now = later(l->now, ns);
    return l->manual;
  }
  c->now = later(c->now, ns);
  if (c->timers.count && c->timers.at[0].when <= c->now) l->moved = 1;
  return 1;
}

/* {== Lua side ========================================================= */

/* aio.clock([name]) -> clock. The one of this name, the same for all who ask,
** in C as well; made when it is first asked for, at 0. It stands still but for
** clock:advance, and lives as long as the loop, with room for as many timers
** as there are. Without a name: the loop's own, which is real time. Never
** waits. */
static int get_clock(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  const char *name = luaL_optstring(L, 1, NULL);
  if (l->dead) return peri_error_raise(L, "ECLOSED", "the loop is closed");
  peri_clock_push(L, l, name);
  return 1;
}

/* clock:time() -> its time in seconds. Never waits. */
static int clock_time(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  const peri_clock *c = check_clock(L);
  peri_loop_clock(l);
  lua_pushnumber(L, (lua_Number)(c->number ? c->now : l->now) / 1e9);
  return 1;
}

/* clock:advance(seconds) -> clock. Moves it on: timers that are due then fire
** in the next turn, each once. Raises if it is negative or NaN, and for the
** loop's own clock, unless a test has stopped that. Never waits. */
static int clock_advance(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_clock *c = check_clock(L);
  lua_Number s = luaL_checknumber(L, 2);
  luaL_argcheck(L, s >= 0, 2, "time does not go back");
  if (!peri_clock_advance(l, c, peri_time_after(0, s)))
    return peri_error_raise(L, "EPERM", "the loop's own clock is real time, "
                                        "and cannot be moved");
  lua_settop(L, 1);
  return 1;
}

/* aio.now() -> seconds. The time by which waits go here: of the scope's clock,
** or else the loop's, as loop:time returns it. Never waits. */
static int now(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_loop_clock(l);
  uint64_t ns = peri_clock_now(l, peri_clock_here(l));
  lua_pushnumber(L, (lua_Number)ns / 1e9);
  return 1;
}

static int clock_tostring(lua_State *L) {
  const peri_clock *c = check_clock(L);
  lua_pushfstring(L, "clock (%s)", c->name ? c->name : "the loop's own");
  return 1;
}

static const luaL_Reg methods[] = {
  {"time", clock_time}, {"advance", clock_advance},
  {"__tostring", clock_tostring}, {NULL, NULL}};

/* Anchors the loop's own, which has no name. */
static void open_own(lua_State *L, peri_loop *l) {
  lua_newtable(L);
  new_clock(L);
  lua_pushboolean(L, 1);
  lua_insert(L, -2);
  lua_rawset(L, -3);
  peri_stash_set(l, L, PERI_STASH_CLOCKS);
}

void peri_clock_open(lua_State *L, peri_loop *l) {
  static const luaL_Reg functions[] = {
    {"clock", get_clock}, {"now", now}, {NULL, NULL}};
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, functions, 1);
  luaL_newmetatable(L, clock_type);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, methods, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  open_own(L, l);
}

/* }===================================================================== */
