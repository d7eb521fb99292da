/*
** slice.c - code that does not wait is told of, put off, or ended.
**
** A runaway in these cases would run for ever, and the case hang.
**
** SPDX-License-Identifier: MIT
*/
#include "test.h"

#define SLICE 1000

static int verdict;     /* what on_overrun returns ... */
static int verdict_at;  /* ... from the n-th call on; before: CONTINUE */
static int overruns;
static int callbacks;   /* those of them that no task is to blame for */
static void *blamed;

static int on_overrun(perilune_loop *p, perilune_task *t, uint64_t ns) {
  world *w = perilune_ud(p);
  (void)ns;
  overruns++;
  if (!t) callbacks++;
  blamed = perilune_self(w->L);
  return overruns >= verdict_at ? verdict : PERILUNE_CONTINUE;
}

static void open_sliced(world *w, int what) {
  perilune_config c = {.size = sizeof c, .slice = SLICE};
  c.on_overrun = on_overrun;
  verdict = what;
  overruns = verdict_at = callbacks = 0;
  blamed = NULL;
  world_open_with(w, &c);
}

static void spawn(world *w, perilune_scope *s, const char *code) {
  perilune_task_release(world_spawn(w, s, code));
}

static perilune_stats step(world *w) {
  perilune_stats s = {.size = sizeof s};
  CHECK(perilune_step(w->p, NULL, &s) >= 0);
  return s;
}

static const char forever[] = "while true do n = (n or 0) + 1 end";

/* {== Put off ========================================================== */

static void slice_is_told_of(void) {
  world w;
  perilune_scope *s;
  int me;
  open_sliced(&w, PERILUNE_CONTINUE);
  EQUAL(perilune_scope_new(w.p, NULL, NULL, &me, &s), PERILUNE_OK);
  spawn(&w, s, "for i = 1, 10000 do end say 'end'");
  world_settle(&w);
  CHECK(overruns >= 9 && overruns <= 30);
  CHECK(blamed == &me);
  world_said(&w, "end");
  perilune_scope_release(s);
  world_close(&w);
}

static void slice_counts_from_the_last_wait(void) {
  world w;
  open_sliced(&w, PERILUNE_CONTINUE);
  spawn(&w, NULL, "for i = 1, 1000 do for k = 1, 50 do end aio.yield() end\n"
                  "say 'end'");
  world_settle(&w);
  EQUAL(overruns, 0);
  world_said(&w, "end");
  world_close(&w);
}

static void preempted_tasks_let_others_run(void) {
  world w;
  open_sliced(&w, PERILUNE_PREEMPT);
  spawn(&w, NULL, forever);
  spawn(&w, NULL, "for i = 1, 5 do say(i) aio.yield() end");
  perilune_stats s = step(&w);
  world_said(&w, "1 2 3 4 5");
  CHECK(s.preempted > 5 && s.live == 1);
  CHECK(world_int(&w, "n") > 100);
  world_close(&w);
}

static void preempted_tasks_end_well(void) {
  world w;
  open_sliced(&w, PERILUNE_PREEMPT);
  spawn(&w, NULL, "local t, s = {}, 0\n"
                  "for i = 1, 3000 do t[i] = i .. 'x' end\n"
                  "for i, v in ipairs(t) do s = s + #v end\n"
                  "local ok, e = pcall(function()\n"
                  "  for i = 1, 5000 do s = s + i % 2 end error 'no' end)\n"
                  "say(s) say(ok)");
  perilune_stats s = step(&w);
  world_settle(&w);
  world_said(&w, "16393 false");
  CHECK(s.preempted > 5 && w.errors == 0);
  world_close(&w);
}

static void without_a_callback_tasks_are_put_off(void) {
  world w;
  perilune_config c = {.size = sizeof c, .slice = SLICE};
  world_open_with(&w, &c);
  spawn(&w, NULL, forever);
  spawn(&w, NULL, "aio.yield() say 'other'");
  perilune_stats s = step(&w);
  world_said(&w, "other");
  CHECK(s.preempted > 0);
  world_close(&w);
}

