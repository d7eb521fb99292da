/*
** clock.h - clocks that are moved by hand, for time that can be paused.
**
** Clocks are told by numbers, since a scope has room for no more: 0 is the
** loop's own, which is real time; the others have names, live as long as the
** loop, and stand still until somebody moves them. Each has a heap of timers.
** What waits for time goes by the clock of the innermost scope, and keeps the
** number until its timer is disarmed: it says in which heap that is.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_CLOCK_H
#define PERI_CLOCK_H

#include "task.h"

/* The clock of this number, but for the loop's own. None once the loop has
** ended: then no timer is armed. */
static inline peri_clock *peri_clock_at(const peri_loop *l, unsigned clock) {
  return clock < l->clock_count ? l->clocks[clock] : NULL;
}

static inline peri_heap *peri_clock_heap(peri_loop *l, unsigned clock) {
  peri_clock *c = clock ? peri_clock_at(l, clock) : NULL;
  return c ? &c->timers : &l->timers;
}

/* Its time, in nanoseconds; that of the loop is as of this turn. */
static inline uint64_t peri_clock_now(const peri_loop *l, unsigned clock) {
  const peri_clock *c = clock ? peri_clock_at(l, clock) : NULL;
  return c ? c->now : l->now;
}

static inline uint64_t peri_clock_after(const peri_loop *l, unsigned clock,
                                        double seconds) {
  return peri_time_after(peri_clock_now(l, clock), seconds);
}

/* The clock by which those wait that run now. */
static inline unsigned peri_clock_here(const peri_loop *l) {
  return l->current->inner->clock;
}

/* ... which is captured by what runs later. A finalizer runs anywhere: what it
** begins goes by the loop's. */
static inline uint16_t peri_clock_capture(const peri_loop *l) {
  unsigned clock = peri_clock_here(l);
  return clock && !peri_frame_foreign(l) ? (uint16_t)clock : 0;
}

/* Arms `t`, whose room is reserved, by this clock. */
static inline void peri_clock_arm(peri_loop *l, unsigned clock,
                                  peri_timer *t, uint64_t when) {
  peri_heap_add(peri_clock_heap(l, clock), t, when);
  if (clock && when <= peri_clock_now(l, clock)) l->moved = 1;
}

/* Disarms it; nothing happens if it is not armed. */
static inline void peri_clock_disarm(peri_loop *l, unsigned clock,
                                     peri_timer *t) {
  peri_heap_remove(peri_clock_heap(l, clock), t);
}

/* Timers that are armed, by any clock. */
uint32_t peri_clock_timers(const peri_loop *l);

/* Pushes the clock of this name, which is made if there is none; NULL: the
** loop's own. May raise out of memory. */
peri_clock *peri_clock_push(lua_State *L, peri_loop *l, const char *name);

/* Moves a clock on; what is due then becomes ready in the next turn. Returns 0
** if it moves by itself. Never raises. */
int peri_clock_advance(peri_loop *l, peri_clock *c, uint64_t ns);

/* The clock at `idx`, or NULL if that is none. */
peri_clock *peri_clock_test(lua_State *L, int idx);

/* Frees what clocks have in C; at the end of the loop. */
void peri_clock_free_all(peri_loop *l);

/* Sets `clock` and `now` in the table on top. */
void peri_clock_open(lua_State *L, peri_loop *l);

#endif
