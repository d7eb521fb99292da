/*
** close.c - closing a loop: in steps, never blocking, leaving nothing.
**
** SPDX-License-Identifier: MIT
*/
#include <dirent.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

/* Threads that look up names for an earlier case may give some back. */
static int descriptors(void) {
  int n = 0;
  DIR *d = opendir("/proc/self/fd");
  if (!d) test_skip("no /proc here");
  while (readdir(d)) n++;
  closedir(d);
  return n;
}

static void close_runs_handlers(void) {
  world w;
  world_open(&w);
  world_do(&w, "aio.on_close(function() say 'hook' end)");
  perilune_task_release(world_spawn(
    &w, NULL, "local x <close> = setmetatable({}, {__close = function()\n"
              "  say(pcall(aio.sleep, 1)) end})\n"
              "aio.sleep(100)"));
  world_settle(&w);
  EQUAL(perilune_close(w.p, 0, 0), PERILUNE_OK);
  w.p = NULL;
  world_said(&w, "false hook");
  world_close(&w);
}

static void close_leaves_no_descriptors(void) {
  int before = descriptors();
  for (int i = 0; i < 20; i++) {
    world w;
    world_open(&w);
    world_do(&w, "if aio.unix then a, b = aio.unix.pair()\n"
                 "s = aio.tcp.listen('127.0.0.1', 0)\n"
                 "aio.spawn(function() a:read_some() end)\n"
                 "aio.spawn(function() s:accept() end)\n"
                 "d = aio.fs.scandir '/'\n"
                 "aio.spawn(function()\n"
                 "  f = aio.fs.open '/proc/self/status' f:read() end)\n"
                 "aio.spawn(d) aio.spawn(aio.fs.read_file, '/dev/null') end");
    world_settle(&w);
    world_close(&w);
  }
  CHECK(descriptors() <= before);
}

/* Whatever it calls may call it again. */
static int refused;

static void close_again(perilune_loop *p) {
  EQUAL(perilune_step(p, NULL, NULL), PERILUNE_ECLOSED);
  EQUAL(perilune_close(p, 0, 0), PERILUNE_EREENTER);
  refused++;
}

static int script_closes(lua_State *L) {
  close_again(lua_touserdata(L, 1));
  return 0;
}

static perilune_loop *dropping;

static void drop_closes(perilune_job *j) {
  (void)j;
  close_again(dropping);
}

static void dropped(perilune_loop *p, perilune_job *j) {
  (void)p;
  (void)j;
}

static void load_closing(world *w) {
  lua_register(w->L, "close", script_closes);
  lua_pushlightuserdata(w->L, w->p);
  lua_setglobal(w->L, "p");
  world_do(w, "aio.on_close(function() close(p) end)");
  perilune_task_release(
    world_spawn(w, NULL, "local x <close> = setmetatable({}, {\n"
                         "  __close = function() close(p) end})\n"
                         "aio.sleep(100)"));
  world_settle(w);
  dropping = w->p;
  refused = 0;
}

static void close_is_refused_in_what_it_calls(void) {
  perilune_job j = {.fn = dropped, .drop = drop_closes};
  world w;
  world_open(&w);
  load_closing(&w);
  EQUAL(perilune_post(w.p, &j), PERILUNE_OK);
  world_close(&w);
  EQUAL(refused, 3);
}

static int lua_close_closes(lua_State *L) {
  perilune_loop *p = lua_touserdata(L, 1);
  EQUAL(perilune_close(p, 0, 0), PERILUNE_EREENTER);
  refused++;
  return 0;
}

static void close_is_refused_in_what_lua_close_calls(void) {
  world w;
  world_open(&w);
  load_closing(&w);
  lua_register(w.L, "close", lua_close_closes);
  lua_close(w.L);
  EQUAL(refused, 2);
  EQUAL(perilune_close(w.p, 0, 0), PERILUNE_OK);
}