static void without_slices_nothing_is_told(void) {
  perilune_config c = {.size = sizeof c, .on_overrun = on_overrun};
  world w;
  overruns = 0;
  world_open_with(&w, &c);
  spawn(&w, NULL, "for i = 1, 100000 do end say 'end'");
  perilune_stats s = step(&w);
  world_said(&w, "end");
  CHECK(overruns == 0 && s.preempted == 0 && !lua_gethook(w.L));
  world_close(&w);
}

static void preemption_is_no_wait(void) {
  world w;
  open_sliced(&w, PERILUNE_PREEMPT);
  perilune_task *t = world_spawn(
    &w, NULL, "local ok = pcall(function()\n"
              "  for i = 1, 1e5 do end say 'ran' aio.yield() end)\n"
              "say(ok) for i = 1, 1e4 do end say 'end'");
  step(&w);
  EQUAL(perilune_task_cancel(t), PERILUNE_OK);
  world_settle(&w);
  world_said(&w, "ran false end");
  perilune_task_release(t);
  world_close(&w);
}

/* A wait in a generator suspends the task, and so does this. */
static void preemption_passes_through_generators(void) {
  world w;
  open_sliced(&w, PERILUNE_PREEMPT);
  spawn(&w, NULL, "local function count(n) return aio.coroutine.wrap(\n"
                  "  function() for i = 1, n do coroutine.yield(i) end end) end\n"
                  "local outer = aio.coroutine.wrap(function()\n"
                  "  local s = 0\n"
                  "  for i in count(2000) do s = s + i end\n"
                  "  for i = 1, 20000 do s = s + 1 end\n"
                  "  coroutine.yield(s) aio.yield() return 'end' end)\n"
                  "say(outer()) say(outer())");
  spawn(&w, NULL, "aio.yield() aio.yield() say 'other'");
  perilune_stats s = step(&w);
  world_settle(&w);
  world_said(&w, "other 2021000 end");
  CHECK(s.preempted > 5);
  world_close(&w);
}

static void preemption_passes_through_handlers(void) {
  world w;
  open_sliced(&w, PERILUNE_PREEMPT);
  spawn(&w, NULL, "do local x <close> = setmetatable({}, {__close = function()\n"
                  "  for i = 1, 1e4 do end say 'closed' end}) end\n"
                  "local t = setmetatable({}, {__index = function()\n"
                  "  for i = 1, 1e4 do end return 'index' end})\n"
                  "say(t.x)");
  spawn(&w, NULL, "say 'other'");
  step(&w);
  world_settle(&w);
  world_said(&w, "other closed index");
  world_close(&w);
}

/* Where Lua cannot suspend, it is told of again, and goes on. */
static void what_cannot_be_put_off_goes_on(void) {
  world w;
  open_sliced(&w, PERILUNE_PREEMPT);
  spawn(&w, NULL, "local t = {} for i = 1, 50 do t[i] = i end\n"
                  "table.sort(t, function(a, b)\n"
                  "  for i = 1, 1000 do end return a > b end)\n"
                  "say(t[1]) say 'sorted'");
  world_settle(&w);
  CHECK(overruns > 20);
  world_said(&w, "50 sorted");
  world_close(&w);
}

/* Generators below such a function are no exception. */
static void generators_below_c_functions_go_on(void) {
  world w;
  open_sliced(&w, PERILUNE_PREEMPT);
  spawn(&w, NULL, "local t = {} for i = 1, 20 do t[i] = i end\n"
                  "table.sort(t, aio.coroutine.wrap(function(a, b)\n"
                  "  while true do for i = 1, 1000 do end\n"
                  "    a, b = coroutine.yield(a > b) end end))\n"
                  "say(t[1]) aio.yield() say 'sorted'");
  world_settle(&w);
  CHECK(overruns > 10);
  world_said(&w, "20 sorted");
  EQUAL(w.errors, 0);
  world_close(&w);
}

static void stock_coroutines_are_not_put_off(void) {
  world w;
  open_sliced(&w, PERILUNE_PREEMPT);
  spawn(&w, NULL, "local co = coroutine.wrap(function()\n"
                  "  for i = 1, 1e5 do end coroutine.yield(1) return 2 end)\n"
                  "say(co()) say(co()) for i = 1, 1e4 do end say 'end'");
  world_settle(&w);
  CHECK(overruns > 50);
  world_said(&w, "1 2 end");
  world_close(&w);
}

