/*
** worlds.c - several loops: in one thread, in several, and at each other's
** posts. What they do is as if each were alone.
**
** SPDX-License-Identifier: MIT
*/
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "test.h"

/* What it says depends on the order in which everything runs. */
static const char program[] =
  "local ch, lock, n = aio.channel(2), aio.lock(), 0\n"
  "aio.group(nil, function(g)\n"
  "  g:service(function() for a, b in ch do say(a .. b) end end)\n"
  "  for i = 1, 5 do g:spawn(function()\n"
  "    for k = 1, 20 do\n"
  "      if (i + k) % 3 == 0 then aio.sleep(0) else aio.yield() end\n"
  "      local _ <close> = lock:acquire()\n"
  "      n = n * 31 % 1000003 + i * k\n"
  "      if k % 5 == 0 then ch:put(i, k) end\n"
  "      pcall(aio.timeout, 0, aio.yield)\n"
  "    end end) end\n"
  "end)\n"
  "say(n)";

static char *said(world *w) {
  lua_getglobal(w->L, "log");
  char *text = strdup(lua_tostring(w->L, -1));
  lua_pop(w->L, 1);
  return text;
}

/* What the program says when it is alone. */
static char *alone(void) {
  world w;
  world_open(&w);
  perilune_task_release(world_spawn(&w, NULL, program));
  world_settle(&w);
  char *text = said(&w);
  world_close(&w);
  return text;
}

static void a_program_does_the_same_again(void) {
  char *a = alone(), *b = alone();
  CHECK(strlen(a) > 20);
  CHECK(!strcmp(a, b));
  free(a);
  free(b);
}

/* The steps of both alternate, in portions of different sizes. */
static void two_worlds_in_one_thread(void) {
  perilune_budget few = {sizeof few, 0, 3, 0, 0};
  world a, b;
  char *expected = alone();
  world_open(&a);
  world_open(&b);
  perilune_task_release(world_spawn(&a, NULL, program));
  perilune_task_release(world_spawn(&b, NULL, program));
  int left = 1;
  while (left) {
    left = perilune_step(a.p, &few, NULL) == PERILUNE_MORE;
    left |= perilune_step(b.p, NULL, NULL) == PERILUNE_MORE;
  }
  world_said(&b, expected);
  world_said(&a, expected);
  world_close(&a);
  world_close(&b);
  free(expected);
}

static void *run_alone(void *arg) {
  (void)arg;
  return alone();
}

static void worlds_in_threads(void) {
  pthread_t t[4];
  void *text;
  char *expected = alone();
  int same = 1;
  for (int i = 0; i < 4; i++) pthread_create(&t[i], NULL, run_alone, NULL);
  for (int i = 0; i < 4; i++) {
    pthread_join(t[i], &text);
    same &= !strcmp(text, expected);
    free(text);
  }
  free(expected);
  CHECK(same);
}

/* Sockets, files and look-ups, each in a loop of its thread. */
static void *run_outside(void *arg) {
  world w;
  world_open(&w);
  world_do(&w,
    "if not aio.unix then return end\n"
    "aio.spawn(function()\n"
    "  local a, b = aio.unix.pair()\n"
    "  aio.all(function() for i = 1, 50 do a:write(i, '\\n') end a:close() end,\n"
    "    function() local n = 0 for x in b:lines() do n = n + x end say(n) end)\n"
    "  b:close() aio.fs.stat '/' aio.dns.resolve '127.0.0.1' say 'done'\n"
    "end)");
  int rc = perilune_run(w.p, NULL, 20);
  lua_getglobal(w.L, "log");
  const char *log = lua_tostring(w.L, -1);
  int ok = rc == PERILUNE_OK && (!*log || !strcmp(log, "1275 done"));
  lua_pop(w.L, 1);
  world_close(&w);
  return ok ? NULL : arg;
}

