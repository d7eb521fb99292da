/*
** kill.c - when perilune_scope_kill returns, no task of the scope ever runs
** again, whatever it was doing.
**
** An entity is a struct that scripts reach through a pointer: it is freed as
** soon as its scope is killed, so that the sanitizer sees what comes later.
**
** SPDX-License-Identifier: MIT
*/
#include <stdlib.h>

#include "test.h"

typedef struct entity {
  perilune_scope *scope;
  int steps;
} entity;

/* touch(): whoever runs counts the steps of its entity. */
static int touch(lua_State *L) {
  entity *e = perilune_self(L);
  if (e) e->steps++;
  return 0;
}

static entity *entity_new(world *w, perilune_scope *parent) {
  entity *e = calloc(1, sizeof *e);
  EQUAL(perilune_scope_new(w->p, parent, NULL, e, &e->scope), PERILUNE_OK);
  lua_register(w->L, "touch", touch);
  return e;
}

static void spawn(world *w, const entity *e, const char *code) {
  perilune_task_release(world_spawn(w, e->scope, code));
}

static int entity_kill(entity *e, int mode) {
  int rc = perilune_scope_kill(e->scope, mode);
  if (rc) return rc;
  EQUAL(perilune_scope_live(e->scope), 0);
  perilune_scope_release(e->scope);
  free(e);
  return rc;
}

/* A task of `code`, killed after it has parked. What it says when it is told
** to close is `closing`. */
static void kill_parked(const char *code, const char *closing) {
  for (int mode = 0; mode < 2; mode++) {
    world w;
    world_open(&w);
    world_do(&w, "function on_close(f)\n"
                 "  return setmetatable({}, {__close = f}) end\n"
                 "f = aio.future()");
    entity *e = entity_new(&w, NULL);
    spawn(&w, e, code);
    for (int i = 0; i < 3; i++) perilune_step(w.p, NULL, NULL);
    CHECK(e->steps > 0);
    EQUAL(entity_kill(e, mode), PERILUNE_OK);
    world_said(&w, mode == PERILUNE_KILL_CLOSE ? closing : "");
    world_do(&w, "f:resolve()");
    for (int i = 0; i < 3; i++) perilune_step(w.p, NULL, NULL);
    world_said(&w, mode == PERILUNE_KILL_CLOSE ? closing : "");
    EQUAL(w.errors, 0);
    world_close(&w);
  }
}

static void kill_one_that_sleeps(void) {
  kill_parked("while true do touch() aio.sleep(0) end", "");
  kill_parked("touch() aio.sleep(100) touch()", "");
}

static void kill_one_that_yields_by_itself(void) {
  kill_parked("while true do touch() coroutine.yield() end", "");
}

static void kill_one_that_awaits(void) {
  kill_parked("touch() f:await() touch()", "");
}

static void kill_one_inside_pcall(void) {
  kill_parked("touch()\n"
              "while true do pcall(aio.sleep, 100) touch() end", "");
}

static void kill_one_with_something_to_close(void) {
  kill_parked("local x <close> = on_close(function() touch() say 'closed' end)\n"
              "touch() aio.sleep(100) touch()", "closed");
}

static void kill_one_whose_handler_waits(void) {
  kill_parked("do local x <close> = on_close(function()\n"
              "  touch() aio.sleep(100) touch() end) end touch()", "");
  kill_parked("local x <close> = on_close(function()\n"
              "  say(pcall(aio.sleep, 1)) end)\n"
              "touch() aio.sleep(100)", "false");
}

static void kill_one_in_a_scope(void) {
  kill_parked("touch() aio.timeout(100, aio.sleep, 200) touch()", "");
  kill_parked("local s <close> = aio.scope(100) touch() aio.sleep(200)", "");
  kill_parked("aio.shield(nil, function() touch() aio.sleep(100) end)", "");
}

static void kill_one_in_a_generator(void) {
  kill_parked("for x in aio.coroutine.wrap(function()\n"
              "  local c <close> = on_close(function() say 'closed' end)\n"
              "  touch() aio.sleep(100) touch() end) do end", "closed");
}

