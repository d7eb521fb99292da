/*
** wait.c - C functions of the host that wait, and those that nobody waits for.
**
** SPDX-License-Identifier: MIT
*/
#include "test.h"

/* One future, which the functions below make or are given. */
static perilune_future *made;

static int make(lua_State *L) {
  if (perilune_future_new(perilune_get(L), &made))
    return luaL_error(L, "no future");
  return 0;
}

/* load(...): awaits a new future, and returns its values. */
static int load(lua_State *L) {
  make(L);
  return perilune_await(L, made, NULL, 0);
}

static int count_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  lua_pushinteger(L, lua_gettop(L) * 100 + (int)ctx);
  return 1;
}

/* count(...): how many values there are then, and a number of ours. */
static int count(lua_State *L) {
  make(L);
  return perilune_await(L, made, count_k, 7);
}

/* again(f): awaits the future that it is given. */
static int again(lua_State *L) {
  return perilune_await(L, perilune_future_check(L, 1), NULL, 0);
}

static void begin(world *w, const char *code) {
  world_open(w);
  lua_register(w->L, "load", load);
  lua_register(w->L, "count", count);
  lua_register(w->L, "again", again);
  made = NULL;
  perilune_task_release(world_spawn(w, NULL, code));
  world_settle(w);
}

static void finish(world *w, const char *expected) {
  perilune_future_release(made);
  world_settle(w);
  world_said(w, expected);
  world_close(w);
}

static void await_returns_values(void) {
  world w;
  begin(&w, "local a, b = load('x') say(a) say(b)");
  lua_pushinteger(w.L, 1);
  lua_pushinteger(w.L, 2);
  EQUAL(perilune_future_done(made, w.L, 2), PERILUNE_OK);
  finish(&w, "1 2");
}

static void await_goes_on_in_its_continuation(void) {
  world w;
  begin(&w, "say(count('x', 'y'))");
  lua_pushinteger(w.L, 1);
  EQUAL(perilune_future_done(made, w.L, 1), PERILUNE_OK);
  finish(&w, "307");
}

static void await_raises_errors(void) {
  world w;
  begin(&w, "say(pcall(load)) say(select(2, pcall(count)))");
  lua_pushliteral(w.L, "one");
  EQUAL(perilune_future_fail(made, w.L), PERILUNE_OK);
  perilune_future_release(made);
  world_settle(&w);
  lua_pushliteral(w.L, "two");
  EQUAL(perilune_future_fail(made, w.L), PERILUNE_OK);
  finish(&w, "false two");
}

static void await_what_is_settled(void) {
  world w;
  begin(&w, "");
  perilune_future_new(w.p, &made);
  lua_pushinteger(w.L, 5);
  EQUAL(perilune_future_done(made, w.L, 1), PERILUNE_OK);
  perilune_future_push(w.L, made);
  lua_setglobal(w.L, "f");
  perilune_task_release(world_spawn(&w, NULL, "say(again(f))"));
  world_settle(&w);
  finish(&w, "5");
}

static void await_is_left_by_a_cancellation(void) {
  world w;
  begin(&w, "t = aio.task() say(select(3, aio.timeout(60, load)))");
  world_do(&w, "t:cancel()");
  finish(&w, "");
}

static void await_obeys_timeouts(void) {
  world w;
  begin(&w, "say(select(3, aio.timeout(0.001, load)))");
  EQUAL(perilune_run(w.p, NULL, 5), PERILUNE_OK);
  finish(&w, "ETIMEDOUT");
}

static void await_keeps_what_came_before_a_cancellation(void) {
  world w;
  begin(&w, "t = aio.task() say(load())");
  lua_pushinteger(w.L, 5);
  EQUAL(perilune_future_done(made, w.L, 1), PERILUNE_OK);
  world_do(&w, "t:cancel()");
  finish(&w, "5");
}

static void await_outside_of_tasks_is_refused(void) {
  world w;
  begin(&w, "");
  world_do(&w, "local ok, e = pcall(load) assert(not ok)\n"
               "say(e.code)");
  finish(&w, "EPERM");
}

