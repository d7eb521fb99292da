/*
** heap.h - the timer heap: an array of (time, timer), smallest first.
**
** Room is reserved when a timer is made, so that arming it can neither
** allocate nor fail. It is reserved in the heap of the loop, and those of
** other clocks are made as large: so a timer may be armed in any of them.
** Timers of equal time come out in the order in which they were armed.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_HEAP_H
#define PERI_HEAP_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

typedef struct peri_loop peri_loop;
typedef struct peri_timer peri_timer;

#define PERI_TIMER_IDLE UINT32_MAX /* index of a timer that is not armed */

/* `fire` is called in C, by the turn, before any task runs. It must not
** raise and may arm, disarm or free timers, itself among them. */
struct peri_timer {
  void (*fire)(peri_loop *l, peri_timer *t);
  uint32_t index; /* place in the heap, or PERI_TIMER_IDLE */
  uint32_t seq;   /* order of arming, compared modulo 2^32 */
};

typedef struct peri_heap_entry {
  uint64_t when; /* nanoseconds of its clock */
  peri_timer *timer;
} peri_heap_entry;

typedef struct peri_heap {
  peri_heap_entry *at;
  uint32_t count, reserved, capacity;
  uint32_t seq;
} peri_heap;

/* Makes room for one more timer in `h`, the loop's, and in those of all other
** clocks: 0, or -1 when out of memory. */
int peri_heap_reserve(peri_loop *l, peri_heap *h);

/* Makes room in the heap of a new clock for all timers that there may be. */
int peri_heap_match(peri_loop *l, peri_heap *h);

/* Gives up the room of one timer, which must not be armed. */
static inline void peri_heap_unreserve(peri_heap *h) {
  assert(h->reserved > h->count);
  h->reserved--;
}

/* Arms `t` for `when`; it must not be armed, and its room be reserved. */
void peri_heap_add(peri_heap *h, peri_timer *t, uint64_t when);

/* Disarms `t`; nothing happens if it is not armed. */
void peri_heap_remove(peri_heap *h, peri_timer *t);

/* Frees the array. */
void peri_heap_free(peri_loop *l, peri_heap *h);

static inline void peri_timer_init(
  peri_timer *t, void (*fire)(peri_loop *, peri_timer *)) {
  t->fire = fire;
  t->index = PERI_TIMER_IDLE;
  t->seq = 0;
}

static inline int peri_timer_armed(const peri_timer *t) {
  return t->index != PERI_TIMER_IDLE;
}

/* When an armed timer is due. */
static inline uint64_t peri_timer_when(const peri_heap *h,
                                       const peri_timer *t) {
  return h->at[t->index].when;
}

#endif
