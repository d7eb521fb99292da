/*
** scope.c - scopes that the host holds.
**
** SPDX-License-Identifier: MIT
*/
#include "test.h"

static perilune_scope *scope(world *w, perilune_scope *parent, void *ud) {
  perilune_scope *s;
  EQUAL(perilune_scope_new(w->p, parent, NULL, ud, &s), PERILUNE_OK);
  return s;
}

static void spawn(world *w, perilune_scope *s, const char *code) {
  perilune_task_release(world_spawn(w, s, code));
}

static void live_counts_the_subtree(void) {
  world w;
  world_open(&w);
  perilune_scope *a = scope(&w, NULL, NULL), *b = scope(&w, a, NULL);
  spawn(&w, a, "aio.sleep(100)");
  spawn(&w, b, "local g <close> = aio.group(); g:spawn(aio.sleep, 100)");
  spawn(&w, NULL, "aio.sleep(100)");
  world_settle(&w);
  EQUAL(perilune_scope_live(a), 3);
  EQUAL(perilune_scope_live(b), 2);
  perilune_scope_release(b);
  perilune_scope_release(a);
  world_close(&w);
}

static void background_tasks_stay_in_the_scope(void) {
  world w;
  world_open(&w);
  perilune_scope *s = scope(&w, NULL, NULL);
  spawn(&w, s, "aio.group(nil, function(g) g:spawn(function()\n"
               "  aio.spawn(aio.sleep, 100) end) end)");
  world_settle(&w);
  EQUAL(perilune_scope_live(s), 1);
  perilune_scope_release(s);
  world_close(&w);
}

static void cancel_is_cooperative(void) {
  world w;
  world_open(&w);
  perilune_scope *s = scope(&w, NULL, NULL);
  spawn(&w, s, "pcall(aio.sleep, 100)\n"
               "aio.shield(1, function() aio.yield() say 'cleaned' end)");
  spawn(&w, NULL, "aio.sleep(100)");
  world_settle(&w);
  EQUAL(perilune_scope_cancel(s), PERILUNE_OK);
  EQUAL(perilune_scope_cancel(s), PERILUNE_OK);
  world_said(&w, "");
  world_settle(&w);
  world_said(&w, "cleaned");
  EQUAL(perilune_scope_live(s), 0);
  perilune_scope_release(s);
  world_close(&w);
}

static void tasks_outlive_the_handle(void) {
  world w;
  world_open(&w);
  perilune_scope *s = scope(&w, NULL, NULL);
  spawn(&w, s, "aio.yield() say 'ran'");
  perilune_scope_release(s);
  perilune_scope_release(NULL);
  world_settle(&w);
  world_said(&w, "ran");
  world_close(&w);
}

static void parents_outlive_their_handles(void) {
  world w;
  world_open(&w);
  perilune_scope *a = scope(&w, NULL, NULL), *b = scope(&w, a, NULL);
  perilune_scope_release(a);
  spawn(&w, b, "aio.yield() say 'ran'");
  perilune_scope_release(b);
  world_settle(&w);
  world_said(&w, "ran");
  world_close(&w);
}

static void *seen[4];
static int nseen;

static int see(lua_State *L) {
  seen[nseen++] = perilune_self(L);
  return 0;
}

static void self_is_that_of_the_nearest_scope(void) {
  world w;
  int x, y;
  nseen = 0;
  world_open(&w);
  lua_register(w.L, "see", see);
  perilune_scope *a = scope(&w, NULL, &x), *b = scope(&w, a, &y);
  spawn(&w, a, "see()");
  spawn(&w, b, "aio.all(function() coroutine.wrap(see)() end)");
  spawn(&w, NULL, "see()");
  world_settle(&w);
  world_do(&w, "see()");
  EQUAL(nseen, 4);
  CHECK(seen[0] == &x && !seen[1] && seen[2] == &y && !seen[3]);
  perilune_scope_release(a);
  perilune_scope_release(b);
  world_close(&w);
}

static void failures_name_the_scope(void) {
  world w;
  int x;
  world_open(&w);
  perilune_scope *s = scope(&w, NULL, &x);
  spawn(&w, s, "error('oops', 0)");
  perilune_scope_release(s);
  world_settle(&w);
  EQUAL(w.errors, 1);
  CHECK(w.error_ud == &x);
  world_close(&w);
}

static void scopes_outlive_the_loop(void) {
  world w;
  world_open(&w);
  perilune_scope *a = scope(&w, NULL, NULL), *b = scope(&w, a, NULL), *c;
  spawn(&w, b, "aio.sleep(100)");
  world_settle(&w);
  world_close(&w);
  EQUAL(perilune_scope_cancel(a), PERILUNE_ECLOSED);
  EQUAL(perilune_scope_kill(a, PERILUNE_KILL_CLOSE), PERILUNE_OK);
  EQUAL(perilune_scope_live(b), 0);
  perilune_scope_release(a);
  perilune_scope_release(b);
  (void)c;
}

static void scopes_check_their_parent(void) {
  world w, v;
  perilune_scope *s;
  world_open(&w);
  world_open(&v);
  perilune_scope *a = scope(&w, NULL, NULL);
  EQUAL(perilune_scope_new(v.p, a, NULL, NULL, &s), PERILUNE_EARG);
  luaL_loadstring(v.L, "say 'ran'");
  EQUAL(perilune_spawn(v.p, a, v.L, 0, NULL), PERILUNE_ECLOSED);
  perilune_scope_kill(a, PERILUNE_KILL_DROP);
  EQUAL(perilune_scope_new(w.p, a, NULL, NULL, &s), PERILUNE_ECLOSED);
  CHECK(!s);
  perilune_scope_release(a);
  world_close(&w);
  world_close(&v);
}

const test_case scope_cases[] = {
  CASE(live_counts_the_subtree), CASE(background_tasks_stay_in_the_scope),
  CASE(cancel_is_cooperative), CASE(tasks_outlive_the_handle),
  CASE(parents_outlive_their_handles),
  CASE(self_is_that_of_the_nearest_scope), CASE(failures_name_the_scope),
  CASE(scopes_outlive_the_loop), CASE(scopes_check_their_parent), END};
