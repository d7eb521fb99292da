/*
** future.c - futures that the host settles.
**
** SPDX-License-Identifier: MIT
*/
#include "test.h"

/* A future that a task, in Lua `t`, awaits; what came of it is said. */
static perilune_future *awaited(world *w) {
  perilune_future *f;
  world_open(w);
  EQUAL(perilune_future_new(w->p, &f), PERILUNE_OK);
  perilune_future_push(w->L, f);
  lua_setglobal(w->L, "f");
  world_do(w, "t = aio.spawn(function()\n"
              "  local r = table.pack(f:join())\n"
              "  for i = 1, r.n do say(r[i]) end\n"
              "end)");
  world_settle(w);
  return f;
}

static void done_gives_its_values(void) {
  world w;
  perilune_future *f = awaited(&w);
  lua_pushinteger(w.L, 1);
  lua_pushnil(w.L);
  EQUAL(perilune_future_done(f, w.L, 2), PERILUNE_OK);
  EQUAL(lua_gettop(w.L), 0);
  perilune_future_release(f);
  world_settle(&w);
  world_said(&w, "true 1 nil");
  world_close(&w);
}

static void fail_gives_its_error(void) {
  world w;
  perilune_future *f = awaited(&w);
  lua_pushliteral(w.L, "oops");
  EQUAL(perilune_future_fail(f, w.L), PERILUNE_OK);
  perilune_future_release(f);
  world_settle(&w);
  world_said(&w, "false oops");
  world_close(&w);
}

static void settling_twice_is_refused(void) {
  world w;
  perilune_value v = {.type = PERILUNE_NIL};
  perilune_future *f = awaited(&w);
  EQUAL(perilune_future_done(f, w.L, 0), PERILUNE_OK);
  lua_pushliteral(w.L, "oops");
  EQUAL(perilune_future_fail(f, w.L), PERILUNE_EDONE);
  EQUAL(lua_gettop(w.L), 0);
  EQUAL(perilune_post_value(f, &v), PERILUNE_EDONE);
  world_settle(&w);
  world_said(&w, "true");
  world_close(&w);
}

static void a_script_may_settle_first(void) {
  world w;
  perilune_value v = {.type = PERILUNE_NIL};
  perilune_future *f = awaited(&w);
  world_do(&w, "f:resolve 'mine'");
  EQUAL(perilune_future_done(perilune_future_retain(f), w.L, 0),
        PERILUNE_EDONE);
  perilune_future_release(f);
  EQUAL(perilune_post_value(f, &v), PERILUNE_EDONE);
  world_settle(&w);
  world_said(&w, "true mine");
  world_close(&w);
}

static void release_unsettled_fails_it(void) {
  world w;
  perilune_future *f = awaited(&w);
  perilune_future_release(f);
  world_settle(&w);
  world_said(&w, "false EBROKEN: the write end of the future was dropped");
  world_close(&w);
}

static void references_are_counted(void) {
  world w;
  perilune_future *f = awaited(&w);
  CHECK(perilune_future_retain(f) == f);
  perilune_future_release(f);
  world_settle(&w);
  world_said(&w, "");
  perilune_future_release(f);
  perilune_future_release(NULL);
  world_settle(&w);
  CHECK(world_int(&w, "x") == 0);
  world_close(&w);
}

static void post_one(const perilune_value *v, const char *expected) {
  world w;
  perilune_future *f = awaited(&w);
  EQUAL(perilune_post_value(f, v), PERILUNE_OK);
  world_settle(&w);
  world_said(&w, expected);
  world_close(&w);
}

static void posted_values_of_all_types(void) {
  perilune_value v = {.type = PERILUNE_NIL};
  post_one(&v, "true nil");
  v = (perilune_value){.type = PERILUNE_BOOL, .u = {.i = 1}};
  post_one(&v, "true true");
  v = (perilune_value){.type = PERILUNE_INT, .u = {.i = -7}};
  post_one(&v, "true -7");
  v = (perilune_value){.type = PERILUNE_NUMBER, .u = {.n = 0.5}};
  post_one(&v, "true 0.5");
  v = (perilune_value){.type = PERILUNE_STRING, .u = {.str = {"abc", 2}}};
  post_one(&v, "true ab");
  v = (perilune_value){.type = PERILUNE_ERROR, .u = {.str = {"bad", 3}}};
  post_one(&v, "false bad");
}

static void posted_values_are_checked(void) {
  world w;
  char text[PERILUNE_STRING_MAX + 1] = "";
  perilune_value v = {.type = 77};
  perilune_future *f = awaited(&w);
  EQUAL(perilune_post_value(f, &v), PERILUNE_EARG);
  v = (perilune_value){.type = PERILUNE_STRING,
                       .u = {.str = {text, sizeof text}}};
  EQUAL(perilune_post_value(f, &v), PERILUNE_EFULL);
  v.u.str.n--;
  EQUAL(perilune_post_value(f, &v), PERILUNE_OK);
  world_close(&w);
}

static int pushed, dropped;

