/*
** step.c - stepping: budgets, what is said of time, running.
**
** SPDX-License-Identifier: MIT
*/
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "test.h"

static const char ten[] =
  "for i = 1, 10 do aio.spawn(function() say(i) end) end";

static void step_runs_what_is_ready(void) {
  world w;
  world_open(&w);
  perilune_task_release(world_spawn(&w, NULL, "say 'ran'"));
  world_said(&w, "");
  EQUAL(perilune_step(w.p, NULL, NULL), PERILUNE_IDLE);
  world_said(&w, "ran");
  world_close(&w);
}

static void step_says_that_tasks_wait(void) {
  world w;
  world_open(&w);
  perilune_task_release(world_spawn(&w, NULL, "aio.sleep(100)"));
  EQUAL(perilune_step(w.p, NULL, NULL), PERILUNE_WAIT);
  EQUAL(perilune_step(w.p, NULL, NULL), PERILUNE_WAIT);
  world_close(&w);
}

static void step_counts_what_it_did(void) {
  world w;
  perilune_stats s = {.size = sizeof s};
  world_open(&w);
  world_do(&w, ten);
  world_do(&w, "aio.spawn(error, 'x', 0); aio.spawn(aio.sleep, 100)");
  EQUAL(perilune_step(w.p, NULL, &s), PERILUNE_WAIT);
  EQUAL(s.resumes, 13); /* and one that reported the failure */
  EQUAL(s.rounds, 2);
  EQUAL(s.polls, 1);
  EQUAL(s.done, 11);
  EQUAL(s.failed, 1);
  EQUAL(s.live, 1);
  world_close(&w);
}

static void step_takes_a_budget_of_resumes(void) {
  world w;
  perilune_budget b = {sizeof b, 0, 3, 0, 0};
  world_open(&w);
  world_do(&w, ten);
  EQUAL(perilune_step(w.p, &b, NULL), PERILUNE_MORE);
  world_said(&w, "1 2 3");
  EQUAL(perilune_step(w.p, &b, NULL), PERILUNE_MORE);
  world_said(&w, "1 2 3 4 5 6");
  world_close(&w);
}

static void step_takes_a_budget_of_rounds(void) {
  world w;
  perilune_budget b = {sizeof b, 0, 0, 2, 0};
  world_open(&w);
  perilune_task_release(
    world_spawn(&w, NULL, "for i = 1, 5 do say(i); aio.yield() end"));
  EQUAL(perilune_step(w.p, &b, NULL), PERILUNE_MORE);
  world_said(&w, "1 2");
  world_close(&w);
}

static void step_has_sixteen_rounds_by_default(void) {
  world w;
  perilune_stats s = {.size = sizeof s};
  world_open(&w);
  perilune_task_release(
    world_spawn(&w, NULL, "while true do aio.yield() end"));
  EQUAL(perilune_step(w.p, NULL, &s), PERILUNE_MORE);
  EQUAL(s.rounds, 16);
  world_close(&w);
}

static void step_takes_a_budget_of_time(void) {
  world w;
  perilune_budget b = {sizeof b, 1000000, 0, 0, 0};
  world_open(&w);
  world_do(&w, "for i = 1, 100 do aio.spawn(function()\n"
               "  local till = os.clock() + 0.0005\n"
               "  while os.clock() < till do end\n"
               "  say 'x' end) end");
  EQUAL(perilune_step(w.p, &b, NULL), PERILUNE_MORE);
  world_close(&w);
}

static void step_checks_sizes(void) {
  world w;
  perilune_budget b = {0, 0, 0, 0, 0};
  perilune_stats s = {.size = 1};
  world_open(&w);
  EQUAL(perilune_step(w.p, &b, NULL), PERILUNE_EARG);
  EQUAL(perilune_step(w.p, NULL, &s), PERILUNE_EARG);
  world_close(&w);
}

static world *inside;

static int step_inside(lua_State *L) {
  lua_pushinteger(L, perilune_step(inside->p, NULL, NULL));
  lua_pushinteger(L, perilune_run(inside->p, NULL, 0));
  lua_pushinteger(L, perilune_close(inside->p, 0, 0));
  return 3;
}

