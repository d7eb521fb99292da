/*
** clock.c - clocks that the host moves.
**
** SPDX-License-Identifier: MIT
*/
#include <stdlib.h>

#include <pthread.h>

#include "test.h"

#define SECOND 1000000000

static perilune_scope *scope(world *w, perilune_scope *parent,
                             perilune_clock *clock) {
  perilune_scope *s;
  EQUAL(perilune_scope_new(w->p, parent, clock, NULL, &s), PERILUNE_OK);
  return s;
}

static void spawn(world *w, perilune_scope *s, const char *code) {
  perilune_task_release(world_spawn(w, s, code));
}

/* Opens a world with a clock, and a scope that goes by that. */
static perilune_clock *begin(world *w, perilune_scope **s) {
  world_open(w);
  perilune_clock *c = perilune_clock_new(w->p, "game");
  CHECK(c);
  *s = scope(w, NULL, c);
  return c;
}

static void end(world *w, perilune_scope *s) {
  perilune_scope_release(s);
  world_close(w);
}

static void clocks_are_known_by_name(void) {
  world w;
  world_open(&w);
  perilune_clock *c = perilune_clock_new(w.p, "game");
  CHECK(c && c == perilune_clock_new(w.p, "game"));
  CHECK(c != perilune_clock_new(w.p, "other"));
  EQUAL(perilune_clock_advance(c, 3), PERILUNE_OK);
  world_do(&w, "say(aio.clock('game'):time() * 1e9)\n"
               "aio.clock('game'):advance(1)");
  world_said(&w, "3.0");
  EQUAL(perilune_clock_now(c), SECOND + 3);
  world_do(&w, "aio.clock('lua'):advance(2)");
  EQUAL(perilune_clock_now(perilune_clock_new(w.p, "lua")), 2 * SECOND);
  world_close(&w);
}

static void clocks_are_moved_by_integers(void) {
  world w;
  world_open(&w);
  perilune_clock *c = perilune_clock_new(w.p, "game");
  for (int i = 0; i < 1000; i++) perilune_clock_advance(c, 16666667);
  EQUAL(perilune_clock_now(c), 16666667000);
  EQUAL(perilune_clock_advance(c, 0), PERILUNE_OK);
  EQUAL(perilune_clock_advance(c, -1), PERILUNE_EARG);
  EQUAL(perilune_clock_now(c), 16666667000);
  EQUAL(perilune_clock_advance(c, INT64_MAX), PERILUNE_OK);
  EQUAL(perilune_clock_now(c), INT64_MAX);
  world_close(&w);
}

static void real_time_is_a_clock_that_moves_by_itself(void) {
  world w;
  world_open(&w);
  perilune_clock *real = perilune_clock_new(w.p, NULL);
  int64_t before = perilune_clock_now(NULL), now = perilune_clock_now(real);
  CHECK(real && before > 0 && now >= before);
  CHECK(perilune_clock_now(NULL) >= now);
  EQUAL(perilune_clock_advance(real, 1), PERILUNE_EARG);
  world_close(&w);
}

static void sleepers_wait_for_their_clock(void) {
  world w;
  perilune_scope *s;
  perilune_clock *c = begin(&w, &s);
  spawn(&w, s, "aio.sleep(1) say(aio.now()) aio.sleep(1) say(aio.now())");
  EQUAL(world_settle(&w), PERILUNE_WAIT);
  perilune_clock_advance(c, SECOND - 1);
  world_settle(&w);
  world_said(&w, "");
  perilune_clock_advance(c, 1);
  world_said(&w, "");
  EQUAL(perilune_step(w.p, NULL, NULL), PERILUNE_WAIT);
  world_said(&w, "1.0");
  perilune_clock_advance(c, 5 * (int64_t)SECOND);
  EQUAL(perilune_step(w.p, NULL, NULL), PERILUNE_IDLE);
  world_said(&w, "1.0 6.0");
  end(&w, s);
}

static void a_jump_fires_each_sleeper_once(void) {
  world w;
  perilune_scope *s;
  perilune_stats stats = {.size = sizeof stats};
  perilune_clock *c = begin(&w, &s);
  spawn(&w, s, "for n in aio.every(1) do say(n) end");
  spawn(&w, s, "local t <const> = 1\n"
               "local function tick() say 'tick'\n"
               "  aio.loop():call_later(t, tick) end\n"
               "aio.loop():call_later(t, tick)");
  world_settle(&w);
  perilune_clock_advance(c, 3600 * (int64_t)SECOND);
  perilune_step(w.p, NULL, &stats);
  CHECK(stats.resumes <= 3);
  world_said(&w, "3600 tick");
  perilune_scope_kill(s, PERILUNE_KILL_DROP);
  end(&w, s);
}

