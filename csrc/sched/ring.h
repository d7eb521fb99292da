/*
** ring.h - what a channel holds: entries of one or several values.
**
** An entry is one value as it is, or a tuple of several as a table. They are
** in user value 1 of the object that has the ring, the lengths of tuples in
** user value 2. `at` is where that object is on the stack of L.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_RING_H
#define PERI_RING_H

#include <stdint.h>

#include <lua.h>

typedef struct peri_ring {
  uint32_t count;
  uint32_t room; /* how many places: a power of two, or 0 */
  uint32_t head; /* where the oldest is */
  uint8_t tuples; /* user value 2 may have something in it */
} peri_ring;

/* Makes the ring of the object on top, for up to `capacity` entries. */
void peri_ring_init(lua_State *L, peri_ring *r, uint32_t capacity);

/* Pushes a tuple of the `n` values at `from` and above: not for one value,
** which is an entry by itself. May run finalizers. */
void peri_ring_pack(lua_State *L, int from, int n);

/* Replaces the entry on top, of `n` values, by its values. */
void peri_ring_spread(lua_State *L, int n);

/* Adds the entry on top, of `n` values; pops it. May raise before anything
** changed; runs no Lua. */
void peri_ring_add(lua_State *L, peri_ring *r, int at, int n);

/* Pushes the oldest values and takes them out; returns how many. May raise
** before anything changed; runs no Lua. */
int peri_ring_take(lua_State *L, peri_ring *r, int at);

/* Replaces the entry on top, of `n` values, by the oldest values, which are
** taken out, and adds it: for a ring that is as full as it may be. Returns how
** many. May raise before anything changed; runs no Lua. */
int peri_ring_exchange(lua_State *L, peri_ring *r, int at, int n);

#endif