static void callbacks_are_told_of(void) {
  world w;
  open_sliced(&w, PERILUNE_PREEMPT);
  world_do(&w, "aio.loop():call_soon(function()\n"
               "  for i = 1, 1e5 do end say 'called' end)");
  world_settle(&w);
  CHECK(overruns > 50 && callbacks == overruns);
  world_said(&w, "called");
  world_close(&w);
}

static void preempted_tasks_can_be_killed(void) {
  for (int mode = 0; mode < 2; mode++) {
    world w;
    perilune_scope *s;
    open_sliced(&w, PERILUNE_PREEMPT);
    EQUAL(perilune_scope_new(w.p, NULL, NULL, NULL, &s), PERILUNE_OK);
    spawn(&w, s, "local x <close> = setmetatable({}, {__close = function()\n"
                 "  say 'closed' end}) while true do end");
    spawn(&w, s, "aio.coroutine.wrap(function()\n"
                 "local x <close> = setmetatable({}, {__close = function()\n"
                 "  say 'closed' end}) while true do end end)()");
    step(&w);
    EQUAL(perilune_scope_kill(s, mode), PERILUNE_OK);
    EQUAL(perilune_scope_live(s), 0);
    EQUAL(world_settle(&w), PERILUNE_IDLE);
    world_said(&w, mode == PERILUNE_KILL_CLOSE ? "closed closed" : "");
    perilune_scope_release(s);
    world_close(&w);
  }
}

static void preempted_tasks_can_be_seen(void) {
  world w;
  open_sliced(&w, PERILUNE_PREEMPT);
  spawn(&w, NULL, "t = aio.task()\naio.coroutine.wrap(function()\n"
                  "  local name = 'x' while true do end end)()");
  step(&w);
  world_do(&w, "local i = t:info()\nsay(i.state) say(i.waiting_on)\n"
               "assert(t:traceback():find ':3:')\n"
               "say(#aio.tree())");
  world_said(&w, "ready nil 1");
  world_close(&w);
}

/* }===================================================================== */

/* {== Ended ============================================================ */

/* However it tries to stay: it ends, nothing of it runs any more, the others
** go on, and it is no failure. */
static void dies(const char *code) {
  world w;
  open_sliced(&w, PERILUNE_KILL);
  verdict_at = 3;
  perilune_task *t = world_spawn(&w, NULL, code);
  spawn(&w, NULL, "for i = 1, 100 do aio.yield() end say 'other'");
  EQUAL(world_settle(&w), PERILUNE_IDLE);
  world_said(&w, "other");
  EQUAL(w.errors, 0);
  EQUAL(perilune_task_cancel(t), PERILUNE_EDONE);
  perilune_task_release(t);
  lua_gc(w.L, LUA_GCCOLLECT, 0);
  world_close(&w);
}

static void killed_in_a_loop(void) {
  dies(forever);
  dies("while true do pcall(function() while true do end end) end");
  dies("local function f() return f() end f()");
  dies("local x <close> = setmetatable({}, {__close = function()\n"
       "  say 'not this' end}) while true do end");
  dies("do local x <close> = setmetatable({}, {__close = function()\n"
       "  while true do end end}) end say 'not this'");
}

static void killed_between_waits(void) {
  dies("while true do aio.yield() for i = 1, 1e4 do end end");
}

static void killed_with_its_family(void) {
  dies("aio.group(nil, function(g)\n"
       "  g:spawn(function() aio.sleep(100) end)\n"
       "  g:spawn(function() aio.all(aio.sleep, function()\n"
       "    aio.future():await() end) end)\n"
       "  aio.yield() while true do end end)");
}

static void killed_in_generators(void) {
  dies("aio.coroutine.wrap(function() while true do end end)()");
  dies("local f = aio.coroutine.wrap(function()\n"
       "  while true do coroutine.yield() end end)\n"
       "while true do f() end");
}

/* One that begins anew in each of many coroutines does not live on by that. */
static void killed_in_nested_coroutines(void) {
  static const char f[] = "local function f(co, d)\n"
    "  while d == 0 do end\n"
    "  while true do co.resume(co.create(f), co, d - 1) end end\n";
  char code[300];
  snprintf(code, sizeof code, "%s f(coroutine, 6)", f);
  dies(code);
  snprintf(code, sizeof code, "%s table.sort({1, 2, 3}, function()\n"
           "f(aio.coroutine, 6) end)", f);
  dies(code);
  dies("local function f(d) while d == 0 do end\n"
       "  while true do pcall(coroutine.wrap(f), d - 1) end end\n"
       "f(6)");
}

