/*
** attach.c - a loop in a host's own uv loop.
**
** The host's timers tick before, while and after a loop of ours is there; at
** the end its uv loop must have nothing left to close.
**
** SPDX-License-Identifier: MIT
*/
#include "test.h"

#ifdef PERILUNE_NO_UV

static void attach_needs_libuv(void) {
  perilune_config c = {.size = sizeof c, .uv_loop = &c};
  perilune_loop *p;
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  EQUAL(perilune_open(L, &c, &p), PERILUNE_EARG);
  CHECK(!p);
  lua_close(L);
}

const test_case attach_cases[] = {CASE(attach_needs_libuv), END};

#else

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

/* A host: a uv loop with a timer, which does something at each tick. */
typedef struct host {
  uv_loop_t uv;
  uv_timer_t timer;
  int ticks;
  int done;               /* the timer stops */
  void (*tick)(struct host *h);
  world *w;
} host;

static void on_tick(uv_timer_t *timer) {
  host *h = timer->data;
  h->ticks++;
  if (h->tick) h->tick(h);
  if (h->done) uv_timer_stop(timer);
}

static void host_open(host *h, world *w) {
  memset(h, 0, sizeof *h);
  EQUAL(uv_loop_init(&h->uv), 0);
  h->uv.data = h;
  h->w = w;
  if (w) world_open_in(w, &h->uv);
}

static void host_ticks(host *h, void (*tick)(host *h)) {
  uv_timer_init(&h->uv, &h->timer);
  h->timer.data = h;
  h->tick = tick;
  uv_timer_start(&h->timer, on_tick, 1, 1);
}

/* Closes what is the host's; nothing else may be there. */
static void host_close(host *h) {
  CHECK(h->uv.data == h);
  if (h->timer.data) uv_close((uv_handle_t *)&h->timer, NULL);
  uv_run(&h->uv, UV_RUN_DEFAULT);
  EQUAL(uv_loop_close(&h->uv), 0);
}

/* Until libuv has closed what was ours. */
static void attached_close(host *h, world *w) {
  while (w->p && perilune_close(w->p, 0, 0) == PERILUNE_BUSY)
    uv_run(&h->uv, UV_RUN_NOWAIT);
  w->p = NULL;
  world_close(w);
}

static void run(host *h, const char *code) {
  perilune_task_release(world_spawn(h->w, NULL, code));
  uv_run(&h->uv, UV_RUN_DEFAULT);
}

/* {== Running ========================================================== */

static void steps_are_taken_by_uv_run(void) {
  host h;
  world w;
  host_open(&h, &w);
  run(&h, "say 'a' aio.yield() say 'b' aio.sleep(0.01) say 'c'");
  world_said(&w, "a b c");
  attached_close(&h, &w);
  host_close(&h);
}

/* Nothing can come of a task that waits for another one that is not there. */
static void uv_run_ends_when_nothing_can_come(void) {
  host h;
  world w;
  host_open(&h, &w);
  run(&h, "t = aio.spawn(aio.sleep, 1000) aio.spawn(function()\n"
          "  aio.future():await() end)\n"
          "aio.yield() t:cancel() say 'done'");
  world_said(&w, "done");
  EQUAL(perilune_step(w.p, NULL, NULL), PERILUNE_WAIT);
  attached_close(&h, &w);
  host_close(&h);
}

static void uv_run_goes_on_for_timers_of_the_main_chunk(void) {
  host h;
  world w;
  host_open(&h, &w);
  world_do(&w, "aio.loop():call_later(0.01, say, 'later')");
  uv_run(&h.uv, UV_RUN_DEFAULT);
  world_said(&w, "later");
  world_do(&w, "aio.loop():call_later(0.01, say, 'again')");
  perilune_step(w.p, NULL, NULL);
  uv_run(&h.uv, UV_RUN_DEFAULT);
  world_said(&w, "later again");
  attached_close(&h, &w);
  host_close(&h);
}

static void sockets_work_in_the_hosts_loop(void) {
  host h;
  world w;
  host_open(&h, &w);
  run(&h, "local s = aio.tcp.listen('127.0.0.1', 0)\n"
          "local _, port = s:sockname()\n"
          "aio.group(nil, function(g)\n"
          "  g:service(function() for c in s do c:write(c:read 'l') c:close()\n"
          "    end end)\n"
          "  for i = 1, 3 do local c = aio.tcp.connect('127.0.0.1', port)\n"
          "    c:write(i, '\\n') say(c:read 'a') c:close() end\n"
          "end)\n"
          "s:close()");
  world_said(&w, "1 2 3");
  EQUAL(perilune_step(w.p, NULL, NULL), PERILUNE_IDLE);
  attached_close(&h, &w);
  host_close(&h);
}