static void step_inside_a_task_is_refused(void) {
  world w;
  inside = &w;
  world_open(&w);
  lua_register(w.L, "step_inside", step_inside);
  perilune_task_release(world_spawn(&w, NULL, "a, b, c = step_inside()"));
  world_settle(&w);
  EQUAL(world_int(&w, "a"), PERILUNE_EREENTER);
  EQUAL(world_int(&w, "b"), PERILUNE_EREENTER);
  EQUAL(world_int(&w, "c"), PERILUNE_EREENTER);
  world_close(&w);
}

static void step_inside_a_callback_is_refused(void) {
  world w;
  inside = &w;
  world_open(&w);
  lua_register(w.L, "step_inside", step_inside);
  world_do(&w, "aio.loop():call_soon(function() a = step_inside() end)");
  world_settle(&w);
  EQUAL(world_int(&w, "a"), PERILUNE_EREENTER);
  world_close(&w);
}

static void timeout_is_minus_one_with_nothing_to_do(void) {
  world w;
  world_open(&w);
  world_settle(&w);
  EQUAL(perilune_timeout(w.p), -1);
  world_close(&w);
}

static void timeout_is_zero_when_something_is_ready(void) {
  world w;
  world_open(&w);
  world_settle(&w);
  perilune_task_release(world_spawn(&w, NULL, "say 'x'"));
  EQUAL(perilune_timeout(w.p), 0);
  world_settle(&w);
  EQUAL(perilune_timeout(w.p), -1);
  world_close(&w);
}

static void timeout_is_that_of_the_next_timer(void) {
  world w;
  world_open(&w);
  perilune_task_release(world_spawn(&w, NULL, "aio.sleep(5)"));
  world_settle(&w);
  int64_t t = perilune_timeout(w.p);
  CHECK(t > 4000000000 && t <= 5000000000);
  world_close(&w);
}

static int readable(const world *w, int ms) {
  struct pollfd p = {perilune_fd(w->p), POLLIN, 0};
  if (p.fd < 0) test_skip("a build without descriptors");
  return poll(&p, 1, ms);
}

static void the_descriptor_is_silent_while_idle(void) {
  world w;
  world_open(&w);
  world_settle(&w);
  EQUAL(readable(&w, 20), 0);
  world_close(&w);
}

static void the_descriptor_hears_wake(void) {
  world w;
  world_open(&w);
  world_settle(&w);
  perilune_wake(w.p);
  EQUAL(readable(&w, 1000), 1);
  EQUAL(perilune_timeout(w.p), 0);
  world_settle(&w);
  EQUAL(readable(&w, 0), 0);
  EQUAL(perilune_timeout(w.p), -1);
  world_close(&w);
}

static void the_descriptor_hears_sockets(void) {
  world w;
  world_open(&w);
  if (perilune_fd(w.p) < 0) test_skip("a build without descriptors");
  world_do(&w, "a, b = aio.unix.pair()\n"
               "aio.spawn(function() say(a:read_some()) end)");
  world_settle(&w);
  EQUAL(readable(&w, 0), 0);
  world_do(&w, "aio.spawn(function() b:write 'ping' end)");
  world_settle(&w);
  for (int i = 0; i < 5 && readable(&w, 100); i++) world_settle(&w);
  world_said(&w, "ping");
  world_close(&w);
}

/* A poll more than one finds within a step what the first one led to. */
static void polls_bring_hops_into_one_step(void) {
  world w;
  perilune_budget b = {sizeof b, 0, 0, 100, 10};
  world_open(&w);
  world_do(&w, "if not aio.unix then return end\n"
               "a, b = aio.unix.pair()\n"
               "aio.spawn(function() say(a:read(4)); a:write 'pong' end)\n"
               "aio.spawn(function() b:write 'ping'; say(b:read(4)) end)");
  if (perilune_fd(w.p) < 0) test_skip("a build without sockets");
  perilune_step(w.p, &b, NULL);
  world_said(&w, "ping pong");
  world_close(&w);
}