/* In stock coroutines and below functions of C it gets errors. */
static void killed_in_stock_coroutines(void) {
  dies("while true do coroutine.resume(coroutine.create(function()\n"
       "  while true do end end)) end");
  dies("while true do pcall(coroutine.wrap(function()\n"
       "  while true do pcall(function() while true do end end) end end)) end");
  dies("local function f() coroutine.wrap(f)() end\n"
       "while true do pcall(f) end");
  dies("local co = coroutine.create(function()\n"
       "  local x <close> = setmetatable({}, {__close = function()\n"
       "    while true do pcall(function() while true do end end) end end})\n"
       "  coroutine.yield() end)\n"
       "coroutine.resume(co) coroutine.close(co)\n"
       "while true do end");
}

static void killed_in_what_c_calls(void) {
  dies("table.sort({1, 2, 3}, function() while true do end end)");
  dies("table.sort({1, 2, 3}, aio.coroutine.wrap(function()\n"
       "  while true do end end)) say 'not this'");
  dies("pcall(table.sort, {1, 2, 3}, function() while true do\n"
       "  pcall(function() while true do end end) end end) say 'not this'");
  dies("return pcall(string.gsub, 'x', 'x', function()\n"
       "  while true do end end)");
  dies("table.sort({1, 2, 3}, function() xpcall(function()\n"
       "  while true do end end, function() while true do end end) end)");
  dies("table.sort({1, 2, 3}, function()\n"
       "  local x <close> = setmetatable({}, {__close = function()\n"
       "    while true do end end})\n"
       "  while true do end end)");
}

static void killed_tasks_are_heard_of(void) {
  world w;
  open_sliced(&w, PERILUNE_KILL);
  world_do(&w, "t = aio.spawn(function() while true do end end)\n"
               "u = aio.spawn(function() table.sort({1, 2}, function()\n"
               "  while true do end end) end)\n"
               "for _, t in ipairs {t, u} do aio.spawn(function()\n"
               "  local ok, e = t:join() say(e.code) say((t:peek())) end) end");
  world_settle(&w);
  world_said(&w, "ECANCELED cancelled ECANCELED cancelled");
  world_close(&w);
}

static void killed_callbacks_fail(void) {
  world w;
  open_sliced(&w, PERILUNE_KILL);
  world_do(&w, "aio.loop():call_soon(function() while true do\n"
               "  pcall(function() while true do end end) end end)\n"
               "aio.loop():call_soon(say, 'next')");
  world_settle(&w);
  CHECK(callbacks >= 1);
  EQUAL(w.errors, 1);
  world_said(&w, "next");
  world_do(&w, "aio.loop():call_soon(function()\n"
               "  for i = 1, 100 do end say 'after' end)");
  world_settle(&w);
  world_said(&w, "next after");
  world_close(&w);
}

static void killed_callbacks_end_in_nested_coroutines(void) {
  world w;
  open_sliced(&w, PERILUNE_KILL);
  world_do(&w, "local function f(d) while d == 0 do end\n"
               "  while true do pcall(coroutine.wrap(f), d - 1) end end\n"
               "aio.loop():call_soon(f, 6)");
  world_settle(&w);
  EQUAL(w.errors, 1);
  world_close(&w);
}

static void killed_in_handlers_of_the_killed(void) {
  world w;
  perilune_scope *s;
  open_sliced(&w, PERILUNE_KILL);
  EQUAL(perilune_scope_new(w.p, NULL, NULL, NULL, &s), PERILUNE_OK);
  for (int i = 0; i < 2; i++)
    spawn(&w, s, "local x <close> = setmetatable({}, {__close = function()\n"
                 "  say 'closing' while true do pcall(function()\n"
                 "    while true do end end) end end}) aio.sleep(100)");
  world_settle(&w);
  EQUAL(perilune_scope_kill(s, PERILUNE_KILL_CLOSE), PERILUNE_OK);
  world_said(&w, "closing closing");
  perilune_scope_release(s);
  world_close(&w);
}

static perilune_scope *doomed;
static int kill_rc;