static void scripts_may_go_on_after_close(void) {
  world w;
  world_open(&w);
  world_do(&w, "if aio.unix then a, b = aio.unix.pair()\n"
               "s = aio.tcp.listen('127.0.0.1', 0)\n"
               "d = aio.fs.scandir '/' aio.spawn(d)\n"
               "pending = 1\n"
               "aio.spawn(function() f = aio.fs.open('/dev/null', 'r+')\n"
               "  for i = 1, 4 do f:write(('x'):rep(40000)) end\n"
               "  pending = 0 f:read() end) end\n"
               "g = aio.future() t = aio.spawn(aio.sleep, 100)");
  do
    world_settle(&w);
  while (world_int(&w, "pending"));
  int rc;
  while ((rc = perilune_close(w.p, 0, 0)) == PERILUNE_BUSY) continue;
  EQUAL(rc, PERILUNE_OK);
  w.p = NULL;
  world_do(&w, "for _, f in ipairs { aio.spawn, aio.sleep, aio.yield,\n"
               "    aio.future, aio.now, aio.event, aio.channel, aio.task,\n"
               "    aio.check, aio.tree, aio.time_left, aio.clock, aio.signal,\n"
               "    aio.next_frame } do\n"
               "  pcall(f, print) pcall(f, 1) pcall(f)\n"
               "end\n"
               "pcall(aio.group, nil, say)\n"
               "pcall(g.resolve, g) pcall(t.join, t) pcall(t.cancel, t)\n"
               "pcall(aio.loop().stats, aio.loop())\n"
               "pcall(aio.loop().call_later, aio.loop(), 1, print)\n"
               "if a then\n"
               "  pcall(a.read, a) pcall(a.write, a, 'x') pcall(a.close, a)\n"
               "  pcall(s.accept, s) pcall(s.close, s)\n"
               "  pcall(aio.tcp.listen, '127.0.0.1', 0)\n"
               "  pcall(aio.unix.pair)\n"
               "  pcall(aio.fs.stat, '/') pcall(d) pcall(d.close, d)\n"
               "  pcall(aio.tcp.connect, '127.0.0.1', 1)\n"
               "  for _, name in ipairs { 'read', 'write', 'seek', 'close',\n"
               "    'flush', 'setvbuf' } do pcall(f[name], f, 'no') end\n"
               "end\n"
               "collectgarbage()");
  world_close(&w);
}

static void waits_after_close_say_why(void) {
  world w;
  world_open(&w);
  while (perilune_close(w.p, 0, 0) == PERILUNE_BUSY) continue;
  w.p = NULL;
  world_do(&w, "say(select(2, pcall(aio.sleep, 1)))");
  world_said(&w, "EPERM: the loop is closed");
  world_close(&w);
}

static void close_takes_a_budget(void) {
  int calls = 1;
  world w;
  world_open(&w);
  world_do(&w, "for i = 1, 20 do aio.spawn(function()\n"
               "  local x <close> = setmetatable({}, {__close = function()\n"
               "    local till = os.clock() + 0.002\n"
               "    while os.clock() < till do end\n"
               "    say 'x' end})\n"
               "  aio.sleep(100) end) end");
  world_settle(&w);
  while (perilune_close(w.p, 3000000, 0) == PERILUNE_BUSY) calls++;
  CHECK(calls > 3);
  w.p = NULL;
  world_said(&w, "x x x x x x x x x x x x x x x x x x x x");
  world_close(&w);
}

/* A thread of the pool is in the middle of something. */
static void begin_job(world *w) {
  world_open(w);
  if (perilune_fd(w->p) < 0) {
    world_close(w);
    test_skip("a build without files");
  }
  hold_begin();
  hold_job(w);
}

static void close_does_not_wait_for_jobs(void) {
  world w;
  begin_job(&w);
  EQUAL(perilune_close(w.p, 0, 0), PERILUNE_BUSY);
  EQUAL(perilune_step(w.p, NULL, NULL), PERILUNE_ECLOSED);
  EQUAL(perilune_close(w.p, 1000000, 0), PERILUNE_BUSY);
  hold_end();
  world_close(&w);
}

static void close_leaves_jobs_to_a_thread(void) {
  world w;
  begin_job(&w);
  EQUAL(perilune_close(w.p, 0, 1), PERILUNE_OK);
  w.p = NULL;
  world_close(&w);
  hold_end();
}

static void lua_close_does_not_wait_for_jobs(void) {
  world w;
  begin_job(&w);
  lua_close(w.L);
  EQUAL(w.bytes, 0);
  EQUAL(perilune_close(w.p, 0, 0), PERILUNE_BUSY);
  hold_end();
  while (perilune_close(w.p, 0, 0) == PERILUNE_BUSY) usleep(1000);
}

