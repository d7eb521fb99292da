/*
** ring.c - what a channel holds: entries of one or several values.
**
** Invariants: a place that is not in use holds nil in the first table. The
** ring grows only when each of its places is in use, so that Lua keeps the
** first table as an array, and a place once used needs no memory again.
**
** SPDX-License-Identifier: MIT
*/
#include "ring.h"

#include "error.h"

#define ROOM_FIRST 4

void peri_ring_init(lua_State *L, peri_ring *r, uint32_t capacity) {
  uint32_t room = capacity > 2 ? ROOM_FIRST : capacity;
  *r = (peri_ring){.room = room};
  lua_createtable(L, (int)room, 0);
  lua_setiuservalue(L, -2, 1);
  lua_newtable(L);
  lua_setiuservalue(L, -2, 2);
}

void peri_ring_pack(lua_State *L, int from, int n) {
  peri_error_room(L, 4);
  lua_createtable(L, n, 0);
  for (int i = 1; i <= n; i++) {
    lua_pushvalue(L, from + i - 1);
    lua_rawseti(L, -2, i);
  }
}

void peri_ring_spread(lua_State *L, int n) {
  int tuple = lua_gettop(L);
  if (n == 1) return;
  peri_error_room(L, n + 6);
  for (int i = 1; i <= n; i++) lua_rawgeti(L, tuple, i);
  lua_remove(L, tuple);
}

static uint32_t place(const peri_ring *r, uint32_t i) {
  return ((r->head + i) & (r->room - 1)) + 1;
}

/* The oldest has gone. */
static void advance(peri_ring *r) {
  r->head = place(r, 1) - 1;
}

/* Sets a field of one of the two tables to the value on top; pops it. */
static void set_at(lua_State *L, int at, int table, uint32_t i) {
  lua_getiuservalue(L, at, table);
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, i);
  lua_pop(L, 2);
}

/* Writes the entry on top, of `n` values, into a place; pops it. May raise
** before anything changed in a place that is in use. */
static void store(lua_State *L, peri_ring *r, int at, uint32_t i, int n) {
  peri_error_room(L, 4);
  if (n != 1) r->tuples = 1;
  if (r->tuples) {
    if (n == 1)
      lua_pushnil(L);
    else
      lua_pushinteger(L, n);
    set_at(L, at, 2, i);
  }
  set_at(L, at, 1, i);
}

/* Copies the entries that begin the ring to behind its end, or clears them
** once they are not needed there. */
static void shift(lua_State *L, const peri_ring *r, int at, int clear) {
  for (int table = 1 + r->tuples; table; table--) {
    lua_getiuservalue(L, at, table);
    for (uint32_t i = 1; i <= r->head; i++) {
      if (clear)
        lua_pushnil(L);
      else
        lua_rawgeti(L, -1, i);
      lua_rawseti(L, -2, clear ? i : r->room + i);
    }
    lua_pop(L, 1);
  }
}

/* Makes the ring twice as large. May raise before anything changed. */
static void grow(lua_State *L, peri_ring *r, int at) {
  peri_error_room(L, 3);
  shift(L, r, at, 0);
  shift(L, r, at, 1);
  r->room *= 2;
}

void peri_ring_add(lua_State *L, peri_ring *r, int at, int n) {
  if (r->count == r->room) grow(L, r, at);
  store(L, r, at, place(r, r->count), n);
  r->count++;
}

static int length_of(lua_State *L, const peri_ring *r, int at, uint32_t i) {
  if (!r->tuples) return 1;
  lua_getiuservalue(L, at, 2);
  int n = lua_rawgeti(L, -1, i) == LUA_TNIL ? 1 : (int)lua_tointeger(L, -1);
  lua_pop(L, 2);
  return n;
}

/* Pushes the oldest values, which stay; returns how many. May raise. */
static int oldest(lua_State *L, const peri_ring *r, int at) {
  uint32_t i = place(r, 0);
  peri_error_room(L, 6);
  int n = length_of(L, r, at, i);
  lua_getiuservalue(L, at, 1);
  lua_rawgeti(L, -1, i);
  lua_replace(L, -2);
  peri_ring_spread(L, n);
  return n;
}

/* Pushes a field of one of the two tables, and clears it. */
static void pull_at(lua_State *L, int at, int table, uint32_t i) {
  lua_getiuservalue(L, at, table);
  lua_rawgeti(L, -1, i);
  lua_pushnil(L); /* the key exists, so this allocates nothing */
  lua_rawseti(L, -3, i);
  lua_replace(L, -2);
}

int peri_ring_take(lua_State *L, peri_ring *r, int at) {
  uint32_t i = place(r, 0);
  peri_error_room(L, 6);
  int n = length_of(L, r, at, i);
  if (n != 1) {
    peri_error_room(L, n + 6);
    pull_at(L, at, 2, i);
    lua_pop(L, 1);
  }
  pull_at(L, at, 1, i);
  advance(r);
  r->count--;
  peri_ring_spread(L, n);
  return n;
}

/* Clears the oldest entry, which is not needed any more. */
static void drop(lua_State *L, peri_ring *r, int at) {
  uint32_t i = place(r, 0);
  for (int table = 1 + r->tuples; table; table--) {
    pull_at(L, at, table, i);
    lua_pop(L, 1);
  }
}

int peri_ring_exchange(lua_State *L, peri_ring *r, int at, int n) {
  int entry = lua_gettop(L), got = oldest(L, r, at);
  peri_error_room(L, 4);
  lua_pushvalue(L, entry);
  store(L, r, at, place(r, r->count), n);
  if (r->count < r->room) drop(L, r, at);
  advance(r);
  lua_remove(L, entry);
  return got;
}
