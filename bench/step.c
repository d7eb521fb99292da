/*
** step.c - what a host's frame costs: prints one number.
**
**   step idle N     ns of a step while N tasks sleep
**   step frame N    ms of a step in which N tasks go on to the next frame
**   step emit N     ms of a signal for N tasks, and the step that runs them
**   step spawn N    ns of a task that is spawned and ends
**   step kill N M   ms of ending N sleeping tasks; M: 0 is DROP, 1 CLOSE
**   step post N T   ns of a job that one of T threads posts, of N, by the clock
**   step wake N     us, by the clock, from a thread that settles a future to the
**                   task that awaits it, while the host is in poll(2); the median
**
** SPDX-License-Identifier: MIT
*/
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "perilune.h"

#define STEPS 20000
#define FRAMES 60
#define BATCH 1000

typedef struct world {
  lua_State *L;
  perilune_loop *p;
  perilune_scope *s;
  int n, extra;
} world;

static double time_of(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* CPU time: what else the machine does is not in it. */
static double now(void) {
  return time_of(CLOCK_PROCESS_CPUTIME_ID);
}

static void fail(const char *why) {
  fprintf(stderr, "step: %s\n", why);
  exit(1);
}

static void settle(world *w) {
  while (perilune_step(w->p, NULL, NULL) == PERILUNE_MORE) continue;
}

static void run(world *w, const char *code) {
  if (luaL_dostring(w->L, code)) fail(lua_tostring(w->L, -1));
}

/* Spawns n tasks of the chunk. */
static void spawn(world *w, const char *code, int n) {
  if (luaL_loadstring(w->L, code)) fail(lua_tostring(w->L, -1));
  for (int i = 0; i < n; i++) {
    lua_pushvalue(w->L, -1);
    if (perilune_spawn(w->p, w->s, w->L, 0, NULL)) fail("cannot spawn");
  }
  lua_pop(w->L, 1);
}

static double idle(world *w) {
  spawn(w, "aio.sleep(1e6)", w->n);
  settle(w);
  double begun = now();
  for (int i = 0; i < STEPS; i++) perilune_step(w->p, NULL, NULL);
  return (now() - begun) / STEPS;
}

/* The collector stands still, as games have it do. */
static double least_of_frames(world *w, perilune_signal *s) {
  double least = 1e18;
  lua_gc(w->L, LUA_GCSTOP);
  for (int i = 0; i < FRAMES; i++) {
    double begun = now();
    if (s && perilune_emit(s, w->L, 0) != w->n) fail("not all were woken");
    perilune_step(w->p, NULL, NULL);
    double took = now() - begun;
    if (took < least) least = took;
  }
  return least / 1e6;
}

static double frame(world *w) {
  spawn(w, "local next = aio.next_frame while true do next() end", w->n);
  settle(w);
  return least_of_frames(w, NULL);
}

static double emit(world *w) {
  spawn(w, "local s = aio.signal 's' while true do s:wait() end", w->n);
  settle(w);
  return least_of_frames(w, perilune_signal_new(w->p, "s"));
}

static double spawn_and_finish(world *w) {
  double begun = now();
  for (int i = 0; i < w->n; i += BATCH) {
    spawn(w, "", BATCH);
    perilune_step(w->p, NULL, NULL);
  }
  if (perilune_scope_live(w->s)) fail("some have not ended");
  return (now() - begun) / w->n;
}

static double kill_all(world *w) {
  spawn(w, "aio.sleep(1e6)", w->n);
  settle(w);
  double begun = now();
  if (perilune_scope_kill(w->s, w->extra)) fail("not all were killed");
  return (now() - begun) / 1e6;
}

/* {== Posts ============================================================ */

typedef struct poster {
  pthread_t thread;
  perilune_loop *p;
  perilune_job *jobs;
  int n;
} poster;

static atomic_int arrived;

static void on_post(perilune_loop *p, perilune_job *j) {
  (void)p;
  (void)j;
  atomic_fetch_add_explicit(&arrived, 1, memory_order_relaxed);
}

static void *post_all(void *arg) {
  poster *t = arg;
  for (int i = 0; i < t->n; i++) {
    t->jobs[i].fn = on_post;
    if (perilune_post(t->p, &t->jobs[i])) fail("cannot post");
  }
  return NULL;
}

static double post(world *w) {
  poster *all = calloc((size_t)w->extra, sizeof *all);
  int each = w->n / w->extra;
  for (int i = 0; i < w->extra; i++)
    all[i] = (poster){.p = w->p, .n = each,
                      .jobs = calloc((size_t)each, sizeof(perilune_job))};
  double begun = time_of(CLOCK_MONOTONIC);
  for (int i = 0; i < w->extra; i++)
    pthread_create(&all[i].thread, NULL, post_all, &all[i]);
  while (atomic_load(&arrived) < each * w->extra)
    perilune_step(w->p, NULL, NULL);
  double took = time_of(CLOCK_MONOTONIC) - begun;
  for (int i = 0; i < w->extra; i++) {
    pthread_join(all[i].thread, NULL);
    free(all[i].jobs);
  }
  free(all);
  return took / (each * w->extra);
}

/* }===================================================================== */

/* {== Waking a host that sleeps ======================================== */

typedef struct waker {
  pthread_t thread;
  sem_t asked;
  perilune_future *f;
  double sent; /* when */
  double *took;
  int n, count;
} waker;

static void *settle_all(void *arg) {
  static const struct timespec while_it_falls_asleep = {0, 200000};
  waker *k = arg;
  for (int i = 0; i < k->n; i++) {
    perilune_value none = {0};
    sem_wait(&k->asked);
    nanosleep(&while_it_falls_asleep, NULL);
    k->sent = time_of(CLOCK_MONOTONIC);
    if (perilune_post_value(k->f, &none)) fail("cannot settle");
  }
  return NULL;
}

static int answered_k(lua_State *L, int status, lua_KContext ctx) {
  waker *k = (waker *)ctx;
  (void)L;
  (void)status;
  k->took[k->count++] = time_of(CLOCK_MONOTONIC) - k->sent;
  return 0;
}

/* ask(): awaits what the thread settles. */
static int ask(lua_State *L) {
  waker *k = lua_touserdata(L, lua_upvalueindex(1));
  perilune_future *f;
  if (perilune_future_new(perilune_get(L), &f)) fail("no future");
  k->f = perilune_future_retain(f);
  perilune_future_push(L, f);
  perilune_future_release(f);
  sem_post(&k->asked);
  return perilune_await(L, k->f, answered_k, (lua_KContext)k);
}

static int by_time(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double wake(world *w) {
  waker k = {.n = w->n, .took = calloc((size_t)w->n, sizeof(double))};
  sem_init(&k.asked, 0, 0);
  lua_pushlightuserdata(w->L, &k);
  lua_pushcclosure(w->L, ask, 1);
  lua_setglobal(w->L, "ask");
  pthread_create(&k.thread, NULL, settle_all, &k);
  spawn(w, "while true do ask() end", 1);
  while (k.count < k.n) {
    settle(w);
    struct pollfd fd = {perilune_fd(w->p), POLLIN, 0};
    if (k.count < k.n) poll(&fd, 1, -1);
  }
  pthread_join(k.thread, NULL);
  perilune_future_release(k.f); /* it has asked once more */
  qsort(k.took, (size_t)k.n, sizeof *k.took, by_time);
  double median = k.took[k.n / 2] / 1e3;
  free(k.took);
  return median;
}

/* }===================================================================== */

static const struct {
  const char *name;
  double (*measure)(world *w);
} parts[] = {
  {"idle", idle}, {"frame", frame}, {"emit", emit},
  {"spawn", spawn_and_finish}, {"kill", kill_all}, {"post", post},
  {"wake", wake},
  {NULL, NULL}};

static void open_world(world *w) {
  w->L = luaL_newstate();
  luaL_openlibs(w->L);
  if (perilune_open(w->L, NULL, &w->p)) fail("cannot open a loop");
  if (perilune_scope_new(w->p, NULL, NULL, NULL, &w->s)) fail("no scope");
  run(w, "aio = require 'perilune'");
}

static void close_world(world *w) {
  perilune_scope_release(w->s);
  while (perilune_close(w->p, 0, 0) == PERILUNE_BUSY) continue;
  lua_close(w->L);
}

int main(int argc, char **argv) {
  world w = {NULL, NULL, NULL, argc > 2 ? atoi(argv[2]) : 0,
             argc > 3 ? atoi(argv[3]) : 0};
  for (int i = 0; argc > 1 && parts[i].name; i++) {
    if (strcmp(parts[i].name, argv[1])) continue;
    open_world(&w);
    printf("%.6g\n", parts[i].measure(&w));
    close_world(&w);
    return 0;
  }
  fail("no such part");
}
