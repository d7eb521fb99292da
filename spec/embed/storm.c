/*
** storm.c - finalizers that call all there is, at any moment, and entities
** that come and go with everything they can wait for.
**
** SPDX-License-Identifier: MIT
*/
#include <stdlib.h>

#include "test.h"

/* {== Finalizers ======================================================= */

static perilune_job job;
static int posted;

static void run_job(perilune_loop *p, perilune_job *j) {
  (void)p;
  (void)j;
  posted = 0;
}

/* host(n): does something with the C interface. */
static int host(lua_State *L) {
  perilune_loop *p = perilune_get(L);
  perilune_future *f;
  perilune_scope *s;
  if (!p) return 0;
  switch (luaL_checkinteger(L, 1) % 4) {
    case 0: perilune_wake(p); break;
    case 1:
      if (!posted) posted = 1, perilune_post(p, &job);
      break;
    case 2:
      if (!perilune_future_new(p, &f)) perilune_future_release(f);
      break;
    default:
      if (perilune_scope_new(p, NULL, NULL, NULL, &s)) break;
      perilune_scope_kill(s, PERILUNE_KILL_CLOSE);
      perilune_scope_release(s);
  }
  return 0;
}

static void finalizers_call_all_there_is(void) {
  perilune_budget few = {sizeof few, 0, 20, 0, 0};
  world w;
  job = (perilune_job){NULL, run_job, NULL};
  posted = 0;
  world_open(&w);
  lua_register(w.L, "host", host);
  world_do(&w,
    "collectgarbage 'generational' collectgarbage('setpause', 10)\n"
    "ch, f, count = aio.channel(5), aio.future(), 0\n"
    "local var = aio.context.var 'x'\n"
    "local acts = {\n"
    "  function() aio.spawn(aio.yield) end, function() f:resolve(1) end,\n"
    "  function() f = aio.future() end, function() ch:try_put(1) end,\n"
    "  function() ch:try_get() end, function() var:set(1) end,\n"
    "  function() aio.sleep(1) end, function() aio.group(nil, type) end,\n"
    "  function() if victim then victim:cancel() end end,\n"
    "  function() aio.loop():call_soon(aio.future) end,\n"
    "  function() aio.tree() aio.loop():stats() end,\n"
    "  function() if aio.unix then aio.unix.pair() end end,\n"
    "  function() collectgarbage() end,\n"
    "  host, host, host, host }\n"
    "local function storm(self)\n"
    "  count = count + 1 pcall(acts[count % #acts + 1], count) end\n"
    "function litter() return setmetatable({}, {__gc = storm}) end\n"
    "for i = 1, 5 do aio.spawn(function() while not stop do\n"
    "  litter() victim = aio.spawn(function() litter()\n"
    "    aio.timeout(1, aio.yield) end)\n"
    "  aio.yield() pcall(f.join, f) ch:try_put(litter()) ch:try_get()\n"
    "end end) end");
  for (int i = 0; i < 200; i++) {
    perilune_step(w.p, &few, NULL);
    world_do(&w, "litter() f:resolve()");
  }
  CHECK(world_int(&w, "count") > 500);
  printf("    %d finalizers\n", (int)world_int(&w, "count"));
  world_close(&w);
}

/* }===================================================================== */

/* {== Entities ========================================================= */

#define JOBS 2000

/* An entity is freed as soon as its scope is killed: whatever touches it later
** is found by the sanitizer. */
typedef struct entity {
  perilune_scope *scope;
  int steps;
} entity;

static perilune_future *works[JOBS];
static int nworks, pushed, dropped;

static int touch(lua_State *L) {
  entity *e = perilune_self(L);
  if (e) e->steps++;
  return 0;
}

/* work(): awaits what a worker is to bring. */
static int work(lua_State *L) {
  if (nworks == JOBS || perilune_future_new(perilune_get(L), &works[nworks]))
    return luaL_error(L, "no work");
  return perilune_await(L, works[nworks++], NULL, 0);
}

static int push_work(lua_State *L, void *ud) {
  (void)L;
  (void)ud;
  pushed++;
  return 0;
}

static void drop_work(void *ud) {
  (void)ud;
  dropped++;
}

/* The worker is done with all; those who waited may be gone. */
static void work_is_done(world *w) {
  for (int i = 0; i < nworks; i++)
    perilune_post_call(works[i], push_work, drop_work, NULL);
  nworks = 0;
  perilune_step(w->p, NULL, NULL);
}

/* The ways in which an entity may be parked. */
static const char *const lives[] = {
  "while true do touch() aio.sleep(0) end",
  "while true do touch() work() end",
  "while true do touch() pcall(aio.sleep, 100) end",
  "while true do touch() pcall(work) end",
  "local x <close> = setmetatable({}, {__close = touch})\n"
  "touch() aio.sleep(100)",
  "do local x <close> = setmetatable({}, {__close = function()\n"
  "  touch() work() touch() end}) end touch()",
  "aio.group(nil, function(g) for i = 1, 3 do g:spawn(function()\n"
  "  while true do touch() aio.yield() end end) end end)",
  "if not aio.unix then touch() return aio.sleep(1) end\n"
  "local a, b = aio.unix.pair() aio.spawn(function()\n"
  "  while true do touch() b:write 'x' aio.yield() end end)\n"
  "while true do touch() a:read_some() touch() end",
  "if not aio.fs then touch() return aio.sleep(1) end\n"
  "while true do touch() aio.fs.stat '/' touch() end"};
#define LIVES (int)(sizeof lives / sizeof *lives)

static entity *bear(world *w, int n) {
  entity *e = calloc(1, sizeof *e);
  EQUAL(perilune_scope_new(w->p, NULL, NULL, e, &e->scope), PERILUNE_OK);
  perilune_task_release(world_spawn(w, e->scope, lives[n % LIVES]));
  return e;
}

static void end(entity *e, int mode) {
  EQUAL(perilune_scope_kill(e->scope, mode), PERILUNE_OK);
  perilune_scope_release(e->scope);
  free(e);
}

static void a_thousand_entities_are_killed(void) {
  perilune_budget few = {sizeof few, 0, 9, 0, 0};
  entity *alive[13] = {NULL};
  int begun = 0;
  world w;
  pushed = dropped = nworks = 0;
  world_open(&w);
  lua_register(w.L, "touch", touch);
  lua_register(w.L, "work", work);
  for (int i = 0; i < 1000; i++) {
    entity **e = &alive[i * 7 % 13];
    if (*e) end(*e, i % 2);
    *e = bear(&w, i);
    perilune_step(w.p, &few, NULL);
    if (i % 50 == 0) {
      begun += nworks;
      work_is_done(&w);
      lua_gc(w.L, LUA_GCCOLLECT, 0);
    }
  }
  for (int i = 0; i < 13; i++)
    if (alive[i]) end(alive[i], i % 2);
  begun += nworks;
  work_is_done(&w);
  EQUAL(pushed + dropped, begun);
  EQUAL(w.errors, 0);
  printf("    %d things brought by workers\n", begun);
  world_close(&w);
}

/* }===================================================================== */

const test_case storm_cases[] = {
  CASE(finalizers_call_all_there_is), CASE(a_thousand_entities_are_killed),
  END};
