/*
** request.h - life of one-shot requests: one waiter, one result.
**
** A C struct holds a peri_request and the uv request by value. It lives
** until its result has been taken or, if nobody waits for that any more,
** until uv's callback has disposed of it.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_REQUEST_H
#define PERI_REQUEST_H

#include "handle.h"
#include "sched/task.h"

typedef struct peri_request peri_request;
struct peri_request {
  peri_link link; /* among the loop's requests */
  peri_loop *loop;
  peri_task *task; /* who is parked on it, or NULL */
  size_t size;     /* of the whole struct */
  /* Gives up what the struct owns, its result if any; may be NULL. */
  void (*dispose)(peri_loop *l, peri_request *r);
  int status;           /* of the result: 0 or more, or a uv error */
  unsigned pending : 1; /* uv's callback has yet to come */
  unsigned dropped : 1; /* and nobody will look */
};

/* Makes a zeroed struct of `size` bytes that begins with a peri_request;
** NULL when out of memory. */
void *peri_request_new(peri_loop *l, size_t size,
                       void (*dispose)(peri_loop *, peri_request *));

/* uv has taken it on, and will call back. */
static inline void peri_request_begun(peri_request *r) {
  r->pending = 1;
}

/* Called by uv's callback, as its last act: wakes who waits, or frees. */
void peri_request_done(peri_request *r, int status);

/* Nobody wants the result: frees it, now or in uv's callback. */
void peri_request_drop(peri_request *r);

/* Frees what requests have left at the end: results that nobody took. */
void peri_request_end(peri_loop *l);

/* What uv has yet to call back for afterwards has no result that would need
** the loop `l`: it is `rest`'s. */
void peri_request_leave(peri_loop *l, peri_loop *rest);

#endif