static void clocks_fire_in_the_order_of_their_making(void) {
  world w;
  perilune_scope *s;
  perilune_clock *c = begin(&w, &s);
  perilune_clock *d = perilune_clock_new(w.p, "second");
  perilune_scope *t = scope(&w, NULL, d);
  spawn(&w, t, "aio.sleep(1) say 'second'");
  spawn(&w, s, "aio.sleep(2) say 'b'");
  spawn(&w, s, "aio.sleep(1) say 'a'");
  spawn(&w, s, "aio.sleep(2) say 'c'");
  world_settle(&w);
  perilune_clock_advance(d, 9 * (int64_t)SECOND);
  perilune_clock_advance(c, 9 * (int64_t)SECOND);
  perilune_step(w.p, NULL, NULL);
  world_said(&w, "a b c second");
  perilune_scope_release(t);
  end(&w, s);
}

static void scopes_inherit_the_clock(void) {
  world w;
  perilune_scope *s;
  perilune_clock *c = begin(&w, &s);
  perilune_scope *inner = scope(&w, s, NULL);
  perilune_scope *real = scope(&w, s, perilune_clock_new(w.p, NULL));
  spawn(&w, inner, "aio.spawn(function() say(aio.now()) end)\n"
                   "aio.all(function() say(aio.now()) end)");
  spawn(&w, real, "say(aio.now() > 1)");
  perilune_clock_advance(c, SECOND / 2);
  world_settle(&w);
  world_said(&w, "true 0.5 0.5");
  perilune_scope_release(inner);
  perilune_scope_release(real);
  end(&w, s);
}

static void a_scope_without_one_is_real(void) {
  world w;
  world_open(&w);
  perilune_scope *s = scope(&w, NULL, NULL);
  spawn(&w, s, "say(aio.now() == aio.loop():time())");
  spawn(&w, NULL, "say(aio.now() == aio.loop():time())");
  world_settle(&w);
  world_said(&w, "true true");
  end(&w, s);
}

static void only_real_time_counts_for_the_timeout(void) {
  world w;
  perilune_scope *s;
  perilune_clock *c = begin(&w, &s);
  spawn(&w, s, "aio.sleep(1)");
  EQUAL(world_settle(&w), PERILUNE_WAIT);
  EQUAL(perilune_timeout(w.p), -1);
  perilune_clock_advance(c, SECOND);
  EQUAL(perilune_timeout(w.p), 0);
  EQUAL(world_settle(&w), PERILUNE_IDLE);
  EQUAL(perilune_timeout(w.p), -1);
  end(&w, s);
}

static void a_callback_by_a_clock_is_waited_for(void) {
  world w;
  perilune_scope *s;
  perilune_clock *c = begin(&w, &s);
  spawn(&w, s, "aio.loop():call_later(1, say, 'called')");
  EQUAL(world_settle(&w), PERILUNE_WAIT);
  EQUAL(perilune_scope_live(s), 0);
  perilune_clock_advance(c, SECOND);
  EQUAL(world_settle(&w), PERILUNE_IDLE);
  world_said(&w, "called");
  end(&w, s);
}

/* A clock that is moved by a script within a step: in the next one. */
static void scripts_move_clocks_for_the_next_step(void) {
  world w;
  perilune_scope *s;
  begin(&w, &s);
  spawn(&w, s, "aio.sleep(1) say 'slept'");
  world_settle(&w);
  spawn(&w, NULL, "aio.clock 'game':advance(1) aio.yield() say 'here'");
  EQUAL(perilune_step(w.p, NULL, NULL), PERILUNE_MORE);
  world_said(&w, "here");
  EQUAL(perilune_step(w.p, NULL, NULL), PERILUNE_IDLE);
  world_said(&w, "here slept");
  end(&w, s);
}

