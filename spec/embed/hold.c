/*
** hold.c - jobs of libuv's pool that take as long as a case wants.
**
** rename(2) is ours: libuv calls it in a thread of its pool, and it stays
** there until it is let go. So a case knows that a job runs, and when it has
** ended, whatever the machine is busy with.
**
** SPDX-License-Identifier: MIT
*/
#include <fcntl.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "test.h"

static sem_t entered, gone_on;
static atomic_int holding;

int rename(const char *from, const char *to) {
  if (atomic_load(&holding)) {
    sem_post(&entered);
    sem_wait(&gone_on);
  }
  return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

void hold_begin(void) {
  sem_init(&entered, 0, 0);
  sem_init(&gone_on, 0, 0);
  atomic_store(&holding, 1);
}

void hold_job(world *w) {
  world_do(w, "aio.spawn(aio.fs.rename, '/nowhere/a', '/nowhere/b')");
  perilune_step(w->p, NULL, NULL);
  sem_wait(&entered);
}

void hold_end(void) {
  atomic_store(&holding, 0);
  sem_post(&gone_on);
}
