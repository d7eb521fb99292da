/*
** task.c - tasks that the host spawns.
**
** SPDX-License-Identifier: MIT
*/
#include "test.h"

static int ended, how_ended, values;
static char first[40];

static void on_end(perilune_task *t, lua_State *co, int how, void *ud) {
  (void)t;
  ended++;
  how_ended = how;
  values = lua_gettop(co);
  snprintf(first, sizeof first, "%s",
           values ? luaL_tolstring(co, 1, NULL) : "");
  *(int *)ud += 1;
}

static void spawn_passes_arguments(void) {
  world w;
  world_open(&w);
  luaL_loadstring(w.L, "local a, b = ...; say(a); say(b)");
  lua_pushinteger(w.L, 1);
  lua_pushnil(w.L);
  EQUAL(perilune_spawn(w.p, NULL, w.L, 2, NULL), PERILUNE_OK);
  EQUAL(lua_gettop(w.L), 0);
  world_settle(&w);
  world_said(&w, "1 nil");
  world_close(&w);
}

static void spawn_checks_its_function(void) {
  world w;
  world_open(&w);
  lua_pushinteger(w.L, 1);
  EQUAL(perilune_spawn(w.p, NULL, w.L, 0, NULL), PERILUNE_ELUA);
  EQUAL(lua_gettop(w.L), 0);
  EQUAL(perilune_spawn(w.p, NULL, w.L, 0, NULL), PERILUNE_EARG);
  lua_pushinteger(w.L, 1);
  EQUAL(perilune_spawn(w.p, NULL, w.L, 3, NULL), PERILUNE_EARG);
  EQUAL(perilune_spawn(w.p, NULL, w.L, -1, NULL), PERILUNE_EARG);
  EQUAL(lua_gettop(w.L), 1);
  lua_pop(w.L, 1);
  EQUAL(world_settle(&w), PERILUNE_IDLE);
  world_close(&w);
}

static void spawn_takes_what_can_be_called(void) {
  world w;
  world_open(&w);
  world_do(&w, "x = setmetatable({}, {__call = function() say 'ran' end})");
  lua_getglobal(w.L, "x");
  EQUAL(perilune_spawn(w.p, NULL, w.L, 0, NULL), PERILUNE_OK);
  world_settle(&w);
  world_said(&w, "ran");
  world_close(&w);
}

static void spawn_without_memory(void) {
  int rc = PERILUNE_ENOMEM;
  world w;
  world_open(&w);
  for (size_t n = 1; rc; n++) {
    perilune_task *t;
    luaL_loadstring(w.L, "say 'ran'");
    w.refuse_at = n;
    rc = perilune_spawn(w.p, NULL, w.L, 0, &t);
    w.refuse_at = 0;
    CHECK(rc == PERILUNE_OK || (rc == PERILUNE_ENOMEM && !t));
    EQUAL(lua_gettop(w.L), 0);
    perilune_task_release(t);
  }
  world_settle(&w);
  world_said(&w, "ran");
  world_close(&w);
}

static void end_of(const char *code, int how, int n, const char *value) {
  world w;
  int told = 0;
  ended = 0;
  world_open(&w);
  perilune_task *t = world_spawn(&w, NULL, code);
  EQUAL(perilune_task_then(t, on_end, &told), PERILUNE_OK);
  EQUAL(perilune_task_then(t, on_end, &told), PERILUNE_EDONE);
  world_settle(&w);
  EQUAL(told, 1);
  EQUAL(how_ended, how);
  EQUAL(values, n);
  CHECK(!strncmp(first, value, strlen(value)));
  EQUAL(w.errors, 0);
  perilune_task_release(t);
  world_close(&w);
}

static void then_is_told_how_it_ended(void) {
  end_of("return 1, nil, 3", PERILUNE_DONE, 3, "1");
  end_of("return", PERILUNE_DONE, 0, "");
  end_of("aio.yield() error('oops', 0)", PERILUNE_FAILED, 1, "oops");
  end_of("aio.task():cancel 'enough'; aio.sleep(1)", PERILUNE_CANCELLED, 1,
         "enough");
}

