/*
** request.c - life of one-shot requests.
**
** A request is its waiter's until it is dropped; then it frees itself, in
** peri_request_done if uv has yet to call back.
**
** SPDX-License-Identifier: MIT
*/
#include "request.h"

#include <string.h>

void *peri_request_new(peri_loop *l, size_t size,
                       void (*dispose)(peri_loop *, peri_request *)) {
  peri_io *io = peri_io_of(l);
  peri_request *r = peri_alloc(l, size);
  if (!r) return NULL;
  memset(r, 0, size);
  peri_link_init(&r->link);
  peri_list_append(&io->requests, &r->link);
  io->nrequests++;
  r->loop = l;
  r->size = size;
  r->dispose = dispose;
  return r;
}

static void free_request(peri_request *r) {
  peri_loop *l = r->loop;
  peri_link_out(&r->link);
  peri_io_of(l)->nrequests--;
  if (r->dispose) r->dispose(l, r);
  peri_free(l, r, r->size);
}

void peri_request_done(peri_request *r, int status) {
  peri_task *t = r->task;
  r->pending = 0;
  r->status = status;
  r->task = NULL;
  if (r->dropped)
    free_request(r);
  else if (t)
    peri_task_wake(r->loop, t);
}

void peri_request_drop(peri_request *r) {
  r->task = NULL;
  if (r->pending)
    r->dropped = 1;
  else
    free_request(r);
}

void peri_request_end(peri_loop *l) {
  peri_io *io = peri_io_of(l);
  peri_link *next = io->requests.next;
  for (peri_link *k = next; k != &io->requests; k = next) {
    next = k->next;
    peri_request_drop(PERI_OF(k, peri_request, link));
  }
}

void peri_request_leave(peri_loop *l, peri_loop *rest) {
  peri_io *io = peri_io_of(l);
  for (peri_link *k = io->requests.next; k != &io->requests; k = k->next) {
    peri_request *r = PERI_OF(k, peri_request, link);
    if (r->dispose) r->dispose(l, r);
    r->dispose = NULL;
    r->loop = rest;
  }
}