static int kill_scope(perilune_loop *p, perilune_task *t, uint64_t ns) {
  (void)ns;
  EQUAL(perilune_step(p, NULL, NULL), PERILUNE_EREENTER);
  EQUAL(perilune_task_then(t, NULL, NULL), PERILUNE_EARG);
  perilune_task_release(t); /* it is not ours: nothing happens */
  kill_rc = perilune_scope_kill(doomed, PERILUNE_KILL_DROP);
  return PERILUNE_PREEMPT;
}

static void overruns_may_kill_the_scope(void) {
  perilune_config c = {.size = sizeof c, .slice = SLICE};
  world w;
  c.on_overrun = kill_scope;
  world_open_with(&w, &c);
  EQUAL(perilune_scope_new(w.p, NULL, NULL, NULL, &doomed), PERILUNE_OK);
  spawn(&w, doomed, "aio.sleep(100)");
  spawn(&w, doomed, forever);
  EQUAL(world_settle(&w), PERILUNE_IDLE);
  EQUAL(kill_rc, PERILUNE_MORE);
  EQUAL(perilune_scope_live(doomed), 0);
  perilune_scope_release(doomed);
  world_close(&w);
}

/* }===================================================================== */

/* {== The end ========================================================== */

static const char *const stubborn[] = {
  "while true do end",
  "while true do pcall(function() while true do end end) end",
  "local x <close> = setmetatable({}, {__close = function()\n"
  "  while true do end end}) aio.sleep(100)",
  "local x <close> = setmetatable({}, {__close = function()\n"
  "  while true do end end}) while true do end",
  "aio.coroutine.wrap(function() while true do end end)()",
  "aio.on_close(function() while true do end end)"};

static void runaways_do_not_hold_up_close(void) {
  world w;
  open_sliced(&w, PERILUNE_PREEMPT);
  for (int k = 0; k < 2; k++) {
    for (size_t i = 0; i < sizeof stubborn / sizeof *stubborn; i++)
      spawn(&w, NULL, stubborn[i]);
    if (!k) step(&w);
  }
  world_close(&w);
}

static void runaways_do_not_hold_up_lua_close(void) {
  world w;
  open_sliced(&w, PERILUNE_PREEMPT);
  for (int k = 0; k < 2; k++) {
    for (size_t i = 0; i < 5; i++) spawn(&w, NULL, stubborn[i]);
    if (!k) step(&w);
  }
  lua_close(w.L);
  EQUAL(w.bytes, 0);
  EQUAL(perilune_close(w.p, 0, 0), PERILUNE_OK);
}

static void slices_end_with_the_loop(void) {
  world w;
  open_sliced(&w, PERILUNE_KILL);
  EQUAL(perilune_close(w.p, 0, 0), PERILUNE_OK);
  w.p = NULL;
  world_do(&w, "for i = 1, 1e5 do end");
  CHECK(!lua_gethook(w.L));
  world_close(&w);
}

static void slices_are_not_for_the_host(void) {
  world w;
  open_sliced(&w, PERILUNE_KILL);
  world_do(&w, "for i = 1, 1e5 do end");
  EQUAL(overruns, 0);
  world_close(&w);
}

/* }===================================================================== */

/* {== Around each resume =============================================== */

static char trail[300];

static void on_resume(perilune_loop *p, perilune_task *t, int begin) {
  world *w = perilune_ud(p);
  const char *who = perilune_self(w->L);
  CHECK(t);
  snprintf(trail + strlen(trail), sizeof trail - strlen(trail), "%s%s ",
           begin ? "+" : "-", who ? who : "?");
}

static void resumes_are_told_of(void) {
  static char a[] = "a", b[] = "b";
  perilune_config c = {.size = sizeof c, .on_resume = on_resume};
  perilune_scope *s, *r;
  world w;
  *trail = 0;
  world_open_with(&w, &c);
  EQUAL(perilune_scope_new(w.p, NULL, NULL, a, &s), PERILUNE_OK);
  EQUAL(perilune_scope_new(w.p, NULL, NULL, b, &r), PERILUNE_OK);
  spawn(&w, s, "aio.yield()");
  spawn(&w, r, "");
  world_do(&w, "aio.loop():call_soon(say, 'callback')");
  world_settle(&w);
  if (strcmp(trail, "+a -a +b -? +a -? ")) test_fail(__FILE__, __LINE__, trail);
  perilune_scope_release(s);
  perilune_scope_release(r);
  world_close(&w);
}

