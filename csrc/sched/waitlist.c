/*
** waitlist.c - waiters in a row.
**
** SPDX-License-Identifier: MIT
*/
#include "waitlist.h"

peri_runnable *peri_waitlist_wake(peri_loop *l, peri_waitlist *w) {
  peri_runnable *r = peri_waitlist_first(w);
  if (!r) return NULL;
  peri_waitlist_remove(w, r);
  l->wake(l, r);
  return r;
}

int peri_waitlist_wake_all(peri_loop *l, peri_waitlist *w) {
  int n = 0;
  while (peri_waitlist_wake(l, w)) n++;
  return n;
}
