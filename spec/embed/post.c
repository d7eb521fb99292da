/*
** post.c - posting, and settling futures, from any thread.
**
** SPDX-License-Identifier: MIT
*/
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "test.h"

typedef struct note {
  perilune_job job;
  int n;
} note;

static int order[8], noted, dropped;

static void run_note(perilune_loop *p, perilune_job *j) {
  (void)p;
  order[noted++] = ((note *)j)->n;
}

static void drop_note(perilune_job *j) {
  (void)j;
  dropped++;
}

static void jobs_run_in_order(void) {
  world w;
  note notes[3];
  noted = 0;
  world_open(&w);
  for (int i = 0; i < 3; i++) {
    notes[i] = (note){{NULL, run_note, NULL}, i};
    EQUAL(perilune_post(w.p, &notes[i].job), PERILUNE_OK);
  }
  EQUAL(noted, 0);
  world_settle(&w);
  EQUAL(noted, 3);
  CHECK(order[0] == 0 && order[1] == 1 && order[2] == 2);
  world_close(&w);
}

static void jobs_are_dropped_by_close(void) {
  world w;
  note n = {{NULL, run_note, drop_note}, 0};
  noted = dropped = 0;
  world_open(&w);
  EQUAL(perilune_post(w.p, &n.job), PERILUNE_OK);
  world_close(&w);
  CHECK(noted == 0 && dropped == 1);
}

static void jobs_are_dropped_after_lua_close(void) {
  world w;
  note n = {{NULL, run_note, drop_note}, 0};
  noted = dropped = 0;
  world_open(&w);
  lua_close(w.L);
  EQUAL(perilune_post(w.p, &n.job), PERILUNE_ECLOSED);
  EQUAL(perilune_close(w.p, 0, 0), PERILUNE_OK);
  CHECK(noted == 0 && dropped == 1);
}

static void too_many_jobs_are_refused(void) {
  perilune_config c = {.size = sizeof c, .max_posts = 2};
  note a = {{NULL, run_note, NULL}, 0}, b = a, d = a;
  perilune_loop *p;
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  noted = 0;
  EQUAL(perilune_open(L, &c, &p), PERILUNE_OK);
  EQUAL(perilune_post(p, &a.job), PERILUNE_OK);
  EQUAL(perilune_post(p, &b.job), PERILUNE_OK);
  EQUAL(perilune_post(p, &d.job), PERILUNE_EFULL);
  perilune_step(p, NULL, NULL);
  EQUAL(perilune_post(p, &d.job), PERILUNE_OK);
  perilune_step(p, NULL, NULL);
  EQUAL(noted, 3);
  EQUAL(perilune_close(p, 0, 0), PERILUNE_OK);
  lua_close(L);
}

static void post_again(perilune_loop *p, perilune_job *j) {
  if (++noted < 3) perilune_post(p, j);
}

static void a_job_may_post_itself(void) {
  world w;
  note n = {{NULL, post_again, NULL}, 0};
  noted = 0;
  world_open(&w);
  perilune_post(w.p, &n.job);
  perilune_step(w.p, NULL, NULL);
  EQUAL(noted, 1);
  EQUAL(perilune_timeout(w.p), 0);
  perilune_step(w.p, NULL, NULL);
  perilune_step(w.p, NULL, NULL);
  EQUAL(noted, 3);
  world_close(&w);
}

static note while_it_runs = {{NULL, run_note, NULL}, 7};

static int post_it(lua_State *L) {
  EQUAL(perilune_post(perilune_get(L), &while_it_runs.job), PERILUNE_OK);
  return 0;
}

