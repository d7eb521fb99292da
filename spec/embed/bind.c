/*
** bind.c - values of context variables that a scope has for its tasks.
**
** SPDX-License-Identifier: MIT
*/
#include "test.h"

static perilune_scope *scope(world *w, perilune_scope *parent) {
  perilune_scope *s;
  EQUAL(perilune_scope_new(w->p, parent, NULL, NULL, &s), PERILUNE_OK);
  return s;
}

static void open_with_variable(world *w) {
  world_open(w);
  world_do(w, "v = aio.context.var('v', 'none')\n"
              "u = aio.context.var('u', 'none')");
}

static int bind(world *w, perilune_scope *s, const char *var,
                const char *value) {
  lua_getglobal(w->L, var);
  lua_pushstring(w->L, value); /* nil for NULL */
  return perilune_scope_bind(s, w->L);
}

static void spawn(world *w, perilune_scope *s, const char *code) {
  perilune_task_release(world_spawn(w, s, code));
}

static void bound_values_are_seen_by_tasks(void) {
  world w;
  open_with_variable(&w);
  perilune_scope *s = scope(&w, NULL);
  EQUAL(bind(&w, s, "v", "a"), PERILUNE_OK);
  EQUAL(lua_gettop(w.L), 0);
  spawn(&w, s, "say(v:get()) aio.yield() say(v:get())");
  spawn(&w, NULL, "say(v:get())");
  world_settle(&w);
  world_said(&w, "a none a");
  perilune_scope_release(s);
  world_close(&w);
}

static void bound_values_follow_the_work(void) {
  world w;
  open_with_variable(&w);
  perilune_scope *s = scope(&w, NULL);
  EQUAL(bind(&w, s, "v", "a"), PERILUNE_OK);
  spawn(&w, s, "aio.spawn(function() say(v:get()) end)\n"
               "aio.group(nil, function(g)\n"
               "  g:spawn(function() say(v:get()) end) end)\n"
               "aio.loop():call_soon(function() say(v:get()) end)");
  world_settle(&w);
  world_said(&w, "a a a");
  perilune_scope_release(s);
  world_close(&w);
}

static void bound_values_are_those_of_the_spawn(void) {
  world w;
  open_with_variable(&w);
  perilune_scope *s = scope(&w, NULL);
  EQUAL(bind(&w, s, "v", "a"), PERILUNE_OK);
  spawn(&w, s, "aio.yield() say(v:get())");
  EQUAL(bind(&w, s, "u", "x"), PERILUNE_OK);
  EQUAL(bind(&w, s, "v", "b"), PERILUNE_OK);
  spawn(&w, s, "say(v:get()) say(u:get())");
  world_settle(&w);
  world_said(&w, "b x a");
  perilune_scope_release(s);
  world_close(&w);
}

static void bound_values_are_inherited(void) {
  world w;
  open_with_variable(&w);
  perilune_scope *a = scope(&w, NULL);
  EQUAL(bind(&w, a, "v", "a"), PERILUNE_OK);
  perilune_scope *b = scope(&w, a);
  EQUAL(bind(&w, a, "v", "later"), PERILUNE_OK);
  EQUAL(bind(&w, b, "u", "x"), PERILUNE_OK);
  spawn(&w, b, "say(v:get()) say(u:get())");
  spawn(&w, a, "say(v:get()) say(u:get())");
  world_settle(&w);
  world_said(&w, "a x later none");
  perilune_scope_release(b);
  perilune_scope_release(a);
  world_close(&w);
}

static void bound_values_may_be_nil(void) {
  world w;
  open_with_variable(&w);
  perilune_scope *s = scope(&w, NULL);
  EQUAL(bind(&w, s, "v", NULL), PERILUNE_OK);
  spawn(&w, s, "say(v:get())");
  world_settle(&w);
  world_said(&w, "nil");
  perilune_scope_release(s);
  world_close(&w);
}

static void bound_values_are_for_this_task_to_change(void) {
  world w;
  open_with_variable(&w);
  perilune_scope *s = scope(&w, NULL);
  EQUAL(bind(&w, s, "v", "a"), PERILUNE_OK);
  spawn(&w, s, "v:set 'b' say(v:get())");
  spawn(&w, s, "say(v:get())");
  world_settle(&w);
  world_said(&w, "b a");
  perilune_scope_release(s);
  world_close(&w);
}

static void bound_is_what_is_a_variable(void) {
  world w;
  open_with_variable(&w);
  perilune_scope *s = scope(&w, NULL);
  EQUAL(bind(&w, s, "aio", "x"), PERILUNE_ELUA);
  EQUAL(bind(&w, s, "nothing", "x"), PERILUNE_ELUA);
  EQUAL(lua_gettop(w.L), 0);
  perilune_scope_release(s);
  world_close(&w);
}

static void bound_values_are_let_go(void) {
  world w;
  open_with_variable(&w);
  world_do(&w, "kept = setmetatable({}, {__mode = 'v'})");
  perilune_scope *s = scope(&w, NULL);
  world_do(&w, "kept[1] = {}");
  lua_getglobal(w.L, "v");
  lua_getglobal(w.L, "kept");
  lua_rawgeti(w.L, -1, 1);
  lua_remove(w.L, -2);
  EQUAL(perilune_scope_bind(s, w.L), PERILUNE_OK);
  world_do(&w, "collectgarbage() assert(kept[1])");
  perilune_scope_release(s);
  world_do(&w, "collectgarbage() assert(not kept[1])");
  world_close(&w);
}

static void bound_after_the_end(void) {
  world w;
  open_with_variable(&w);
  perilune_scope *s = scope(&w, NULL);
  EQUAL(bind(&w, s, "v", "a"), PERILUNE_OK);
  EQUAL(perilune_close(w.p, 0, 0), PERILUNE_OK);
  w.p = NULL;
  EQUAL(bind(&w, s, "v", "a"), PERILUNE_ECLOSED);
  world_close(&w);
  perilune_scope_release(s);
}

/* Each allocation of Lua's fails in turn: what was bound stays. */
static void bound_without_memory(void) {
  int rc = PERILUNE_ENOMEM;
  for (size_t n = 1; rc; n++) {
    world w;
    open_with_variable(&w);
    perilune_scope *s = scope(&w, NULL);
    EQUAL(bind(&w, s, "v", "a"), PERILUNE_OK);
    lua_getglobal(w.L, "v");
    lua_pushinteger(w.L, 1);
    w.refuse_at = n;
    rc = perilune_scope_bind(s, w.L);
    w.refuse_at = 0;
    CHECK(rc == PERILUNE_OK || rc == PERILUNE_ENOMEM);
    spawn(&w, s, "say(v:get())");
    world_settle(&w);
    world_said(&w, rc ? "a" : "1");
    perilune_scope_release(s);
    world_close(&w);
  }
}

const test_case bind_cases[] = {
  CASE(bound_values_are_seen_by_tasks), CASE(bound_values_follow_the_work),
  CASE(bound_values_are_those_of_the_spawn),
  CASE(bound_values_are_inherited), CASE(bound_values_may_be_nil),
  CASE(bound_values_are_for_this_task_to_change),
  CASE(bound_is_what_is_a_variable), CASE(bound_values_are_let_go),
  CASE(bound_after_the_end), CASE(bound_without_memory), END};