static void kill_a_family(void) {
  kill_parked("aio.group(nil, function(g)\n"
              "  for i = 1, 3 do g:spawn(function()\n"
              "    local g <close> = aio.group()\n"
              "    g:spawn(function() touch() aio.sleep(100) touch() end)\n"
              "  end) end\n"
              "  g:service(function() touch() f:await() touch() end)\n"
              "end) touch()", "");
  kill_parked("local g <close> = aio.group() touch()\n"
              "g:spawn(function() aio.sleep(100) touch() end)\n"
              "aio.sleep(100) touch()", "");
  kill_parked("touch() aio.all(function() aio.sleep(100) end, function()\n"
              "  f:await() touch() end)", "");
}

static void kill_its_background_tasks(void) {
  kill_parked("aio.spawn(function() touch() f:await() touch() end) touch()",
              "");
}

static void kill_one_that_has_not_started(void) {
  world w;
  world_open(&w);
  entity *e = entity_new(&w, NULL);
  spawn(&w, e, "say 'ran'");
  EQUAL(entity_kill(e, PERILUNE_KILL_CLOSE), PERILUNE_OK);
  world_settle(&w);
  world_said(&w, "");
  world_close(&w);
}

static void kill_takes_scopes_below_along(void) {
  world w;
  world_open(&w);
  entity *a = entity_new(&w, NULL), *b = entity_new(&w, a->scope);
  spawn(&w, b, "touch() aio.sleep(100) touch()");
  world_settle(&w);
  EQUAL(entity_kill(a, PERILUNE_KILL_CLOSE), PERILUNE_OK);
  EQUAL(perilune_scope_live(b->scope), 0);
  luaL_loadstring(w.L, "touch()");
  EQUAL(perilune_spawn(w.p, b->scope, w.L, 0, NULL), PERILUNE_ECLOSED);
  EQUAL(entity_kill(b, PERILUNE_KILL_CLOSE), PERILUNE_OK);
  world_close(&w);
}

static void kill_leaves_others_alone(void) {
  world w;
  world_open(&w);
  entity *a = entity_new(&w, NULL), *b = entity_new(&w, NULL);
  spawn(&w, a, "aio.sleep(100)");
  spawn(&w, b, "aio.yield() aio.yield() say 'alive'");
  perilune_step(w.p, NULL, NULL);
  EQUAL(entity_kill(a, PERILUNE_KILL_DROP), PERILUNE_OK);
  world_settle(&w);
  world_said(&w, "alive");
  EQUAL(entity_kill(b, PERILUNE_KILL_DROP), PERILUNE_OK);
  world_close(&w);
}

static void those_that_wait_for_it_hear(void) {
  for (int mode = 0; mode < 2; mode++) {
    world w;
    world_open(&w);
    entity *e = entity_new(&w, NULL);
    spawn(&w, e, "t = aio.task() aio.sleep(100)");
    world_settle(&w);
    perilune_task_release(world_spawn(
      &w, NULL, "local ok, e = t:join() say(ok) say(e.code)\n"
                "say(t:peek())"));
    world_settle(&w);
    EQUAL(entity_kill(e, mode), PERILUNE_OK);
    world_settle(&w);
    world_said(&w, "false ECANCELED cancelled");
    world_close(&w);
  }
}

static entity *victim;
static int rc_inside, mode_inside;

static int kill_victim(lua_State *L) {
  (void)L;
  rc_inside = perilune_scope_kill(victim->scope, mode_inside);
  return 0;
}

static void kill_itself(const char *code, int steps) {
  for (mode_inside = 0; mode_inside < 2; mode_inside++) {
    world w;
    world_open(&w);
    victim = entity_new(&w, NULL);
    lua_register(w.L, "die", kill_victim);
    spawn(&w, victim, code);
    world_settle(&w);
    EQUAL(rc_inside, PERILUNE_MORE);
    EQUAL(perilune_scope_live(victim->scope), 0);
    EQUAL(victim->steps, steps);
    EQUAL(entity_kill(victim, mode_inside), PERILUNE_OK);
    EQUAL(w.errors, 0);
    world_close(&w);
  }
}