static void then_after_the_end(void) {
  world w;
  int told = 0;
  world_open(&w);
  perilune_task *t = world_spawn(&w, NULL, "return 5");
  world_settle(&w);
  perilune_task_then(t, on_end, &told);
  EQUAL(told, 0);
  world_settle(&w);
  EQUAL(told, 1);
  CHECK(!strcmp(first, "5"));
  perilune_task_release(t);
  world_close(&w);
}

static void then_is_not_told_after_release(void) {
  world w;
  int told = 0;
  world_open(&w);
  perilune_task *t = world_spawn(&w, NULL, "say 'ran'");
  perilune_task *u = world_spawn(&w, NULL, "say 'ran'");
  perilune_task_then(t, on_end, &told);
  perilune_task_then(u, on_end, &told);
  perilune_task_release(t);
  perilune_task_release(u);
  perilune_task_release(NULL);
  world_settle(&w);
  EQUAL(told, 0);
  world_said(&w, "ran ran");
  world_close(&w);
}

static void release_it(perilune_task *t, lua_State *co, int how, void *ud) {
  on_end(t, co, how, ud);
  perilune_task_release(t);
}

static void then_may_release_it(void) {
  world w;
  int told = 0;
  world_open(&w);
  perilune_task_then(world_spawn(&w, NULL, "return"), release_it, &told);
  world_settle(&w);
  EQUAL(told, 1);
  world_close(&w);
}

static void cancel_lets_it_clean_up(void) {
  world w;
  world_open(&w);
  perilune_task *t = world_spawn(
    &w, NULL, "pcall(aio.sleep, 100)\n"
              "aio.shield(1, function() aio.yield() say 'cleaned' end)");
  world_settle(&w);
  EQUAL(perilune_task_cancel(t), PERILUNE_OK);
  world_settle(&w);
  world_said(&w, "cleaned");
  EQUAL(perilune_task_cancel(t), PERILUNE_EDONE);
  perilune_task_release(t);
  world_close(&w);
}

static void failures_are_told(void) {
  world w;
  world_open(&w);
  perilune_task_release(world_spawn(&w, NULL, "error('oops', 0)"));
  world_settle(&w);
  EQUAL(w.errors, 1);
  CHECK(!strcmp(w.message, "task: oops"));
  CHECK(!w.error_ud);
  world_close(&w);
}

static void failures_of_callbacks_are_told(void) {
  world w;
  world_open(&w);
  world_do(&w, "aio.loop():call_soon(error, setmetatable({}, {\n"
               "  __tostring = function() return 'odd' end}))");
  world_settle(&w);
  EQUAL(w.errors, 1);
  CHECK(!strcmp(w.message, "callback: odd"));
  world_close(&w);
}

static void scripts_may_hear_of_failures_themselves(void) {
  world w;
  world_open(&w);
  world_do(&w, "aio.loop():on_error(function(e) say(e) end)");
  perilune_task_release(world_spawn(&w, NULL, "error('one', 0)"));
  world_settle(&w);
  world_do(&w, "aio.loop():on_error(nil)");
  perilune_task_release(world_spawn(&w, NULL, "error('two', 0)"));
  world_settle(&w);
  world_said(&w, "one");
  EQUAL(w.errors, 1);
  CHECK(!strcmp(w.message, "task: two"));
  world_close(&w);
}

static void handles_outlive_the_loop(void) {
  world w;
  int told = 0;
  world_open(&w);
  perilune_task *t = world_spawn(&w, NULL, "aio.sleep(100)");
  perilune_task_then(t, on_end, &told);
  world_close(&w);
  EQUAL(perilune_task_cancel(t), PERILUNE_ECLOSED);
  EQUAL(perilune_task_then(t, on_end, &told), PERILUNE_ECLOSED);
  perilune_task_release(t);
  EQUAL(told, 0);
}

const test_case task_cases[] = {
  CASE(spawn_passes_arguments), CASE(spawn_checks_its_function),
  CASE(spawn_takes_what_can_be_called), CASE(spawn_without_memory),
  CASE(then_is_told_how_it_ended), CASE(then_after_the_end),
  CASE(then_is_not_told_after_release), CASE(then_may_release_it),
  CASE(cancel_lets_it_clean_up), CASE(failures_are_told),
  CASE(failures_of_callbacks_are_told),
  CASE(scripts_may_hear_of_failures_themselves),
  CASE(handles_outlive_the_loop), END};
