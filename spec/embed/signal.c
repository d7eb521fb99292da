/*
** signal.c - signals that the host gives, and frames.
**
** SPDX-License-Identifier: MIT
*/
#include "test.h"

static void spawn(world *w, const char *code) {
  perilune_task_release(world_spawn(w, NULL, code));
}

static perilune_signal *begin(world *w, const char *code) {
  world_open(w);
  perilune_signal *s = perilune_signal_new(w->p, "update");
  CHECK(s);
  spawn(w, code);
  world_settle(w);
  return s;
}

static void signals_are_known_by_name(void) {
  world w;
  perilune_signal *s = begin(&w, "say(aio.signal('update'):wait())");
  CHECK(s == perilune_signal_new(w.p, "update"));
  CHECK(s != perilune_signal_new(w.p, "other"));
  CHECK(!perilune_signal_new(w.p, NULL));
  EQUAL(perilune_emit(s, w.L, 0), 1);
  world_said(&w, "");
  EQUAL(perilune_step(w.p, NULL, NULL), PERILUNE_IDLE);
  world_said(&w, "true");
  world_close(&w);
}

static void emit_gives_values_to_all(void) {
  world w;
  const char *code = "local a, b = aio.signal('update'):wait() say(a) say(b)";
  perilune_signal *s = begin(&w, code);
  spawn(&w, code);
  world_settle(&w);
  lua_pushinteger(w.L, 5);
  lua_pushliteral(w.L, "x");
  EQUAL(perilune_emit(s, w.L, 2), 2);
  EQUAL(lua_gettop(w.L), 0);
  world_settle(&w);
  world_said(&w, "5 x 5 x");
  world_close(&w);
}

static void emit_returns_how_many(void) {
  world w;
  perilune_signal *s = begin(&w, "aio.signal('update'):wait()");
  EQUAL(perilune_emit(s, w.L, 0), 1);
  EQUAL(perilune_emit(s, w.L, 0), 0);
  world_settle(&w);
  EQUAL(perilune_emit(s, w.L, 0), 0);
  world_close(&w);
}

static void emit_has_a_limit(void) {
  world w;
  perilune_signal *s = begin(&w, "say(select('#',\n"
                                 "  aio.signal('update'):wait()))");
  for (int i = 0; i < 17; i++) lua_pushinteger(w.L, i);
  EQUAL(perilune_emit(s, w.L, 17), PERILUNE_EARG);
  EQUAL(lua_gettop(w.L), 0);
  for (int i = 0; i < 16; i++) lua_pushinteger(w.L, i);
  EQUAL(perilune_emit(s, w.L, 16), 1);
  world_settle(&w);
  world_said(&w, "16");
  world_close(&w);
}

/* Out of memory it wakes all, or nobody. */
static void emit_out_of_memory(void) {
  world w;
  perilune_signal *s = begin(&w, "say(aio.signal('update'):wait())");
  w.refusing = 1;
  lua_pushinteger(w.L, 1);
  int rc = perilune_emit(s, w.L, 1);
  w.refusing = 0;
  CHECK(rc == 1 || rc == PERILUNE_ENOMEM);
  EQUAL(lua_gettop(w.L), 0);
  if (rc != 1) {
    lua_pushinteger(w.L, 1);
    EQUAL(perilune_emit(s, w.L, 1), 1);
  }
  world_settle(&w);
  world_said(&w, "1");
  world_close(&w);
}

static perilune_signal *emitted;

static int emit_here(lua_State *L) {
  lua_pushinteger(L, perilune_emit(emitted, L, lua_gettop(L)));
  return 1;
}

static void scripts_emit_by_functions_of_the_host(void) {
  world w;
  emitted = begin(&w, "say(aio.signal('update'):wait())");
  lua_register(w.L, "emit", emit_here);
  spawn(&w, "say(emit('x')) say(aio.signal('update'):emit())");
  EQUAL(perilune_step(w.p, NULL, NULL), PERILUNE_IDLE);
  world_said(&w, "1 0 x");
  world_close(&w);
}