static void jobs_are_left_to_a_thread_after_lua_close(void) {
  world w;
  begin_job(&w);
  lua_close(w.L);
  EQUAL(perilune_close(w.p, 0, 1), PERILUNE_OK);
  hold_end();
}

static void loops_close_with_tasks_that_swallow(void) {
  world w;
  world_open(&w);
  perilune_task_release(world_spawn(
    &w, NULL, "while true do pcall(aio.sleep, 1) end"));
  world_settle(&w);
  EQUAL(perilune_close(w.p, 0, 0), PERILUNE_OK);
  w.p = NULL;
  world_close(&w);
}

static void many_loops_in_one_thread(void) {
  world w[20];
  int before = descriptors();
  for (int i = 0; i < 20; i++) world_open(&w[i]);
  for (int i = 0; i < 20; i++)
    perilune_task_release(world_spawn(&w[i], NULL, "aio.yield() say 'ran'"));
  for (int i = 0; i < 20; i++) world_settle(&w[i]);
  for (int i = 0; i < 20; i++) {
    world_said(&w[i], "ran");
    world_close(&w[i]);
  }
  CHECK(descriptors() <= before);
}

/* Everything at once: each call ends within its budget, and that although a
** file operation and a look-up hang. */
static void load(world *w) {
  hold_begin();
  hold_job(w);
  hold_lookup(w);
  world_do(w, "for i = 1, 50 do\n"
              "  local a, b = aio.unix.pair()\n"
              "  aio.spawn(function() a:read_some() b:close() end)\n"
              "  aio.spawn(function() a:write(('x'):rep(1 << 18)) end)\n"
              "  aio.spawn(function()\n"
              "    while true do pcall(aio.sleep, 100) end end)\n"
              "end\n"
              "s = aio.tcp.listen('127.0.0.1', 0)\n"
              "aio.spawn(function() for c in s do end end)\n"
              "local _, port = s:sockname()\n"
              "aio.spawn(function()\n"
              "  aio.tcp.connect('127.0.0.1', port):read() end)");
  perilune_step(w->p, NULL, NULL);
  perilune_step(w->p, NULL, NULL);
}

static double cpu(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Time of this thread, so that others do not count; blocking would hang. */
static void close_under_load(void) {
  world w;
  double worst = 0;
  world_open(&w);
  if (perilune_fd(w.p) < 0) test_skip("a build without files");
  load(&w);
  for (int i = 0; i < 50; i++) {
    double begun = cpu();
    EQUAL(perilune_close(w.p, 1000000, 0), PERILUNE_BUSY);
    if (cpu() - begun > worst) worst = cpu() - begun;
  }
  CHECK(worst < 0.1);
  double begun = cpu();
  EQUAL(perilune_close(w.p, 1000000, 1), PERILUNE_OK);
  printf("    with a budget of 1 ms: %.2f ms at most; the last %.2f ms\n",
         worst * 1e3, (cpu() - begun) * 1e3);
  w.p = NULL;
  world_close(&w);
  hold_end();
}

static void close_under_load_after_lua_close(void) {
  world w;
  world_open(&w);
  if (perilune_fd(w.p) < 0) test_skip("a build without files");
  load(&w);
  lua_close(w.L);
  EQUAL(w.bytes, 0);
  EQUAL(perilune_close(w.p, 0, 0), PERILUNE_BUSY);
  EQUAL(perilune_close(w.p, 0, 1), PERILUNE_OK);
  hold_end();
}

const test_case close_cases[] = {
  CASE(close_runs_handlers), CASE(close_leaves_no_descriptors),
  CASE(scripts_may_go_on_after_close), CASE(waits_after_close_say_why),
  CASE(close_is_refused_in_what_it_calls),
  CASE(close_is_refused_in_what_lua_close_calls), CASE(close_takes_a_budget),
  CASE(close_does_not_wait_for_jobs), CASE(close_leaves_jobs_to_a_thread),
  CASE(lua_close_does_not_wait_for_jobs),
  CASE(jobs_are_left_to_a_thread_after_lua_close),
  CASE(loops_close_with_tasks_that_swallow), CASE(many_loops_in_one_thread),
  CASE(close_under_load), CASE(close_under_load_after_lua_close), END};
