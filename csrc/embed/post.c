/*
** post.c - what other threads give to a loop, and how they wake its host.
**
** The list of posts is a stack that is pushed to without a lock and taken
** whole; taking turns it around. Nothing is allocated: the nodes are the
** caller's, or part of a future.
**
** SPDX-License-Identifier: MIT
*/
#include "embed.h"

/* {== Waking =========================================================== */

static void ring(perilune_loop *p) {
  atomic_fetch_add(&p->wakes, 1);
  if (atomic_exchange(&p->rung, 1)) return;
  p->loop->poller->ring(p->loop);
  if (p->on_wakeup) p->on_wakeup(p->ud);
}

/* While it returns 1 the loop stays; `leave` must follow. */
static int enter(perilune_loop *p) {
  atomic_fetch_add(&p->users, 1);
  if (!atomic_load(&p->closed)) return 1;
  atomic_fetch_sub(&p->users, 1);
  return 0;
}

static void leave(perilune_loop *p) {
  atomic_fetch_sub(&p->users, 1);
}

void perilune_wake(perilune_loop *p) {
  if (!enter(p)) return;
  ring(p);
  leave(p);
}

/* }===================================================================== */

/* {== Posting ========================================================== */

int peri_embed_post(perilune_loop *p, perilune_job *j) {
  if (!enter(p)) return PERILUNE_ECLOSED;
  j->next = atomic_load(&p->posts);
  while (!atomic_compare_exchange_weak(&p->posts, &j->next, j)) continue;
  ring(p);
  leave(p);
  return PERILUNE_OK;
}

/* Counts one more job, unless there are too many. */
static int count_job(perilune_loop *p) {
  unsigned n = atomic_load(&p->waiting);
  do {
    if (p->max_posts && n >= p->max_posts) return 0;
  } while (!atomic_compare_exchange_weak(&p->waiting, &n, n + 1));
  return 1;
}

int perilune_post(perilune_loop *p, perilune_job *j) {
  if (!j || !j->fn) return PERILUNE_EARG;
  if (!count_job(p)) return PERILUNE_EFULL;
  int rc = peri_embed_post(p, j);
  if (rc && j->drop) j->drop(j);
  return rc;
}

/* }===================================================================== */

/* {== Taking =========================================================== */

/* All that was posted, in order of arrival. */
static perilune_job *take_all(perilune_loop *p) {
  perilune_job *j = atomic_exchange(&p->posts, NULL), *first = NULL;
  while (j) {
    perilune_job *before = j->next;
    j->next = first;
    first = j;
    j = before;
  }
  return first;
}

/* A job may free itself, and post itself again. */
uint32_t peri_embed_take(perilune_loop *p) {
  uint32_t n = 0;
  perilune_job *j = take_all(p), *next;
  for (; j; j = next, n++) {
    next = j->next;
    if (atomic_load(&p->waiting)) atomic_fetch_sub(&p->waiting, 1);
    j->fn(p, j);
  }
  return n;
}

void peri_embed_drop(perilune_loop *p) {
  perilune_job *j = take_all(p), *next;
  for (; j; j = next) {
    next = j->next;
    if (j->drop) j->drop(j);
  }
}

/* }===================================================================== */
