/*
** hold.c - work in threads that takes as long as a case wants.
**
** rename(2) and getaddrinfo(3) are ours: libuv calls them in threads, and
** there they stay until they are let go. So a case knows that such work is
** under way, and when it has ended, whatever the machine is busy with.
**
** SPDX-License-Identifier: MIT
*/
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>

#include "test.h"

#define HANGS "hang.invalid" /* the name that is not found before that */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int holding, inside;
static unsigned generation;

static void stay(void) {
  pthread_mutex_lock(&lock);
  unsigned of = generation;
  inside += holding;
  pthread_cond_broadcast(&changed);
  while (holding && of == generation) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
}

int rename(const char *from, const char *to) {
  stay();
  return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

typedef int lookup(const char *, const char *, const struct addrinfo *,
                   struct addrinfo **);

int getaddrinfo(const char *node, const char *service,
                const struct addrinfo *hints, struct addrinfo **found) {
  lookup *next;
  if (node && !strcmp(node, HANGS)) {
    stay();
    return EAI_NONAME;
  }
  *(void **)&next = dlsym(RTLD_NEXT, "getaddrinfo");
  return next(node, service, hints, found);
}

void hold_begin(void) {
  pthread_mutex_lock(&lock);
  holding = 1;
  inside = 0;
  pthread_mutex_unlock(&lock);
}

/* Begins one more, and waits until it is there. */
static void begin(world *w, const char *code) {
  pthread_mutex_lock(&lock);
  int wanted = inside + 1;
  pthread_mutex_unlock(&lock);
  world_do(w, code);
  perilune_step(w->p, NULL, NULL);
  pthread_mutex_lock(&lock);
  while (inside < wanted) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
}

void hold_job(world *w) {
  begin(w, "aio.spawn(aio.fs.rename, '/nowhere/a', '/nowhere/b')");
}

void hold_lookup(world *w) {
  begin(w, "aio.spawn(aio.dns.resolve, '" HANGS "')");
}

void hold_end(void) {
  pthread_mutex_lock(&lock);
  holding = 0;
  generation++;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
}