static int woken;

static void on_wakeup(void *ud) {
  woken += *(int *)ud;
}

static void wakes_are_told_once_until_a_step(void) {
  int one = 1;
  perilune_config c = {.size = sizeof c, .ud = &one, .on_wakeup = on_wakeup};
  perilune_loop *p;
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  woken = 0;
  EQUAL(perilune_open(L, &c, &p), PERILUNE_OK);
  perilune_wake(p);
  perilune_wake(p);
  EQUAL(woken, 1);
  perilune_step(p, NULL, NULL);
  perilune_wake(p);
  EQUAL(woken, 2);
  EQUAL(perilune_close(p, 0, 0), PERILUNE_OK);
  lua_close(L);
}

static void run_ends_with_its_future(void) {
  world w;
  perilune_future *f;
  world_open(&w);
  perilune_future_new(w.p, &f);
  perilune_future_push(w.L, f);
  lua_setglobal(w.L, "f");
  world_do(&w, "aio.spawn(function() aio.sleep(0.01) f:resolve() end)");
  EQUAL(perilune_run(w.p, f, -1), PERILUNE_OK);
  perilune_future_release(f);
  world_close(&w);
}

static void run_has_a_limit(void) {
  world w;
  world_open(&w);
  perilune_task_release(world_spawn(&w, NULL, "aio.sleep(100)"));
  EQUAL(perilune_run(w.p, NULL, 0.01), PERILUNE_ETIMEDOUT);
  EQUAL(perilune_run(w.p, NULL, 0), PERILUNE_ETIMEDOUT);
  world_close(&w);
}

static void run_without_a_future_ends_with_the_tasks(void) {
  world w;
  world_open(&w);
  perilune_task_release(world_spawn(&w, NULL, "aio.sleep(0.01); say 'end'"));
  EQUAL(perilune_run(w.p, NULL, -1), PERILUNE_OK);
  world_said(&w, "end");
  world_close(&w);
}

static void run_says_when_nothing_can_come(void) {
  world w;
  world_open(&w);
  world_do(&w, "f = aio.future()");
  perilune_task_release(world_spawn(&w, NULL, "f:await()"));
  EQUAL(perilune_run(w.p, NULL, 0.01), PERILUNE_ETIMEDOUT);
  world_close(&w);
}

static void *wake_soon(void *arg) {
  world *w = arg;
  usleep(5000);
  perilune_wake(w->p);
  return NULL;
}

static void waking_ends_a_poll_of_the_host(void) {
  world w;
  pthread_t t;
  world_open(&w);
  world_settle(&w);
  if (perilune_fd(w.p) < 0) test_skip("a build without descriptors");
  pthread_create(&t, NULL, wake_soon, &w);
  EQUAL(readable(&w, 10000), 1);
  pthread_join(t, NULL);
  world_close(&w);
}

const test_case step_cases[] = {
  CASE(step_runs_what_is_ready), CASE(step_says_that_tasks_wait),
  CASE(step_counts_what_it_did), CASE(step_takes_a_budget_of_resumes),
  CASE(step_takes_a_budget_of_rounds),
  CASE(step_has_sixteen_rounds_by_default),
  CASE(step_takes_a_budget_of_time), CASE(step_checks_sizes),
  CASE(step_inside_a_task_is_refused),
  CASE(step_inside_a_callback_is_refused),
  CASE(timeout_is_minus_one_with_nothing_to_do),
  CASE(timeout_is_zero_when_something_is_ready),
  CASE(timeout_is_that_of_the_next_timer),
  CASE(the_descriptor_is_silent_while_idle),
  CASE(the_descriptor_hears_wake), CASE(the_descriptor_hears_sockets),
  CASE(polls_bring_hops_into_one_step),
  CASE(wakes_are_told_once_until_a_step), CASE(run_ends_with_its_future),
  CASE(run_has_a_limit), CASE(run_without_a_future_ends_with_the_tasks),
  CASE(run_says_when_nothing_can_come),
  CASE(waking_ends_a_poll_of_the_host), END};
