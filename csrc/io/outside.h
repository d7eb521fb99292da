/*
** outside.h - what the two pollers on libuv share.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_OUTSIDE_H
#define PERI_OUTSIDE_H

#include <stdatomic.h>
#include <uv.h>

#include "poller.h"

#define NS_PER_MS 1000000u
#define UNARMED UINT64_MAX

/* `due` is when `timer` fires, in uv's milliseconds, or UNARMED. */
typedef struct peri_outside {
  uv_loop_t *uv;       /* `made`, or a host's */
  uv_loop_t made;
  uv_timer_t timer;
  uv_idle_t guard;
  uv_async_t bell;
  uint64_t due;
  volatile char *mark; /* not 0 in the process that made it; or NULL */
  uv_pid_t pid;        /* of that process */
  peri_loop *loop;
  const peri_handles *handles; /* NULL once they are swept */
  peri_link attending; /* peri_attention */
  atomic_int rung;     /* the bell has not been heard since */
  unsigned driven;     /* drives that have begun and not ended */
  unsigned muted : 1;  /* SIGPIPE is ignored because of them */
  unsigned own : 1;    /* (in a forked child) uv has a backend of its own */
  unsigned closed : 1; /* uv has let go of the loop */
  peri_loop rest;      /* stands for the loop once that has ended */
} peri_outside;

/* Makes the three handles and sets the rest: 0, or a uv status. Only the bell
** can fail, and on a uv loop that has one already it cannot. */
int peri_outside_init(peri_loop *l, peri_outside *p, uv_loop_t *uv);

/* Tells those who attend. */
void peri_outside_look(peri_outside *p);

/* Has the timer fire in `timeout` nanoseconds, rounded up, and start the guard
** then. */
void peri_outside_arm(peri_outside *p, int64_t timeout);

/* SIGPIPE is as it was before the first drive. */
void peri_outside_end_drives(peri_outside *p);
void peri_outside_free_mark(peri_outside *p);

/* What is found in place of a loop that has ended, by callbacks that come
** later and whoever closes it: nothing is made in it, and nobody waits. */
peri_loop *peri_outside_rest(const peri_loop *l, peri_outside *p,
                             const peri_poller *poller);

/* Functions of both pollers. */
uint64_t peri_outside_now(void);
void peri_outside_wakeup(peri_loop *l);
int peri_outside_forked(peri_loop *l);
void peri_outside_drive(peri_loop *l, int begins);

/* attach.c: makes the poller on the uv loop `l->attached`: 0, or a uv status. */
int peri_attach(peri_loop *l);

#endif