static void paused_sleepers_can_be_killed(void) {
  world w;
  perilune_scope *s;
  perilune_clock *c = begin(&w, &s);
  spawn(&w, s, "aio.timeout(3, aio.sleep, 2) say 'ran'");
  spawn(&w, s, "aio.sleep(1) say 'ran'");
  world_settle(&w);
  perilune_clock_advance(c, SECOND); /* due, and not yet fired */
  EQUAL(perilune_scope_kill(s, PERILUNE_KILL_CLOSE), PERILUNE_OK);
  perilune_clock_advance(c, 9 * (int64_t)SECOND);
  EQUAL(world_settle(&w), PERILUNE_IDLE);
  world_said(&w, "");
  end(&w, s);
}

/* nap(ns): by the clock of the scope; rest(ns): by real time, and 7. */
static perilune_clock *resting;

static int nap(lua_State *L) {
  return perilune_sleep(L, NULL, luaL_checkinteger(L, 1), NULL, 0);
}

static int rest_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  lua_pushinteger(L, lua_gettop(L) * 100 + (int)ctx);
  return 1;
}

static int rest(lua_State *L) {
  return perilune_sleep(L, resting, luaL_checkinteger(L, 1), rest_k, 7);
}

static void c_functions_sleep_by_the_clock_of_the_scope(void) {
  world w;
  perilune_scope *s;
  perilune_clock *c = begin(&w, &s);
  lua_register(w.L, "nap", nap);
  spawn(&w, s, "say(select('#', nap(3))) say(aio.now() * 1e9)");
  world_settle(&w);
  perilune_clock_advance(c, 2);
  world_settle(&w);
  world_said(&w, "");
  perilune_clock_advance(c, 1);
  world_settle(&w);
  world_said(&w, "0 3.0");
  end(&w, s);
}

static void c_functions_sleep_by_a_clock_of_theirs(void) {
  world w;
  perilune_scope *s;
  begin(&w, &s);
  resting = perilune_clock_new(w.p, "rest");
  lua_register(w.L, "rest", rest);
  spawn(&w, s, "say(rest(5, 'x'))");
  world_settle(&w);
  perilune_clock_advance(resting, 5);
  world_settle(&w);
  world_said(&w, "207");
  resting = perilune_clock_new(w.p, NULL);
  spawn(&w, s, "say(rest(0)) say(rest(-1)) say(rest(1000))");
  EQUAL(perilune_run(w.p, NULL, 10), PERILUNE_OK);
  world_said(&w, "207 107 107 107");
  end(&w, s);
}

static void sleeping_in_c_is_cancelled(void) {
  world w;
  perilune_scope *s;
  perilune_clock *c = begin(&w, &s);
  lua_register(w.L, "nap", nap);
  perilune_task *t = world_spawn(&w, s, "local ok, e = pcall(nap, 5)\n"
                                        "say(aio.is_cancelled(e))");
  world_settle(&w);
  EQUAL(perilune_task_cancel(t), PERILUNE_OK);
  world_settle(&w);
  world_said(&w, "true");
  perilune_clock_advance(c, 9);
  world_settle(&w);
  perilune_task_release(t);
  end(&w, s);
}

static void sleeping_in_c_is_refused_outside_of_tasks(void) {
  world w, v;
  perilune_scope *s;
  begin(&w, &s);
  world_open(&v);
  resting = perilune_clock_new(v.p, "rest");
  lua_register(w.L, "nap", nap);
  lua_register(w.L, "rest", rest);
  world_do(&w, "say((select(2, pcall(nap, 5))).code)");
  spawn(&w, s, "say(select(2, pcall(rest, 5)))");
  world_settle(&w);
  world_said(&w, "EPERM the clock is of another loop");
  world_close(&v);
  end(&w, s);
}

static void scopes_check_their_clock(void) {
  world w, v;
  perilune_scope *s;
  world_open(&w);
  world_open(&v);
  perilune_clock *c = perilune_clock_new(v.p, "game");
  EQUAL(perilune_scope_new(w.p, NULL, c, NULL, &s), PERILUNE_EARG);
  CHECK(!s);
  world_close(&v);
  world_close(&w);
}