static void end_it(perilune_loop *p, perilune_task *t, int begin) {
  world *w = perilune_ud(p);
  snprintf(trail + strlen(trail), sizeof trail - strlen(trail), "%d", begin);
  EQUAL(perilune_scope_kill(doomed, PERILUNE_KILL_DROP), PERILUNE_OK);
  lua_gc(w->L, LUA_GCCOLLECT, 0);
  EQUAL(perilune_task_cancel(t), PERILUNE_EDONE);
}

static void resumes_may_be_prevented(void) {
  perilune_config c = {.size = sizeof c, .on_resume = end_it};
  world w;
  *trail = 0;
  world_open_with(&w, &c);
  EQUAL(perilune_scope_new(w.p, NULL, NULL, NULL, &doomed), PERILUNE_OK);
  spawn(&w, doomed, "say 'not this'");
  spawn(&w, doomed, "say 'not this'");
  EQUAL(world_settle(&w), PERILUNE_IDLE);
  world_said(&w, "");
  if (strcmp(trail, "10")) test_fail(__FILE__, __LINE__, trail);
  perilune_scope_release(doomed);
  world_close(&w);
}

/* }===================================================================== */

/* {== Many ============================================================= */

/* Ten thousand tasks run once in each frame, and a mod runs away. */
static void frames_go_on_with_a_runaway(void) {
  perilune_budget b = {sizeof b, 0, 0, 1, 0};
  world w;
  open_sliced(&w, PERILUNE_PREEMPT);
  world_do(&w, "count = 0\n"
               "for i = 1, 10000 do aio.spawn(function()\n"
               "  while true do count = count + 1 aio.yield() end end) end\n"
               "aio.spawn(function() while true do end end)");
  for (int i = 1; i <= 5; i++) {
    EQUAL(perilune_step(w.p, &b, NULL), PERILUNE_MORE);
    EQUAL(world_int(&w, "count"), i * 10000);
    EQUAL(overruns, i);
  }
  world_close(&w);
}

static void frames_go_on_without_it(void) {
  world w;
  open_sliced(&w, PERILUNE_KILL);
  world_do(&w, "count = 0\n"
               "aio.spawn(function() while true do end end)\n"
               "for i = 1, 10000 do aio.spawn(function()\n"
               "  count = count + 1 end) end");
  EQUAL(world_settle(&w), PERILUNE_IDLE);
  EQUAL(world_int(&w, "count"), 10000);
  EQUAL(overruns, 1);
  world_close(&w);
}

/* }===================================================================== */

const test_case slice_cases[] = {
  CASE(slice_is_told_of), CASE(slice_counts_from_the_last_wait),
  CASE(preempted_tasks_let_others_run), CASE(preempted_tasks_end_well),
  CASE(without_a_callback_tasks_are_put_off),
  CASE(without_slices_nothing_is_told), CASE(preemption_is_no_wait),
  CASE(preemption_passes_through_generators),
  CASE(preemption_passes_through_handlers),
  CASE(what_cannot_be_put_off_goes_on),
  CASE(generators_below_c_functions_go_on),
  CASE(stock_coroutines_are_not_put_off), CASE(callbacks_are_told_of),
  CASE(preempted_tasks_can_be_killed), CASE(preempted_tasks_can_be_seen),
  CASE(killed_in_a_loop), CASE(killed_between_waits),
  CASE(killed_with_its_family), CASE(killed_in_generators),
  CASE(killed_in_nested_coroutines),
  CASE(killed_in_stock_coroutines), CASE(killed_in_what_c_calls),
  CASE(killed_tasks_are_heard_of), CASE(killed_callbacks_fail),
  CASE(killed_callbacks_end_in_nested_coroutines),
  CASE(killed_in_handlers_of_the_killed), CASE(overruns_may_kill_the_scope),
  CASE(runaways_do_not_hold_up_close),
  CASE(runaways_do_not_hold_up_lua_close), CASE(slices_end_with_the_loop),
  CASE(slices_are_not_for_the_host), CASE(resumes_are_told_of),
  CASE(resumes_may_be_prevented), CASE(frames_go_on_with_a_runaway),
  CASE(frames_go_on_without_it), END};
