/*
** list.h - intrusive, circular, doubly linked list.
**
** A link lives inside the struct it chains, so that putting something into
** a list never allocates and never fails. A link that is in no list points
** to itself; the head of a list is a link as well.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_LIST_H
#define PERI_LIST_H

#include <stddef.h>

typedef struct peri_link {
  struct peri_link *next, *prev;
} peri_link;

/* The struct of type `type` whose member `member` is at `ptr`. */
#define PERI_OF(ptr, type, member) \
  ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

static inline void peri_link_init(peri_link *k) {
  k->next = k->prev = k;
}

/* True for a link in no list, and for the head of an empty list. */
static inline int peri_link_alone(const peri_link *k) {
  return k->next == k;
}

/* Takes `k` out of the list it is in, if any. */
static inline void peri_link_out(peri_link *k) {
  k->prev->next = k->next;
  k->next->prev = k->prev;
  k->next = k->prev = k;
}

/* Puts `k`, which is in no list, at the tail of `head`. */
static inline void peri_list_append(peri_link *head, peri_link *k) {
  k->prev = head->prev;
  k->next = head;
  head->prev->next = k;
  head->prev = k;
}

/* Moves all of `from` to the tail of `to`; `from` is empty afterwards. */
static inline void peri_list_splice(peri_link *to, peri_link *from) {
  if (peri_link_alone(from)) return;
  from->next->prev = to->prev;
  to->prev->next = from->next;
  from->prev->next = to;
  to->prev = from->prev;
  peri_link_init(from);
}

#endif