/* Ten milliseconds of tasks that are always ready, then the host again. */
static void busy_tick(host *h) {
  if (h->ticks < 5) return;
  world_do(h->w, "stop = true");
  h->done = 1;
}

static void busy_tasks_leave_time_to_the_host(void) {
  host h;
  world w;
  host_open(&h, &w);
  host_ticks(&h, busy_tick);
  run(&h, "while not stop do aio.yield() end say 'stopped'");
  world_said(&w, "stopped");
  EQUAL(h.ticks, 5);
  attached_close(&h, &w);
  host_close(&h);
}

static void spawn_at_a_tick(host *h) {
  perilune_task_release(world_spawn(h->w, NULL, "aio.yield() say(1)"));
  h->done = h->ticks == 3;
}

static void callbacks_of_the_host_may_spawn(void) {
  host h;
  world w;
  host_open(&h, &w);
  host_ticks(&h, spawn_at_a_tick);
  uv_run(&h.uv, UV_RUN_DEFAULT);
  world_said(&w, "1 1 1");
  attached_close(&h, &w);
  host_close(&h);
}

/* Time and frames of the host's, made by its timer. */
static void frame_at_a_tick(host *h) {
  perilune_loop *p = h->w->p;
  perilune_clock_advance(perilune_clock_new(p, "game"), 1000000000);
  perilune_emit(perilune_signal_new(p, "frame"), h->w->L, 0);
  h->done = h->ticks == 4;
}

static void callbacks_of_the_host_make_time(void) {
  host h;
  world w;
  host_open(&h, &w);
  perilune_task_release(world_spawn(
    &w, NULL, "local frame = aio.signal 'frame'\n"
              "for i = 1, 4 do frame:wait() say 'frame' end"));
  perilune_task_release(world_spawn(
    &w, NULL, "local s <close> = aio.scope{clock = aio.clock 'game'}\n"
              "aio.sleep(2.5) say 'slept'"));
  world_settle(&w);
  host_ticks(&h, frame_at_a_tick);
  uv_run(&h.uv, UV_RUN_DEFAULT);
  world_said(&w, "frame frame frame slept frame");
  attached_close(&h, &w);
  host_close(&h);
}

static int run_inside(lua_State *L) {
  host *h = lua_touserdata(L, lua_upvalueindex(1));
  uv_run(&h->uv, UV_RUN_NOWAIT);
  EQUAL(perilune_step(h->w->p, NULL, NULL), PERILUNE_EREENTER);
  return 0;
}

static void uv_run_inside_a_task_takes_no_step(void) {
  host h;
  world w;
  host_open(&h, &w);
  lua_pushlightuserdata(w.L, &h);
  lua_pushcclosure(w.L, run_inside, 1);
  lua_setglobal(w.L, "inside");
  run(&h, "aio.spawn(say, 'other') say 'before' inside() say 'after'");
  world_said(&w, "before after other");
  attached_close(&h, &w);
  host_close(&h);
}

static void *settle(void *arg) {
  perilune_value v = {.type = PERILUNE_INT, .u = {.i = 7}};
  perilune_post_value(arg, &v);
  return NULL;
}

/* uv_run blocks, with nothing but what the thread owes. */
static void threads_wake_uv_run(void) {
  host h;
  world w;
  pthread_t t;
  perilune_future *f;
  host_open(&h, &w);
  EQUAL(perilune_future_new(w.p, &f), PERILUNE_OK);
  luaL_loadstring(w.L, "say((...):await())");
  perilune_future_push(w.L, f);
  EQUAL(perilune_spawn(w.p, NULL, w.L, 1, NULL), PERILUNE_OK);
  uv_run(&h.uv, UV_RUN_NOWAIT);
  pthread_create(&t, NULL, settle, f);
  uv_run(&h.uv, UV_RUN_DEFAULT);
  pthread_join(t, NULL);
  world_said(&w, "7");
  attached_close(&h, &w);
  host_close(&h);
}

static void the_host_may_step_as_well(void) {
  host h;
  world w;
  host_open(&h, &w);
  perilune_task_release(world_spawn(&w, NULL, "aio.yield() say 'ran'"));
  world_settle(&w);
  world_said(&w, "ran");
  EQUAL(perilune_fd(w.p), -1);
  EQUAL(perilune_timeout(w.p), -1);
  EQUAL(perilune_run(w.p, NULL, 1), PERILUNE_EARG);
  attached_close(&h, &w);
  host_close(&h);
}