/* After lua_close the loop is gone; the handles are not. */
static void clocks_outlive_the_state(void) {
  world w;
  perilune_scope *s;
  perilune_clock *c = begin(&w, &s);
  perilune_clock *real = perilune_clock_new(w.p, NULL);
  spawn(&w, s, "aio.sleep(1)");
  world_settle(&w);
  perilune_clock_advance(c, SECOND);
  lua_close(w.L);
  EQUAL(w.bytes, 0);
  EQUAL(perilune_clock_advance(c, 1), PERILUNE_ECLOSED);
  EQUAL(perilune_clock_now(c), 0);
  EQUAL(perilune_clock_now(real), 0);
  CHECK(!perilune_clock_new(w.p, "game"));
  perilune_scope_release(s);
  EQUAL(perilune_close(w.p, 0, 0), PERILUNE_OK);
}

typedef struct handles {
  world *w;
  perilune_clock *clock;
  perilune_signal *signal;
} handles;

static void *call_elsewhere(void *arg) {
  handles *h = arg;
  int ok = perilune_clock_advance(h->clock, 1) == PERILUNE_ETHREAD &&
           perilune_clock_now(h->clock) == 0 && perilune_clock_now(NULL) &&
           !perilune_clock_new(h->w->p, "game") &&
           !perilune_signal_new(h->w->p, "update") &&
           perilune_emit(h->signal, h->w->L, 0) == PERILUNE_ETHREAD;
  return ok ? arg : NULL;
}

static void another_thread_cannot_move_a_clock(void) {
  world w;
  pthread_t t;
  void *ok;
  world_open(&w);
  handles h = {&w, perilune_clock_new(w.p, "game"),
               perilune_signal_new(w.p, "update")};
  pthread_create(&t, NULL, call_elsewhere, &h);
  pthread_join(t, &ok);
  CHECK(ok);
  EQUAL(perilune_clock_now(h.clock), 0);
  world_close(&w);
}

static void a_closed_loop_has_no_clocks_for_scripts(void) {
  world w;
  perilune_scope *s;
  begin(&w, &s);
  spawn(&w, s, "aio.sleep(1)");
  world_do(&w, "c = aio.clock 'game'");
  world_settle(&w);
  EQUAL(perilune_close(w.p, 0, 0), PERILUNE_OK);
  world_do(&w, "c:advance(2) say(c:time())\n"
               "say(pcall(aio.clock, 'new'))\n"
               "say(pcall(aio.scope, {clock = c}, print))");
  world_said(&w, "2.0 false false");
  w.p = NULL;
  perilune_scope_release(s);
  world_close(&w);
}

static void many_clocks_have_room_for_all_timers(void) {
  world w;
  char name[20];
  world_open(&w);
  world_do(&w, "n = 0\n"
               "for i = 1, 100 do aio.spawn(function()\n"
               "  local _ <close> = aio.scope{clock = aio.clock('c' .. i % 7)}\n"
               "  aio.sleep(1)\n"
               "  n = n + 1 end) end");
  world_settle(&w);
  for (int i = 0; i < 300; i++) {
    snprintf(name, sizeof name, "c%d", i);
    CHECK(perilune_clock_new(w.p, name));
  }
  for (int i = 0; i < 7; i++) {
    snprintf(name, sizeof name, "c%d", i);
    perilune_clock_advance(perilune_clock_new(w.p, name), SECOND);
  }
  EQUAL(world_settle(&w), PERILUNE_IDLE);
  EQUAL(world_int(&w, "n"), 100);
  world_close(&w);
}

const test_case clock_cases[] = {
  CASE(clocks_are_known_by_name), CASE(clocks_are_moved_by_integers),
  CASE(real_time_is_a_clock_that_moves_by_itself),
  CASE(sleepers_wait_for_their_clock), CASE(a_jump_fires_each_sleeper_once),
  CASE(clocks_fire_in_the_order_of_their_making),
  CASE(scopes_inherit_the_clock), CASE(a_scope_without_one_is_real),
  CASE(only_real_time_counts_for_the_timeout),
  CASE(a_callback_by_a_clock_is_waited_for),
  CASE(scripts_move_clocks_for_the_next_step),
  CASE(paused_sleepers_can_be_killed),
  CASE(c_functions_sleep_by_the_clock_of_the_scope),
  CASE(c_functions_sleep_by_a_clock_of_theirs),
  CASE(sleeping_in_c_is_cancelled),
  CASE(sleeping_in_c_is_refused_outside_of_tasks),
  CASE(scopes_check_their_clock), CASE(clocks_outlive_the_state),
  CASE(another_thread_cannot_move_a_clock),
  CASE(a_closed_loop_has_no_clocks_for_scripts),
  CASE(many_clocks_have_room_for_all_timers), END};
