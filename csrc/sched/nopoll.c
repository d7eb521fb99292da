/*
** nopoll.c - a poller for builds without an outside: it only sleeps.
**
** With it the scheduler, its timers, groups and channels work on platforms
** where there is nothing to poll. Owns nothing.
**
** SPDX-License-Identifier: MIT
*/
#include "nopoll.h"

#include <errno.h>
#include <time.h>

#define SECOND 1000000000

uint64_t peri_nopoll_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static void poll(peri_loop *l, int64_t timeout) {
  struct timespec t = {(time_t)(timeout / SECOND), (long)(timeout % SECOND)};
  (void)l;
  if (timeout <= 0) return;
  while (nanosleep(&t, &t) && errno == EINTR) continue;
}

static int none(peri_loop *l) {
  (void)l;
  return 0;
}

static int no_fd(peri_loop *l) {
  (void)l;
  return -1;
}

static void nothing(peri_loop *l) {
  (void)l;
}

static peri_loop *close_nothing(peri_loop *l, int reap) {
  (void)l;
  (void)reap;
  return NULL;
}

static void drive(peri_loop *l, int begins) {
  (void)l;
  (void)begins;
}

void peri_nopoll_open(peri_loop *l) {
  static const peri_poller poller = {
    .now = peri_nopoll_now, .poll = poll, .alive = none, .wakeup = nothing,
    .forked = none, .drive = drive, .fd = no_fd, .due = none,
    .ring = nothing, .closing = none, .close = close_nothing};
  l->poller = &poller;
}