static void two_states_in_one_uv_loop(void) {
  host h;
  world a, b;
  host_open(&h, &a);
  world_open_in(&b, &h.uv);
  static const char code[] =
    "a, b = aio.unix.pair() aio.spawn(function() for i = 1, 3 do\n"
    "  aio.sleep(0.001) b:write(i, '\\n') end b:close() end)\n"
    "for x in a:lines() do say(x) end a:close()";
  perilune_task_release(world_spawn(&a, NULL, code));
  perilune_task_release(world_spawn(&b, NULL, code));
  uv_run(&h.uv, UV_RUN_DEFAULT);
  world_said(&a, "1 2 3");
  attached_close(&h, &a);
  h.w = &b;
  run(&h, "aio.sleep(0.001) say 'alone'");
  world_said(&b, "1 2 3 alone");
  attached_close(&h, &b);
  host_close(&h);
}

/* }===================================================================== */

/* {== Opening ========================================================== */

static void a_loop_of_its_own_is_not_attached(void) {
  host h;
  lua_State *L = luaL_newstate();
  perilune_config c = {.size = sizeof c};
  perilune_loop *p;
  host_open(&h, NULL);
  c.uv_loop = &h.uv;
  luaL_openlibs(L);
  EQUAL(perilune_open(L, NULL, &p), PERILUNE_OK);
  EQUAL(perilune_close(p, 0, 0), PERILUNE_OK);
  EQUAL(perilune_open(L, &c, &p), PERILUNE_ECLOSED);
  lua_close(L);
  host_close(&h);
}

static void attach_without_memory(void) {
  int rc = PERILUNE_ENOMEM;
  for (size_t n = 1; rc; n++) {
    host h;
    world w;
    perilune_config c = {.size = sizeof c};
    host_open(&h, NULL);
    c.uv_loop = &h.uv;
    world_state(&w);
    w.refuse_at = n;
    rc = perilune_open(w.L, &c, &w.p);
    CHECK(rc == PERILUNE_OK || (rc == PERILUNE_ENOMEM && !w.p));
    w.refuse_at = 0;
    attached_close(&h, &w);
    host_close(&h);
  }
}

/* }===================================================================== */

/* {== Closing ========================================================== */

/* Something of everything that libuv closes, or calls back for, later. */
static void begin_much(host *h) {
  world_do(h->w,
    "a, b = aio.unix.pair() s = aio.tcp.listen('127.0.0.1', 0)\n"
    "u = aio.udp and aio.udp.bind('127.0.0.1', 0)\n"
    "local _, port = s:sockname()\n"
    "aio.spawn(function() for c in s do end end)\n"
    "aio.spawn(function() a:write(('x'):rep(1 << 20)) a:write 'y' end)\n"
    "aio.spawn(function() a:read_some() end)\n"
    "aio.spawn(function() aio.tcp.connect('127.0.0.1', port):read() end)\n"
    "aio.spawn(function() for n in aio.signals 'USR2' do end end)\n"
    "aio.spawn(function() f = aio.fs.open '/dev/null' f:write 'x'\n"
    "  for e in aio.fs.watch '/' do end end)\n"
    "aio.spawn(function() aio.process.run { 'cat', input = 'x' } end)\n"
    "aio.spawn(function() aio.sleep(1000) end)\n"
    "aio.loop():call_later(1000, say)\n"
    "t = aio.spawn(function() while true do pcall(aio.sleep, 100) end end)");
  for (int i = 0; i < 5; i++) uv_run(&h->uv, UV_RUN_NOWAIT);
  world_do(h->w,
    "aio.spawn(function() aio.unix.connect '/nowhere/at/all' end)\n"
    "aio.spawn(aio.tcp.connect, '127.0.0.1', 1)\n"
    "aio.spawn(aio.fs.stat, '/')");
  perilune_step(h->w->p, NULL, NULL);
}

static void close_is_done_when_uv_has_closed(void) {
  host h;
  world w;
  host_open(&h, &w);
  begin_much(&h);
  EQUAL(perilune_close(w.p, 0, 0), PERILUNE_BUSY);
  EQUAL(perilune_step(w.p, NULL, NULL), PERILUNE_ECLOSED);
  EQUAL(perilune_close(w.p, 0, 0), PERILUNE_BUSY);
  uv_run(&h.uv, UV_RUN_NOWAIT);
  EQUAL(perilune_close(w.p, 0, 0), PERILUNE_OK);
  w.p = NULL;
  world_close(&w);
  host_close(&h);
}