/* The descriptor may have told of it already, in the same step. */
static void a_job_that_comes_during_a_step_is_for_the_next(void) {
  world w;
  noted = 0;
  world_open(&w);
  lua_pushcfunction(w.L, post_it);
  EQUAL(perilune_spawn(w.p, NULL, w.L, 0, NULL), PERILUNE_OK);
  EQUAL(perilune_step(w.p, NULL, NULL), PERILUNE_MORE);
  EQUAL(noted, 0);
  EQUAL(perilune_step(w.p, NULL, NULL), PERILUNE_IDLE);
  CHECK(noted == 1 && order[0] == 7);
  world_close(&w);
}

static void jobs_are_checked(void) {
  world w;
  note n = {{NULL, NULL, NULL}, 0};
  world_open(&w);
  EQUAL(perilune_post(w.p, &n.job), PERILUNE_EARG);
  EQUAL(perilune_post(w.p, NULL), PERILUNE_EARG);
  world_close(&w);
}

#define THREADS 4
#define EACH 2000

static atomic_int ran;

static void count_and_free(perilune_loop *p, perilune_job *j) {
  (void)p;
  atomic_fetch_add(&ran, 1);
  free(j);
}

static void *post_many(void *arg) {
  for (int i = 0; i < EACH; i++) {
    note *n = malloc(sizeof *n);
    *n = (note){{NULL, count_and_free, NULL}, i};
    if (perilune_post(arg, &n->job)) return arg;
  }
  return NULL;
}

static void threads_post_at_once(void) {
  world w;
  pthread_t t[THREADS];
  void *bad;
  world_open(&w);
  atomic_store(&ran, 0);
  for (int i = 0; i < THREADS; i++)
    pthread_create(&t[i], NULL, post_many, w.p);
  while (atomic_load(&ran) < THREADS * EACH) perilune_step(w.p, NULL, NULL);
  for (int i = 0; i < THREADS; i++) {
    pthread_join(t[i], &bad);
    CHECK(!bad);
  }
  world_close(&w);
}

static void *settle_all(void *arg) {
  perilune_future **f = arg;
  for (int i = 0; f[i]; i++) {
    perilune_value v = {.type = PERILUNE_INT, .u = {.i = i}};
    perilune_post_value(f[i], &v);
  }
  return NULL;
}

static void a_thread_settles_many(void) {
  world w;
  pthread_t t;
  perilune_future *f[101] = {NULL};
  world_open(&w);
  world_do(&w, "sum = 0");
  for (int i = 0; i < 100; i++) {
    EQUAL(perilune_future_new(w.p, &f[i]), PERILUNE_OK);
    luaL_loadstring(w.L, "local n = (...):await() sum = sum + n");
    perilune_future_push(w.L, f[i]);
    EQUAL(perilune_spawn(w.p, NULL, w.L, 1, NULL), PERILUNE_OK);
  }
  world_settle(&w);
  pthread_create(&t, NULL, settle_all, f);
  EQUAL(perilune_run(w.p, NULL, 20), PERILUNE_OK);
  pthread_join(t, NULL);
  EQUAL(world_int(&w, "sum"), 4950);
  world_close(&w);
}

/* The thread goes on while the loop is closed, and after. */
static void a_thread_settles_while_the_loop_closes(void) {
  for (int round = 0; round < 50; round++) {
    world w;
    pthread_t t;
    perilune_future *f[51] = {NULL};
    world_open(&w);
    for (int i = 0; i < 50; i++) perilune_future_new(w.p, &f[i]);
    pthread_create(&t, NULL, settle_all, f);
    if (round % 2) perilune_step(w.p, NULL, NULL);
    world_close(&w);
    pthread_join(t, NULL);
  }
}

const test_case post_cases[] = {
  CASE(jobs_run_in_order), CASE(jobs_are_dropped_by_close),
  CASE(jobs_are_dropped_after_lua_close), CASE(too_many_jobs_are_refused),
  CASE(a_job_may_post_itself), CASE(jobs_are_checked),
  CASE(a_job_that_comes_during_a_step_is_for_the_next),
  CASE(threads_post_at_once), CASE(a_thread_settles_many),
  CASE(a_thread_settles_while_the_loop_closes), END};