static int push_two(lua_State *L, void *ud) {
  pushed++;
  lua_pushliteral(L, "not returned");
  lua_pushinteger(L, *(int *)ud);
  lua_pushliteral(L, "two");
  return 2;
}

static int push_error(lua_State *L, void *ud) {
  (void)ud;
  return luaL_error(L, "no");
}

static void drop(void *ud) {
  (void)ud;
  dropped++;
}

static void posted_calls_push_values(void) {
  world w;
  int one = 1;
  perilune_future *f = awaited(&w);
  pushed = dropped = 0;
  EQUAL(perilune_post_call(f, push_two, drop, &one), PERILUNE_OK);
  EQUAL(pushed, 0);
  world_settle(&w);
  world_said(&w, "true 1 two");
  CHECK(pushed == 1 && dropped == 0);
  world_close(&w);
}

static void posted_calls_may_raise(void) {
  world w;
  perilune_future *f = awaited(&w);
  EQUAL(perilune_post_call(f, push_error, NULL, NULL), PERILUNE_OK);
  world_settle(&w);
  world_said(&w, "false no");
  world_close(&w);
}

static void posted_calls_that_nobody_wants_are_dropped(void) {
  world w;
  int one = 1;
  perilune_future *f = awaited(&w);
  pushed = dropped = 0;
  perilune_future_retain(f);
  EQUAL(perilune_post_call(f, push_two, drop, &one), PERILUNE_OK);
  world_do(&w, "f:cancel()");
  world_settle(&w);
  CHECK(pushed == 0 && dropped == 1);
  EQUAL(perilune_post_call(f, push_two, drop, &one), PERILUNE_EDONE);
  CHECK(pushed == 0 && dropped == 2);
  world_close(&w);
}

static void posted_calls_are_dropped_by_close(void) {
  world w;
  int one = 1;
  perilune_future *f = awaited(&w);
  pushed = dropped = 0;
  EQUAL(perilune_post_call(f, push_two, drop, &one), PERILUNE_OK);
  world_close(&w);
  CHECK(pushed == 0 && dropped == 1);
}

static void futures_outlive_the_loop(void) {
  world w;
  perilune_value v = {.type = PERILUNE_NIL};
  perilune_future *f = awaited(&w), *g;
  EQUAL(perilune_future_new(w.p, &g), PERILUNE_OK);
  world_close(&w);
  EQUAL(perilune_post_value(f, &v), PERILUNE_ECLOSED);
  perilune_future_release(g);
}

static void callbacks_hear_of_it(void) {
  world w;
  perilune_future *f = awaited(&w);
  world_do(&w, "f:on_done(function(x) say(x == f); f = nil end)");
  EQUAL(perilune_future_done(f, w.L, 0), PERILUNE_OK);
  perilune_future_release(f);
  world_settle(&w);
  world_said(&w, "true true");
  world_close(&w);
}

/* Whatever Lua refuses, they are settled, and who waits is woken. */
static void posts_survive_a_lack_of_memory(void) {
  for (int observed = 0; observed < 2; observed++) {
    world w;
    int one = 1;
    perilune_future *f = awaited(&w), *g;
    if (observed) world_do(&w, "f:on_done(function() say 'told' end)");
    EQUAL(perilune_future_new(w.p, &g), PERILUNE_OK);
    perilune_value v = {.type = PERILUNE_STRING,
                        .u = {.str = {"unusual text of no small size, so that "
                                      "it takes memory", 50}}};
    w.refusing = 1;
    EQUAL(perilune_post_call(f, push_two, NULL, &one), PERILUNE_OK);
    EQUAL(perilune_post_value(g, &v), PERILUNE_OK);
    for (int i = 0; i < 5; i++) perilune_step(w.p, NULL, NULL);
    w.refusing = 0;
    world_settle(&w);
    world_do(&w, "assert(f:peek() ~= 'pending')\n"
                 "assert(t:peek() ~= 'pending')");
    world_close(&w);
  }
}

static void futures_without_memory(void) {
  int rc = PERILUNE_ENOMEM;
  world w;
  world_open(&w);
  for (size_t n = 1; rc; n++) {
    perilune_future *f;
    w.refuse_at = n;
    rc = perilune_future_new(w.p, &f);
    w.refuse_at = 0;
    CHECK(rc == PERILUNE_OK || (rc == PERILUNE_ENOMEM && !f));
    perilune_future_release(f);
  }
  world_settle(&w);
  world_close(&w);
}

const test_case future_cases[] = {
  CASE(done_gives_its_values), CASE(fail_gives_its_error),
  CASE(settling_twice_is_refused), CASE(a_script_may_settle_first),
  CASE(release_unsettled_fails_it), CASE(references_are_counted),
  CASE(posted_values_of_all_types), CASE(posted_values_are_checked),
  CASE(posted_calls_push_values), CASE(posted_calls_may_raise),
  CASE(posted_calls_that_nobody_wants_are_dropped),
  CASE(posted_calls_are_dropped_by_close), CASE(futures_outlive_the_loop),
  CASE(callbacks_hear_of_it), CASE(posts_survive_a_lack_of_memory),
  CASE(futures_without_memory), END};