static void lua_close_comes_first(void) {
  host h;
  world w;
  host_open(&h, &w);
  begin_much(&h);
  lua_close(w.L);
  EQUAL(w.bytes, 0);
  EQUAL(perilune_close(w.p, 0, 0), PERILUNE_BUSY);
  uv_run(&h.uv, UV_RUN_NOWAIT);
  EQUAL(perilune_close(w.p, 0, 0), PERILUNE_OK);
  host_close(&h);
}

static void lua_close_comes_between(void) {
  host h;
  world w;
  host_open(&h, &w);
  begin_much(&h);
  EQUAL(perilune_close(w.p, 0, 0), PERILUNE_BUSY);
  lua_close(w.L);
  EQUAL(perilune_close(w.p, 0, 0), PERILUNE_BUSY);
  uv_run(&h.uv, UV_RUN_NOWAIT);
  EQUAL(perilune_close(w.p, 0, 0), PERILUNE_OK);
  host_close(&h);
}

static void close_may_leave_the_rest_to_uv(void) {
  host h;
  world w;
  host_open(&h, &w);
  begin_much(&h);
  EQUAL(perilune_close(w.p, 0, 1), PERILUNE_OK);
  w.p = NULL;
  world_close(&w);
  host_close(&h);
}

static void lua_close_without_a_close(void) {
  host h;
  world w;
  host_open(&h, &w);
  begin_much(&h);
  lua_close(w.L);
  uv_run(&h.uv, UV_RUN_NOWAIT);
  EQUAL(perilune_close(w.p, 0, 1), PERILUNE_OK);
  host_close(&h);
}

/* The host's timer closes ours, and ticks on. */
static void close_at_a_tick(host *h) {
  world *w = h->w;
  if (h->ticks == 2) EQUAL(perilune_close(w->p, 0, 0), PERILUNE_BUSY);
  if (h->ticks == 3) {
    EQUAL(perilune_close(w->p, 0, 0), PERILUNE_OK);
    w->p = NULL;
    world_close(w);
  }
  h->done = h->ticks == 5;
}

static void timers_of_the_host_survive_the_close(void) {
  host h;
  world w;
  host_open(&h, &w);
  begin_much(&h);
  host_ticks(&h, close_at_a_tick);
  uv_run(&h.uv, UV_RUN_DEFAULT);
  EQUAL(h.ticks, 5);
  host_close(&h);
}

static void jobs_end_in_the_hosts_loop(void) {
  host h;
  world w;
  host_open(&h, &w);
  hold_begin();
  hold_job(&w);
  lua_close(w.L);
  EQUAL(perilune_close(w.p, 0, 0), PERILUNE_BUSY);
  uv_run(&h.uv, UV_RUN_NOWAIT);
  EQUAL(perilune_close(w.p, 0, 0), PERILUNE_OK);
  CHECK(uv_loop_alive(&h.uv));
  hold_end();
  host_close(&h);
}

static void a_child_leaves_the_hosts_loop_alone(void) {
  host h;
  world w;
  int status;
  host_open(&h, &w);
  perilune_task_release(world_spawn(&w, NULL, "aio.sleep(0.01) say 'ran'"));
  uv_run(&h.uv, UV_RUN_NOWAIT);
  pid_t pid = fork();
  if (!pid)
    _exit(perilune_step(w.p, NULL, NULL) != PERILUNE_ETHREAD ||
          perilune_close(w.p, 0, 0) != PERILUNE_OK);
  waitpid(pid, &status, 0);
  EQUAL(status, 0);
  uv_run(&h.uv, UV_RUN_DEFAULT);
  world_said(&w, "ran");
  attached_close(&h, &w);
  host_close(&h);
}

/* }===================================================================== */

const test_case attach_cases[] = {
  CASE(steps_are_taken_by_uv_run), CASE(uv_run_ends_when_nothing_can_come),
  CASE(uv_run_goes_on_for_timers_of_the_main_chunk),
  CASE(sockets_work_in_the_hosts_loop),
  CASE(busy_tasks_leave_time_to_the_host),
  CASE(callbacks_of_the_host_may_spawn),
  CASE(callbacks_of_the_host_make_time),
  CASE(uv_run_inside_a_task_takes_no_step), CASE(threads_wake_uv_run),
  CASE(the_host_may_step_as_well), CASE(two_states_in_one_uv_loop),
  CASE(a_loop_of_its_own_is_not_attached), CASE(attach_without_memory),
  CASE(close_is_done_when_uv_has_closed), CASE(lua_close_comes_first),
  CASE(lua_close_comes_between), CASE(close_may_leave_the_rest_to_uv),
  CASE(lua_close_without_a_close),
  CASE(timers_of_the_host_survive_the_close),
  CASE(jobs_end_in_the_hosts_loop),
  CASE(a_child_leaves_the_hosts_loop_alone), END};

#endif