static void signals_outlive_the_state(void) {
  world w;
  perilune_signal *s = begin(&w, "aio.signal('update'):wait()");
  lua_close(w.L);
  EQUAL(perilune_emit(s, NULL, 0), PERILUNE_ECLOSED);
  CHECK(!perilune_signal_new(w.p, "update"));
  EQUAL(perilune_close(w.p, 0, 0), PERILUNE_OK);
}

/* {== Frames =========================================================== */

static void next_frame_is_the_next_step(void) {
  world w;
  world_open(&w);
  spawn(&w, "for i = 1, 3 do aio.next_frame() say(i) end");
  EQUAL(perilune_step(w.p, NULL, NULL), PERILUNE_WAIT);
  world_said(&w, "");
  EQUAL(perilune_timeout(w.p), 0);
  EQUAL(perilune_step(w.p, NULL, NULL), PERILUNE_WAIT);
  world_said(&w, "1");
  EQUAL(perilune_step(w.p, NULL, NULL), PERILUNE_WAIT);
  EQUAL(perilune_step(w.p, NULL, NULL), PERILUNE_IDLE);
  world_said(&w, "1 2 3");
  EQUAL(perilune_timeout(w.p), -1);
  world_close(&w);
}

static perilune_job posted;
static world *posting;

static void on_post(perilune_loop *p, perilune_job *j) {
  (void)p;
  (void)j;
  world_do(posting, "aio.spawn(say, 'post')");
}

/* What was ready before; frames; posts; timers of real time, then others. */
static void a_step_has_an_order(void) {
  world w;
  perilune_clock *c;
  world_open(&w);
  c = perilune_clock_new(w.p, "game");
  posting = &w;
  posted.fn = on_post;
  spawn(&w, "aio.scope({clock = aio.clock 'game'},\n"
            "  function() aio.sleep(1) say 'clock' end)");
  spawn(&w, "aio.sleep(1e-9) say 'real'");
  spawn(&w, "aio.signal 'x':wait() say 'signal'");
  spawn(&w, "aio.next_frame() say 'frame'");
  perilune_step(w.p, &(perilune_budget){sizeof(perilune_budget), 0, 0, 1, 0},
                NULL);
  EQUAL(perilune_emit(perilune_signal_new(w.p, "x"), w.L, 0), 1);
  EQUAL(perilune_post(w.p, &posted), PERILUNE_OK);
  perilune_clock_advance(c, 1000000000);
  world_settle(&w);
  world_said(&w, "signal frame post real clock");
  world_close(&w);
}

static void frames_are_shared_by_budgets(void) {
  world w;
  perilune_budget b = {sizeof b, 0, 2, 0, 0};
  world_open(&w);
  world_do(&w, "for i = 1, 3 do aio.spawn(function()\n"
               "  while true do aio.next_frame() say(i) end end) end");
  perilune_step(w.p, NULL, NULL);
  EQUAL(perilune_step(w.p, &b, NULL), PERILUNE_MORE);
  world_said(&w, "1 2");
  EQUAL(perilune_step(w.p, &b, NULL), PERILUNE_MORE);
  world_said(&w, "1 2 3 1");
  EQUAL(perilune_step(w.p, &b, NULL), PERILUNE_MORE);
  world_said(&w, "1 2 3 1 2 3");
  world_close(&w);
}

static void a_cancelled_one_has_no_frame_more(void) {
  world w;
  world_open(&w);
  perilune_task *t = world_spawn(&w, NULL, "while true do\n"
                                           "  say 'frame' aio.next_frame() end");
  world_settle(&w);
  perilune_step(w.p, NULL, NULL);
  EQUAL(perilune_task_cancel(t), PERILUNE_OK);
  EQUAL(world_settle(&w), PERILUNE_IDLE);
  world_said(&w, "frame frame");
  perilune_task_release(t);
  world_close(&w);
}

/* One that is ready already keeps its frame: the next wait raises. */
static void a_frame_that_has_begun_is_kept(void) {
  world w;
  world_open(&w);
  spawn(&w, "aio.next_frame() victim:cancel()");
  spawn(&w, "victim = aio.task() aio.next_frame() say 'frame'\n"
            "aio.next_frame() say 'more'");
  world_settle(&w);
  EQUAL(perilune_step(w.p, NULL, NULL), PERILUNE_IDLE);
  world_said(&w, "frame");
  world_close(&w);
}