static void kill_itself_ends_at_its_next_wait(void) {
  kill_itself("touch() die() touch() aio.yield() touch()", 2);
  kill_itself("touch() die() touch() aio.sleep(100) touch()", 2);
  kill_itself("touch() die() pcall(aio.sleep, 100) touch()", 1);
}

static void kill_itself_ends_with_its_body(void) {
  kill_itself("die() touch()", 1);
}

static void kill_itself_takes_its_family_along(void) {
  kill_itself("aio.spawn(function() touch() aio.sleep(100) touch() end)\n"
              "local g <close> = aio.group()\n"
              "g:spawn(function() touch() die() aio.yield() touch() end)\n"
              "aio.sleep(100) touch()", 2);
  kill_itself("local g <close> = aio.group()\n"
              "g:spawn(function() touch() aio.sleep(100) touch() end)\n"
              "aio.yield() die() touch() aio.yield() touch()", 2);
}

static void kill_itself_spawns_no_more(void) {
  kill_itself("die() assert(not pcall(aio.spawn, touch)) touch()", 1);
}

static void kill_one_task_from_another(void) {
  for (mode_inside = 0; mode_inside < 2; mode_inside++) {
    world w;
    world_open(&w);
    victim = entity_new(&w, NULL);
    lua_register(w.L, "die", kill_victim);
    spawn(&w, victim, "touch() aio.sleep(100) touch()");
    perilune_task_release(world_spawn(
      &w, NULL, "aio.yield() die() say 'goes on' aio.yield() say 'and on'"));
    world_settle(&w);
    EQUAL(rc_inside, PERILUNE_OK);
    EQUAL(victim->steps, 1);
    EQUAL(entity_kill(victim, mode_inside), PERILUNE_OK);
    world_said(&w, "goes on and on");
    world_close(&w);
  }
}

static void a_handler_may_kill_as_well(void) {
  world w;
  world_open(&w);
  mode_inside = PERILUNE_KILL_CLOSE;
  victim = entity_new(&w, NULL);
  lua_register(w.L, "die", kill_victim);
  spawn(&w, victim, "local x <close> = setmetatable({}, {__close = die})\n"
                    "touch() aio.sleep(100) touch()");
  spawn(&w, victim, "touch() aio.sleep(100) touch()");
  world_settle(&w);
  EQUAL(perilune_scope_kill(victim->scope, PERILUNE_KILL_CLOSE), PERILUNE_OK);
  EQUAL(rc_inside, PERILUNE_MORE);
  EQUAL(victim->steps, 2);
  EQUAL(entity_kill(victim, PERILUNE_KILL_CLOSE), PERILUNE_OK);
  world_settle(&w);
  world_close(&w);
}

static void a_failing_handler_stops_nothing(void) {
  world w;
  world_open(&w);
  entity *e = entity_new(&w, NULL);
  spawn(&w, e, "local a <close> = setmetatable({}, {__close = say})\n"
               "local x <close> = setmetatable({}, {__close = error})\n"
               "aio.sleep(100)");
  world_settle(&w);
  EQUAL(entity_kill(e, PERILUNE_KILL_CLOSE), PERILUNE_OK);
  EQUAL(w.errors, 0);
  world_close(&w);
}

static void kill_without_memory(void) {
  for (int mode = 0; mode < 2; mode++) {
    world w;
    world_open(&w);
    entity *e = entity_new(&w, NULL);
    spawn(&w, e, "local x <close> = setmetatable({}, {__close = function()\n"
                 "  return {} end})\n"
                 "touch() aio.sleep(100) touch()");
    spawn(&w, e, "local g <close> = aio.group()\n"
                 "g:spawn(function() touch() aio.sleep(100) touch() end)");
    world_settle(&w);
    w.refusing = 1;
    EQUAL(entity_kill(e, mode), PERILUNE_OK);
    w.refusing = 0;
    world_settle(&w);
    world_close(&w);
  }
}

