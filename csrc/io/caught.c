/*
** caught.c - what signals did before somebody subscribed to them, or, by
** beginning a process, to SIGCHLD.
**
** Signals belong to the process, and so does this table: the variable below
** lives as long.
**
** SPDX-License-Identifier: MIT
*/
#include "caught.h"

#ifndef _WIN32

#include <pthread.h>

#define SIGNALS 128 /* more than any system has */

static struct {
  pthread_mutex_t lock;
  struct {
    unsigned watchers;       /* uv's, of all loops */
    struct sigaction before; /* while there are any */
  } of[SIGNALS];
} caught = {.lock = PTHREAD_MUTEX_INITIALIZER};

void peri_caught_begin(int signum) {
  pthread_mutex_lock(&caught.lock);
  if (!caught.of[signum].watchers++)
    sigaction(signum, NULL, &caught.of[signum].before);
  pthread_mutex_unlock(&caught.lock);
}

/* If there is something else than SIG_DFL now, somebody has decided
** otherwise. */
void peri_caught_end(int signum) {
  struct sigaction now;
  pthread_mutex_lock(&caught.lock);
  if (!--caught.of[signum].watchers && !sigaction(signum, NULL, &now) &&
      now.sa_handler == SIG_DFL)
    sigaction(signum, &caught.of[signum].before, NULL);
  pthread_mutex_unlock(&caught.lock);
}

int peri_caught_action(int signum, const struct sigaction *set,
                       struct sigaction *get) {
  int status = 0;
  pthread_mutex_lock(&caught.lock);
  if (!caught.of[signum].watchers) {
    status = sigaction(signum, set, get);
  } else {
    struct sigaction was = caught.of[signum].before;
    if (set) caught.of[signum].before = *set;
    if (get) *get = was;
  }
  pthread_mutex_unlock(&caught.lock);
  return status;
}

#else

typedef int peri_caught_unused; /* a file must have something */

#endif