static void await_in_a_generator(void) {
  world w;
  begin(&w, "for x in aio.coroutine.wrap(function()\n"
            "  aio.coroutine = nil; coroutine.yield(load()) end) do say(x) end");
  lua_pushinteger(w.L, 5);
  EQUAL(perilune_future_done(made, w.L, 1), PERILUNE_OK);
  finish(&w, "5");
}

static void await_by_several(void) {
  world w;
  begin(&w, "");
  perilune_future_new(w.p, &made);
  perilune_future_push(w.L, made);
  lua_setglobal(w.L, "f");
  for (int i = 0; i < 3; i++)
    perilune_task_release(world_spawn(&w, NULL, "say(again(f))"));
  world_settle(&w);
  lua_pushinteger(w.L, 5);
  EQUAL(perilune_future_done(made, w.L, 1), PERILUNE_OK);
  finish(&w, "5 5 5");
}

static void check_takes_futures_of_the_host_only(void) {
  world w;
  begin(&w, "");
  world_do(&w, "for _, x in ipairs { 1, {}, aio.future(), io.stdout } do\n"
               "  local ok, e = pcall(again, x)\n"
               "  assert(not ok and e:find 'future of the host')\n"
               "end");
  perilune_future_new(w.p, &made);
  perilune_future_push(w.L, made);
  lua_setglobal(w.L, "f");
  perilune_future_release(made);
  made = NULL;
  world_settle(&w);
  world_do(&w, "local ok, e = pcall(again, f)\n"
               "assert(not ok and e:find 'let go')");
  finish(&w, "");
}

static int abandoned;

static void on_abandon(void *ud) {
  abandoned++;
  *(int *)ud = 1;
}

static void abandon_is_told_once(void) {
  world w;
  int ud = 0;
  abandoned = 0;
  begin(&w, "t = aio.spawn(load) u = aio.spawn(function() again(f) end)\n"
            "aio.yield()");
  EQUAL(perilune_future_on_abandon(made, on_abandon, &ud), PERILUNE_OK);
  EQUAL(perilune_future_on_abandon(made, on_abandon, &ud), PERILUNE_EDONE);
  world_settle(&w);
  EQUAL(abandoned, 0);
  world_do(&w, "t:cancel()");
  world_settle(&w);
  EQUAL(abandoned, 1);
  EQUAL(ud, 1);
  world_settle(&w);
  EQUAL(abandoned, 1);
  w.errors = 0;
  finish(&w, "");
}

static void abandon_is_not_told_of_what_was_settled(void) {
  world w;
  int ud = 0;
  abandoned = 0;
  begin(&w, "say(load())");
  EQUAL(perilune_future_on_abandon(made, on_abandon, &ud), PERILUNE_OK);
  world_settle(&w);
  lua_pushinteger(w.L, 5);
  EQUAL(perilune_future_done(made, w.L, 1), PERILUNE_OK);
  finish(&w, "5");
  EQUAL(abandoned, 0);
}

static void abandon_comes_from_a_kill(void) {
  world w;
  int ud = 0;
  perilune_scope *s;
  abandoned = 0;
  begin(&w, "");
  EQUAL(perilune_scope_new(w.p, NULL, NULL, NULL, &s), PERILUNE_OK);
  perilune_task_release(world_spawn(&w, s, "load()"));
  world_settle(&w);
  EQUAL(perilune_future_on_abandon(made, on_abandon, &ud), PERILUNE_OK);
  world_settle(&w);
  EQUAL(perilune_scope_kill(s, PERILUNE_KILL_DROP), PERILUNE_OK);
  EQUAL(perilune_timeout(w.p), 0);
  world_settle(&w);
  EQUAL(abandoned, 1);
  perilune_scope_release(s);
  finish(&w, "");
}

const test_case wait_cases[] = {
  CASE(await_returns_values), CASE(await_goes_on_in_its_continuation),
  CASE(await_raises_errors), CASE(await_what_is_settled),
  CASE(await_is_left_by_a_cancellation), CASE(await_obeys_timeouts),
  CASE(await_keeps_what_came_before_a_cancellation),
  CASE(await_outside_of_tasks_is_refused), CASE(await_in_a_generator),
  CASE(await_by_several), CASE(check_takes_futures_of_the_host_only),
  CASE(abandon_is_told_once), CASE(abandon_is_not_told_of_what_was_settled),
  CASE(abandon_comes_from_a_kill), END};