static void threads_use_what_is_outside(void) {
  pthread_t t[3];
  void *bad, *any = NULL;
  for (int i = 0; i < 3; i++) pthread_create(&t[i], NULL, run_outside, t);
  for (int i = 0; i < 3; i++) {
    pthread_join(t[i], &bad);
    if (bad) any = bad;
  }
  CHECK(!any);
}

/* {== At each other's posts ============================================ */

#define ROUNDS 500

/* A ball is posted from one loop to the other and back. */
typedef struct ball {
  perilune_job job;
  perilune_loop *side[2];
  int hits;
  atomic_int done;
} ball;

static void hit(perilune_loop *p, perilune_job *j) {
  ball *b = (ball *)j;
  if (++b->hits < ROUNDS)
    perilune_post(b->side[p == b->side[0]], j);
  else
    atomic_store(&b->done, 1);
}

/* Waits between steps, as perilune_run does. */
static void play(ball *b, perilune_loop *p, perilune_loop *other) {
  perilune_future *never;
  perilune_future_new(p, &never);
  while (!atomic_load(&b->done)) perilune_run(p, never, 0.01);
  perilune_wake(other);
  perilune_future_release(never);
}

typedef struct player {
  ball *b;
  pthread_barrier_t *ready, *over;
} player;

static void *play_there(void *arg) {
  player *p = arg;
  world w;
  world_open(&w);
  p->b->side[1] = w.p;
  pthread_barrier_wait(p->ready);
  play(p->b, w.p, p->b->side[0]);
  pthread_barrier_wait(p->over);
  world_close(&w);
  return NULL;
}

static void loops_post_to_each_other(void) {
  pthread_barrier_t ready, over;
  pthread_t t;
  world w;
  ball b = {.job = {NULL, hit, NULL}};
  player there = {&b, &ready, &over};
  pthread_barrier_init(&ready, NULL, 2);
  pthread_barrier_init(&over, NULL, 2);
  world_open(&w);
  b.side[0] = w.p;
  pthread_create(&t, NULL, play_there, &there);
  pthread_barrier_wait(&ready);
  perilune_post(b.side[1], &b.job);
  play(&b, w.p, b.side[1]);
  pthread_barrier_wait(&over);
  pthread_join(t, NULL);
  world_close(&w);
  EQUAL(b.hits, ROUNDS);
}

/* A thread that does everything that any thread may do, until it is told. */
typedef struct busybody {
  perilune_loop *p;
  perilune_future *f;
  atomic_int stop;
} busybody;

static void drop_nothing(perilune_job *j) {
  free(j);
}

static void run_nothing(perilune_loop *p, perilune_job *j) {
  (void)p;
  free(j);
}

static void *meddle(void *arg) {
  busybody *b = arg;
  while (!atomic_load(&b->stop)) {
    perilune_job *j = malloc(sizeof *j);
    *j = (perilune_job){NULL, run_nothing, drop_nothing};
    perilune_post(b->p, j);
    perilune_wake(b->p);
    perilune_future_release(perilune_future_retain(b->f));
    if (perilune_ud(b->p) == NULL) break;
  }
  return NULL;
}

/* The handle of a future keeps the block alive that the thread looks at. */
static void threads_meddle_while_loops_close(void) {
  for (int i = 0; i < 20; i++) {
    world w;
    pthread_t t;
    busybody b = {NULL, NULL, 0};
    world_open(&w);
    EQUAL(perilune_future_new(w.p, &b.f), PERILUNE_OK);
    b.p = w.p;
    pthread_create(&t, NULL, meddle, &b);
    perilune_task_release(world_spawn(&w, NULL, program));
    for (int k = 0; k < i; k++) perilune_step(w.p, NULL, NULL);
    world_close(&w);
    atomic_store(&b.stop, 1);
    pthread_join(t, NULL);
    perilune_future_release(b.f);
  }
}

/* }===================================================================== */

const test_case worlds_cases[] = {
  CASE(a_program_does_the_same_again), CASE(two_worlds_in_one_thread),
  CASE(worlds_in_threads), CASE(threads_use_what_is_outside),
  CASE(loops_post_to_each_other), CASE(threads_meddle_while_loops_close),
  END};