static void kill_checks_its_mode(void) {
  world w;
  world_open(&w);
  entity *e = entity_new(&w, NULL);
  EQUAL(perilune_scope_kill(e->scope, 7), PERILUNE_EARG);
  EQUAL(entity_kill(e, PERILUNE_KILL_DROP), PERILUNE_OK);
  world_close(&w);
}

/* One that reads from a socket and one that waits for a job of a thread. */
static void kill_with_something_outside(void) {
  for (int mode = 0; mode < 2; mode++) {
    world w;
    world_open(&w);
    if (perilune_fd(w.p) < 0) test_skip("a build without sockets");
    entity *e = entity_new(&w, NULL);
    world_do(&w, "a, b = aio.unix.pair()");
    spawn(&w, e, "touch() a:read_some() touch()");
    world_settle(&w);
    EQUAL(entity_kill(e, mode), PERILUNE_OK);
    world_do(&w, "aio.spawn(function() b:write 'x'; b:close() end)\n"
                 "aio.spawn(function() say(a:read(1)) a:close() end)");
    EQUAL(perilune_run(w.p, NULL, 5), PERILUNE_OK);
    world_said(&w, "x");
    world_close(&w);
  }
}

/* Entities come and go in one loop, in the middle of what they do. */
static void kill_a_thousand(void) {
  static const char *const lives[] = {
    "while true do touch() aio.sleep(0) end",
    "touch() f:await() touch()",
    "while true do touch() pcall(aio.sleep, 100) end",
    "local x <close> = setmetatable({}, {__close = touch})\n"
    "touch() aio.sleep(100)",
    "aio.group(nil, function(g) for i = 1, 3 do g:spawn(function()\n"
    "  while true do touch() aio.yield() end end) end end)"};
  perilune_budget b = {sizeof b, 0, 7, 0, 0};
  entity *alive[10] = {NULL};
  world w;
  world_open(&w);
  world_do(&w, "f = aio.future()");
  for (int i = 0; i < 1000; i++) {
    entity **e = &alive[i * 7 % 10];
    if (*e) EQUAL(entity_kill(*e, i % 2), PERILUNE_OK);
    *e = entity_new(&w, NULL);
    spawn(&w, *e, lives[i % 5]);
    perilune_step(w.p, &b, NULL);
  }
  for (int i = 0; i < 10; i++)
    if (alive[i]) EQUAL(entity_kill(alive[i], i % 2), PERILUNE_OK);
  EQUAL(world_settle(&w), PERILUNE_IDLE);
  EQUAL(w.errors, 0);
  world_close(&w);
}

const test_case kill_cases[] = {
  CASE(kill_one_that_sleeps), CASE(kill_one_that_yields_by_itself),
  CASE(kill_one_that_awaits), CASE(kill_one_inside_pcall),
  CASE(kill_one_with_something_to_close),
  CASE(kill_one_whose_handler_waits), CASE(kill_one_in_a_scope),
  CASE(kill_one_in_a_generator), CASE(kill_a_family),
  CASE(kill_its_background_tasks), CASE(kill_one_that_has_not_started),
  CASE(kill_takes_scopes_below_along), CASE(kill_leaves_others_alone),
  CASE(those_that_wait_for_it_hear),
  CASE(kill_itself_ends_at_its_next_wait),
  CASE(kill_itself_ends_with_its_body),
  CASE(kill_itself_takes_its_family_along),
  CASE(kill_itself_spawns_no_more), CASE(kill_one_task_from_another),
  CASE(a_handler_may_kill_as_well), CASE(a_failing_handler_stops_nothing),
  CASE(kill_without_memory), CASE(kill_checks_its_mode),
  CASE(kill_with_something_outside), CASE(kill_a_thousand), END};
