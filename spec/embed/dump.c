/*
** dump.c - what a host sees of the tasks.
**
** SPDX-License-Identifier: MIT
*/
#include "test.h"

static char seen[1000];
static int limit;

/* Each task as "depth name state wait line;" */
static int on_task(const perilune_info *i, void *ud) {
  size_t n = strlen(seen);
  CHECK(i->size == sizeof *i && i->id);
  snprintf(seen + n, sizeof seen - n, "%u %s %s %s %d;", i->depth,
           i->name ? i->name : "?", i->state, i->wait ? i->wait : "-",
           i->line);
  if (ud) *(perilune_info *)ud = *i;
  return limit && !--limit;
}

static void check_seen(const char *expected) {
  if (strcmp(seen, expected)) test_fail(__FILE__, __LINE__, seen);
}

static int dump(world *w) {
  *seen = 0;
  return perilune_dump(w->p, on_task, NULL);
}

static void spawn(world *w, perilune_scope *s, const char *code) {
  perilune_task_release(world_spawn(w, s, code));
}

static void dump_of_nothing(void) {
  world w;
  world_open(&w);
  EQUAL(dump(&w), 0);
  check_seen("");
  world_close(&w);
}

static void dump_shows_groups_of_the_main_chunk(void) {
  world w;
  world_open(&w);
  world_do(&w, "g = aio.group()\n"
               "g:spawn(function() aio.task():name 'a' aio.sleep(100) end)");
  world_settle(&w);
  EQUAL(dump(&w), 1);
  check_seen("0 a waiting sleep 2;");
  world_close(&w);
}

static void dump_shows_a_tree(void) {
  world w;
  world_open(&w);
  spawn(&w, NULL, "aio.task():name 'a'\n"
                  "aio.group(nil, function(g)\n"
                  "  g:spawn(function()\n"
                  "    aio.group(nil, function(g)\n"
                  "      g:spawn(aio.sleep, 100):name 'c'\n"
                  "      g:wait() end) end):name 'b'\n"
                  "  g:spawn(function() aio.channel():get() end):name 'd'\n"
                  "end)");
  spawn(&w, NULL, "aio.task():name 'e'\n\nlocal l = aio.lock() l:acquire()\n"
                  "aio.spawn(function()\nl:acquire() end):name 'f'\n"
                  "aio.future():await()");
  world_settle(&w);
  EQUAL(dump(&w), 6);
  check_seen("0 a waiting end of its group 2;"
             "1 b waiting children of a group 6;2 c waiting sleep 0;"
             "1 d waiting channel get 7;"
             "0 e waiting await 6;0 f waiting lock 5;");
  world_close(&w);
}

static void dump_says_whose_they_are(void) {
  world w;
  int me;
  perilune_scope *s;
  perilune_info i;
  world_open(&w);
  EQUAL(perilune_scope_new(w.p, NULL, NULL, &me, &s), PERILUNE_OK);
  spawn(&w, s, "local g <close> = aio.group()\n"
               "g:spawn(function() id = aio.task():info().id\n"
               "  parent = aio.task():info().parent:info().id\n"
               "  aio.sleep(100) end)");
  world_settle(&w);
  *seen = 0;
  EQUAL(perilune_dump(w.p, on_task, &i), 2);
  CHECK(i.ud == &me);
  EQUAL(i.id, world_int(&w, "id"));
  EQUAL(i.parent, world_int(&w, "parent"));
  perilune_scope_release(s);
  world_close(&w);
}

static void dump_shows_those_that_have_not_begun(void) {
  world w;
  world_open(&w);
  spawn(&w, NULL, "");
  EQUAL(dump(&w), 1);
  check_seen("0 ? ready - 0;");
  world_close(&w);
}

static void dump_ends_early(void) {
  world w;
  world_open(&w);
  for (int i = 0; i < 5; i++) spawn(&w, NULL, "aio.sleep(100)");
  limit = 3;
  EQUAL(dump(&w), 3);
  world_close(&w);
}

static int dump_here(lua_State *L) {
  *seen = 0;
  perilune_dump(perilune_get(L), on_task, NULL);
  return 0;
}

static void dump_inside_a_step(void) {
  world w;
  world_open(&w);
  lua_register(w.L, "dump", dump_here);
  spawn(&w, NULL, "aio.task():name 'a'\n"
                  "aio.coroutine.wrap(function()\n\ndump() end)()");
  spawn(&w, NULL, "aio.yield()");
  perilune_step(w.p, NULL, NULL);
  check_seen("0 a running - 4;0 ? ready - 0;");
  world_close(&w);
}

static int dump_and_go_on(perilune_loop *p, perilune_task *t, uint64_t ns) {
  (void)t;
  (void)ns;
  *seen = 0;
  perilune_dump(p, on_task, NULL);
  return PERILUNE_PREEMPT;
}

static void dump_of_a_runaway(void) {
  perilune_config c = {.size = sizeof c, .slice = 1000};
  world w;
  c.on_overrun = dump_and_go_on;
  world_open_with(&w, &c);
  spawn(&w, NULL, "aio.coroutine.wrap(function()\n\n"
                  "local n = 0 while true do n = n + 1 end end)()");
  perilune_step(w.p, NULL, NULL);
  check_seen("0 ? running - 3;");
  EQUAL(dump(&w), 1);
  check_seen("0 ? ready - 3;");
  world_close(&w);
}

static void dump_needs_no_memory(void) {
  world w;
  world_open(&w);
  spawn(&w, NULL, "aio.task():name 'a' aio.sleep(100)");
  world_settle(&w);
  w.refusing = 1;
  EQUAL(dump(&w), 1);
  w.refusing = 0;
  check_seen("0 a waiting sleep 1;");
  world_close(&w);
}

static void dump_of_what_is_closed(void) {
  world w;
  world_open(&w);
  lua_close(w.L);
  EQUAL(perilune_dump(w.p, on_task, NULL), PERILUNE_ECLOSED);
  EQUAL(perilune_close(w.p, 0, 0), PERILUNE_OK);
}

const test_case dump_cases[] = {
  CASE(dump_of_nothing), CASE(dump_shows_groups_of_the_main_chunk),
  CASE(dump_shows_a_tree),
  CASE(dump_says_whose_they_are),
  CASE(dump_shows_those_that_have_not_begun), CASE(dump_ends_early),
  CASE(dump_inside_a_step), CASE(dump_of_a_runaway),
  CASE(dump_needs_no_memory), CASE(dump_of_what_is_closed), END};