static perilune_scope *doomed;

static int doom(lua_State *L) {
  lua_pushinteger(L, perilune_scope_kill(doomed, PERILUNE_KILL_CLOSE));
  return 1;
}

/* By one that runs before them in the same frame, and from outside. */
static void those_that_wait_for_a_frame_can_be_killed(void) {
  world w;
  world_open(&w);
  lua_register(w.L, "doom", doom);
  EQUAL(perilune_scope_new(w.p, NULL, NULL, NULL, &doomed), PERILUNE_OK);
  spawn(&w, "aio.next_frame() say(doom())");
  for (int i = 0; i < 3; i++)
    perilune_task_release(
      world_spawn(&w, doomed, "aio.next_frame() say 'ran'"));
  world_settle(&w);
  EQUAL(world_settle(&w), PERILUNE_IDLE);
  world_said(&w, "0");
  perilune_scope_release(doomed);
  EQUAL(perilune_scope_new(w.p, NULL, NULL, NULL, &doomed), PERILUNE_OK);
  perilune_task_release(world_spawn(&w, doomed, "aio.next_frame()"));
  world_settle(&w);
  EQUAL(perilune_scope_kill(doomed, PERILUNE_KILL_DROP), PERILUNE_OK);
  EQUAL(world_settle(&w), PERILUNE_IDLE);
  perilune_scope_release(doomed);
  world_close(&w);
}

static void a_closed_coroutine_has_no_frame(void) {
  world w;
  world_open(&w);
  spawn(&w, "co = coroutine.running() aio.next_frame() say 'ran'");
  world_settle(&w);
  world_do(&w, "coroutine.close(co)");
  spawn(&w, "aio.next_frame() say 'other'");
  world_settle(&w);
  EQUAL(world_settle(&w), PERILUNE_IDLE);
  world_said(&w, "other");
  world_close(&w);
}

static void closing_ends_those_that_wait_for_frames(void) {
  world w;
  world_open(&w);
  spawn(&w, "local _ <close> = setmetatable({}, {__close = function()\n"
            "  end})\n"
            "aio.next_frame()");
  spawn(&w, "aio.signal 'x':wait()");
  world_settle(&w);
  world_close(&w);
}

static void run_gives_frames(void) {
  world w;
  world_open(&w);
  spawn(&w, "for _ = 1, 10 do aio.next_frame() end say 'end'");
  EQUAL(perilune_run(w.p, NULL, 10), PERILUNE_OK);
  world_said(&w, "end");
  world_close(&w);
}

static void ten_thousand_frames_are_in_order(void) {
  world w;
  world_open(&w);
  world_do(&w, "n, bad = 0, 0 for i = 1, 10000 do aio.spawn(function()\n"
               "  for _ = 1, 3 do aio.next_frame()\n"
               "    n = n % 10000 + 1 if n ~= i then bad = bad + 1 end\n"
               "  end end) end");
  for (int i = 0; i < 3; i++)
    EQUAL(perilune_step(w.p, NULL, NULL), PERILUNE_WAIT);
  EQUAL(perilune_step(w.p, NULL, NULL), PERILUNE_IDLE);
  EQUAL(world_int(&w, "n"), 10000);
  EQUAL(world_int(&w, "bad"), 0);
  world_close(&w);
}

const test_case signal_cases[] = {
  CASE(signals_are_known_by_name), CASE(emit_gives_values_to_all),
  CASE(emit_returns_how_many), CASE(emit_has_a_limit),
  CASE(emit_out_of_memory), CASE(scripts_emit_by_functions_of_the_host),
  CASE(signals_outlive_the_state), CASE(next_frame_is_the_next_step),
  CASE(a_step_has_an_order), CASE(frames_are_shared_by_budgets),
  CASE(a_cancelled_one_has_no_frame_more),
  CASE(a_frame_that_has_begun_is_kept),
  CASE(those_that_wait_for_a_frame_can_be_killed),
  CASE(a_closed_coroutine_has_no_frame),
  CASE(closing_ends_those_that_wait_for_frames), CASE(run_gives_frames),
  CASE(ten_thousand_frames_are_in_order), END};

/* }===================================================================== */
