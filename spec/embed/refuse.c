/*
** refuse.c - every function, where it cannot do what it is for: on another
** thread, and once the loop is closed.
**
** SPDX-License-Identifier: MIT
*/
#include <pthread.h>

#include "test.h"

/* One of each, made before. */
typedef struct things {
  world w;
  perilune_future *f;
  perilune_scope *s;
  perilune_task *t;
  perilune_clock *clock;
  perilune_signal *signal;
  perilune_job job;
  int line; /* of the first that said something else */
} things;

static void ignore(void *ud) {
  (void)ud;
}

static void ignore_job(perilune_loop *p, perilune_job *j) {
  (void)p;
  (void)j;
}

static void ignore_task(perilune_task *t, lua_State *co, int how, void *ud) {
  (void)t;
  (void)co;
  (void)how;
  (void)ud;
}

static void things_make(things *x) {
  memset(x, 0, sizeof *x);
  world_open(&x->w);
  x->job.fn = ignore_job;
  EQUAL(perilune_future_new(x->w.p, &x->f), PERILUNE_OK);
  EQUAL(perilune_scope_new(x->w.p, NULL, NULL, NULL, &x->s), PERILUNE_OK);
  x->clock = perilune_clock_new(x->w.p, "game");
  x->signal = perilune_signal_new(x->w.p, "frame");
  CHECK(x->clock && x->signal);
  x->t = world_spawn(&x->w, x->s, "aio.sleep(100)");
  perilune_step(x->w.p, NULL, NULL);
}

static void things_release(things *x) {
  perilune_task_release(x->t);
  perilune_scope_release(x->s);
  perilune_future_release(x->f);
}

#define SAYS(call, result) \
  do { \
    if ((call) != (result) && !x->line) x->line = __LINE__; \
  } while (0)

/* What says the same in both cases, but for the code. */
static void try_all(things *x, int code) {
  perilune_loop *p = x->w.p;
  perilune_future *f = NULL;
  perilune_scope *s = NULL;
  SAYS(perilune_openlibs(p, PERILUNE_LIB_ALL), code);
  SAYS(perilune_step(p, NULL, NULL), code);
  SAYS(perilune_run(p, NULL, 0), code);
  SAYS(perilune_fd(p), -1);
  SAYS(perilune_future_new(p, &f), code);
  SAYS(perilune_future_done(x->f, x->w.L, 0), code);
  SAYS(perilune_future_on_abandon(x->f, ignore, NULL), code);
  SAYS(perilune_spawn(p, x->s, x->w.L, -1, NULL), code);
  SAYS(perilune_task_cancel(x->t), code);
  SAYS(perilune_task_then(x->t, ignore_task, NULL), code);
  SAYS(perilune_scope_new(p, NULL, NULL, NULL, &s), code);
  SAYS(perilune_scope_new(p, x->s, NULL, NULL, &s), code);
  SAYS(perilune_scope_cancel(x->s), code);
  SAYS(perilune_clock_new(p, "other") == NULL, 1);
  SAYS(perilune_clock_advance(x->clock, 1), code);
  SAYS(perilune_clock_now(x->clock), 0);
  SAYS(perilune_signal_new(p, "other") == NULL, 1);
  SAYS(perilune_emit(x->signal, x->w.L, 0), code);
  SAYS(perilune_scope_live(x->s), 0);
  SAYS(f == NULL && s == NULL, 1);
}

static void *try_elsewhere(void *arg) {
  things *x = arg;
  try_all(x, PERILUNE_ETHREAD);
  SAYS(perilune_scope_kill(x->s, 0), PERILUNE_ETHREAD);
  SAYS(perilune_timeout(x->w.p), 0);
  SAYS(perilune_close(x->w.p, 0, 1), PERILUNE_ETHREAD);
  SAYS(perilune_get(x->w.L) == NULL, 1);
  perilune_task_release(x->t);
  perilune_scope_release(x->s);
  return NULL;
}

static void every_function_refuses_another_thread(void) {
  things x;
  pthread_t t;
  things_make(&x);
  pthread_create(&t, NULL, try_elsewhere, &x);
  pthread_join(t, NULL);
  EQUAL(x.line, 0);
  EQUAL(perilune_scope_live(x.s), 1);
  EQUAL(lua_gettop(x.w.L), 0);
  things_release(&x);
  world_close(&x.w);
}

static void every_function_knows_a_closed_loop(void) {
  things all, *x = &all;
  perilune_value v = {.type = PERILUNE_NIL};
  things_make(x);
  lua_close(x->w.L);
  x->w.L = NULL;
  try_all(x, PERILUNE_ECLOSED);
  SAYS(perilune_scope_kill(x->s, 0), PERILUNE_OK);
  SAYS(perilune_timeout(x->w.p), -1);
  SAYS(perilune_post(x->w.p, &x->job), PERILUNE_ECLOSED);
  perilune_wake(x->w.p);
  SAYS(perilune_ud(x->w.p) == &x->w, 1);
  SAYS(perilune_post_value(perilune_future_retain(x->f), &v),
       PERILUNE_ECLOSED);
  EQUAL(x->line, 0);
  things_release(x);
  EQUAL(perilune_close(x->w.p, 0, 0), PERILUNE_OK);
}

/* While it is closing: a job is still to end. */
static void every_function_knows_a_loop_that_closes(void) {
  things all, *x = &all;
  things_make(x);
  if (perilune_fd(x->w.p) < 0) test_skip("a build without files");
  hold_begin();
  hold_job(&x->w);
  EQUAL(perilune_close(x->w.p, 0, 0), PERILUNE_BUSY);
  try_all(x, PERILUNE_ECLOSED);
  SAYS(perilune_scope_kill(x->s, 0), PERILUNE_OK);
  SAYS(perilune_timeout(x->w.p), -1);
  SAYS(perilune_get(x->w.L) == NULL, 1);
  EQUAL(x->line, 0);
  hold_end();
  things_release(x);
  world_close(&x->w);
}

static void negative_counts_are_refused(void) {
  world w;
  perilune_future *f;
  world_open(&w);
  perilune_signal *s = perilune_signal_new(w.p, "s");
  EQUAL(perilune_future_new(w.p, &f), PERILUNE_OK);
  lua_pushinteger(w.L, 1);
  EQUAL(perilune_emit(s, w.L, -1), PERILUNE_EARG);
  EQUAL(perilune_future_done(f, w.L, -1), PERILUNE_EARG);
  EQUAL(perilune_spawn(w.p, NULL, w.L, -1, NULL), PERILUNE_EARG);
  EQUAL(lua_gettop(w.L), 1);
  lua_settop(w.L, 0);
  EQUAL(perilune_future_done(f, w.L, 0), PERILUNE_OK);
  perilune_future_release(f);
  world_close(&w);
}

const test_case refuse_cases[] = {
  CASE(every_function_refuses_another_thread),
  CASE(every_function_knows_a_closed_loop),
  CASE(every_function_knows_a_loop_that_closes),
  CASE(negative_counts_are_refused), END};
