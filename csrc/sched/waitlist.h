/*
** waitlist.h - waiters in a row.
**
** A list of runnables (parked tasks, and others that want to run when
** something comes) as small as a pointer. First come, first served.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_WAITLIST_H
#define PERI_WAITLIST_H

#include "loop.h"

typedef struct peri_waitlist {
  peri_link *first; /* the runnables' links form a ring, or NULL */
} peri_waitlist;

static inline int peri_waitlist_empty(const peri_waitlist *w) {
  return !w->first;
}

static inline void peri_waitlist_add(peri_waitlist *w, peri_runnable *r) {
  if (w->first)
    peri_list_append(w->first, &r->link);
  else
    w->first = &r->link;
}

/* Takes `r`, which is in `w`, out of it. */
static inline void peri_waitlist_remove(peri_waitlist *w, peri_runnable *r) {
  if (w->first == &r->link)
    w->first = peri_link_alone(&r->link) ? NULL : r->link.next;
  peri_link_out(&r->link);
}

/* The first waiter, or NULL. */
static inline peri_runnable *peri_waitlist_first(const peri_waitlist *w) {
  return w->first ? PERI_OF(w->first, peri_runnable, link) : NULL;
}

/* Takes out the first waiter and makes it ready; returns it, or NULL. */
peri_runnable *peri_waitlist_wake(peri_loop *l, peri_waitlist *w);

/* Makes all waiters ready, in order; returns how many. */
int peri_waitlist_wake_all(peri_loop *l, peri_waitlist *w);

#endif
