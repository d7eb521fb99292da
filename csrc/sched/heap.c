/*
** heap.c - the timer heap, in one array.
**
** Owns the array, freed by peri_heap_free. The timers belong to whoever
** embeds them; each knows its place, so that removal needs no search.
**
** SPDX-License-Identifier: MIT
*/
#include "heap.h"

#include <assert.h>

#include "loop.h"

/* Siblings are neighbours in memory: with four of them the heap is half as
** deep, and moving a timer writes to half as many others. */
#define CHILDREN 4

static int before(const peri_heap_entry *a, const peri_heap_entry *b) {
  if (a->when != b->when) return a->when < b->when;
  return (int32_t)(a->timer->seq - b->timer->seq) < 0;
}

static void place(peri_heap *h, uint32_t i, peri_heap_entry e) {
  h->at[i] = e;
  e.timer->index = i;
}

static void sift_up(peri_heap *h, uint32_t i, peri_heap_entry e) {
  while (i > 0) {
    uint32_t up = (i - 1) / CHILDREN;
    if (!before(&e, &h->at[up])) break;
    place(h, i, h->at[up]);
    i = up;
  }
  place(h, i, e);
}

/* The smallest child of `i`, which has at least one. */
static uint32_t smallest_child(const peri_heap *h, uint32_t i) {
  uint32_t c = CHILDREN * i + 1, best = c;
  uint32_t end = h->count - c < CHILDREN ? h->count : c + CHILDREN;
  while (++c < end)
    if (before(&h->at[c], &h->at[best])) best = c;
  return best;
}

static void sift_down(peri_heap *h, uint32_t i, peri_heap_entry e) {
  while (CHILDREN * i + 1 < h->count) {
    uint32_t c = smallest_child(h, i);
    if (!before(&h->at[c], &e)) break;
    place(h, i, h->at[c]);
    i = c;
  }
  place(h, i, e);
}

static int grow(peri_loop *l, peri_heap *h, uint32_t room) {
  size_t size = sizeof *h->at;
  if (h->capacity >= room) return 0;
  void *at = peri_realloc(l, h->at, h->capacity * size, room * size);
  if (!at) return -1;
  h->at = at;
  h->capacity = room;
  return 0;
}

/* That of the loop comes last: the others are never smaller. */
static int grow_all(peri_loop *l, peri_heap *h) {
  uint32_t room = h->capacity ? 2 * h->capacity : 16;
  for (uint32_t i = 1; i < l->clock_count; i++)
    if (grow(l, &l->clocks[i]->timers, room)) return -1;
  return grow(l, h, room);
}

int peri_heap_match(peri_loop *l, peri_heap *h) {
  return grow(l, h, l->timers.capacity);
}

int peri_heap_reserve(peri_loop *l, peri_heap *h) {
  if (l->dead || (h->reserved == h->capacity && grow_all(l, h))) return -1;
  h->reserved++;
  return 0;
}

void peri_heap_add(peri_heap *h, peri_timer *t, uint64_t when) {
  peri_heap_entry e = {when, t};
  assert(!peri_timer_armed(t) && h->count < h->capacity);
  t->seq = h->seq++;
  sift_up(h, h->count++, e);
}

void peri_heap_remove(peri_heap *h, peri_timer *t) {
  uint32_t i = t->index;
  if (i == PERI_TIMER_IDLE) return;
  t->index = PERI_TIMER_IDLE;
  peri_heap_entry last = h->at[--h->count];
  if (last.timer == t) return;
  if (i > 0 && before(&last, &h->at[(i - 1) / CHILDREN]))
    sift_up(h, i, last);
  else
    sift_down(h, i, last);
}

void peri_heap_free(peri_loop *l, peri_heap *h) {
  peri_realloc(l, h->at, h->capacity * sizeof *h->at, 0);
  h->at = NULL;
  h->count = h->capacity = 0;
}
