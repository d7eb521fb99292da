/*
** run.c - runs, shutdown, and the loop object.
**
** A run is an owner of background tasks. What happens when, from the first
** turn to the last hook, is written in lua/perilune/run.lua; here is what
** that needs from C.
**
** Lua side: core.run_open -> run (spawn, join, cancel, close), core.kill,
** grace, hold; methods of the loop.
**
** SPDX-License-Identifier: MIT
*/
#include "run.h"

#include <math.h>
#include <string.h>

#include "sched/callback.h"
#include "sched/clock.h"
#include "sched/error.h"
#include "sched/key.h"
#include "sched/trace.h"

#ifndef PERILUNE_NO_UV
#include "io/io.h"
#include "io/slow.h"
#endif

#define RUN "perilune.run"
#define TURN_BUDGET 0.010 /* seconds that a hosted step takes at most */
#define GRACE 5           /* seconds that a shutdown takes at most */

/* Background tasks of one run, or of the Lua state. */
typedef struct run {
  peri_owner owner;
  peri_owner *outer; /* who owned them before */
  peri_waitlist waiters;
} run;

/* {== Background tasks ================================================= */

/* One turn after the end of a task whose failure nobody took by then. */
static void report(peri_loop *l, peri_runnable *r, lua_State *L) {
  peri_task *t = PERI_OF(r, peri_task, run);
  if (!(t->out.flags & PERI_TAKEN) && lua_checkstack(L, 4)) {
    peri_task_push(L, l, t);
    lua_getiuservalue(L, -1, 1);
    lua_remove(L, -2);
    peri_report(l, L, "task", t);
  }
  peri_task_release(l, t);
}

int peri_run_untaken(peri_loop *l, peri_task *t, void *of) {
  if (t->out.state != PERI_FAILED || (t->out.flags & PERI_TAKEN)) return 0;
  t->on = of;
  t->run.run = report;
  peri_loop_ready(l, &t->run);
  return 1;
}

static int ended(peri_loop *l, peri_owner *o, peri_task *t) {
  run *r = PERI_OF(o, run, owner);
  if (!o->live) peri_waitlist_wake_all(l, &r->waiters);
  return peri_run_untaken(l, t, NULL);
}

static run *run_new(lua_State *L, peri_loop *l) {
  run *r = lua_newuserdatauv(L, sizeof *r, 0);
  memset(r, 0, sizeof *r);
  peri_owner_init(&r->owner, NULL, ended);
  luaL_setmetatable(L, RUN);
  peri_anchor(L, l, -1, r);
  return r;
}

static run *check_run(lua_State *L) {
  return luaL_checkudata(L, 1, RUN);
}

/* core.run_open() -> run. Raises where none can begin. */
static int run_open(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  if (l->running || l->callback || l->current != l->root)
    return peri_error_raise(L, "EPERM",
                            "the loop runs already: in a task call the "
                            "function, or spawn it");
  peri_trace_check_wait(L, l);
  run *r = run_new(L, l);
  r->outer = l->background;
  l->background = &r->owner;
  return 1;
}

/* run:spawn(fn, ...) -> the main task of the run. */
static int run_spawn(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  run *r = check_run(L);
  peri_check_callable(L, 2);
  l->main = peri_task_new(L, l, &r->owner, lua_gettop(L) - 2, 1);
  l->main->out.flags |= PERI_TAKEN;
  return 1;
}

static const peri_wait joining = {"end of background tasks",
                                  peri_task_unlist, peri_task_true_k};

/* run:join() -> true once no task of the run is alive. Waits. */
static int run_join(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  run *r = check_run(L);
  peri_wait_enter(L, l);
  if (!r->owner.live) {
    lua_pushboolean(L, 1);
    return 1;
  }
  return peri_task_park_in(L, l, &joining, &r->waiters);
}

/* run:cancel(reason): cancels all tasks of the run, and those that are made
** later. */
static int run_cancel(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  run *r = check_run(L);
  peri_scope_reason(L, l, &r->owner.scope, 2);
  peri_scope_cancel(l, &r->owner.scope, PERI_CAUSE_CANCEL);
  return 0;
}

/* run:forget(): the main task has ended. */
static int run_forget(lua_State *L) {
  PERI_LOOP(L)->main = NULL;
  return 0;
}

/* run:close(): background tasks belong to who was there before. */
static int run_close(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  run *r = check_run(L);
  if (l->background != &r->owner) return 0;
  l->main = NULL;
  l->background = r->outer;
  l->grace_end = 0;
  l->grace = (uint64_t)GRACE * 1000000000;
  if (r->owner.live || r->owner.scope.child)
    return 0; /* not to be let go: it stays anchored */
  peri_scope_remove(l, &r->owner.scope);
  peri_unanchor(l, r);
  return 0;
}

/* }===================================================================== */

/* {== Shutdown ========================================================= */

/* Pushes the task in this slot if it is alive and of this run. */
static peri_task *push_member(lua_State *L, peri_loop *l, const run *r,
                              uint32_t slot) {
  lua_rawgeti(l->stash, PERI_STASH_TASKS, slot);
  peri_task *t = lua_touserdata(l->stash, -1);
  if (!t || !t->co || !peri_task_is_of(t, &r->owner)) {
    lua_pop(l->stash, 1);
    return NULL;
  }
  lua_xmove(l->stash, L, 1);
  return t;
}

/* run:tasks() -> list of the tasks of this run that have not ended. */
static int run_tasks(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  run *r = check_run(L);
  lua_Integer n = 0;
  lua_newtable(L);
  for (uint32_t i = 1; i <= l->slots; i++)
    if (push_member(L, l, r, i)) lua_rawseti(L, -2, ++n);
  return 1;
}

/* run:kill() -> how many tasks of this run were ended by force. Those that
** wait for others follow when these have ended. */
static int run_kill(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  run *r = check_run(L);
  lua_Integer killed = 0;
  l->poller->drive(l, 1); /* handlers may write to peers that have gone */
  for (uint32_t i = 1; i <= l->slots; i++) {
    peri_task *t = push_member(L, l, r, i);
    if (t) t->out.flags |= PERI_TAKEN; /* it was reported before */
    if (t && peri_task_kill(L, l, t)) killed++;
    lua_settop(L, 1);
  }
  peri_loop_flush(l, L);
  l->poller->drive(l, 0);
  lua_pushinteger(L, killed);
  return 1;
}

/* core.report(task, err [, kind [, traceback]]): tells the error hook, which
** runs as a callback wherever this is called. The task may be nil. */
static int report_from_lua(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  lua_settop(L, 4);
  peri_task *t = lua_isnil(L, 1) ? NULL : peri_task_check(L, l, 1);
  const char *kind = luaL_optstring(L, 3, "task");
  if (!lua_isnil(L, 4)) peri_trace_error(L, l, 2, NULL);
  lua_pushvalue(L, 2);
  peri_report(l, L, kind, t);
  return 0;
}

/* run:turn(seconds): one turn, which blocks at most so long. */
static int run_turn(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  double s = luaL_checknumber(L, 2);
  l->poller->drive(l, 1);
  peri_loop_turn(l, L, s < 1e9 ? (int64_t)(s * 1e9) : PERI_FOREVER);
  l->poller->drive(l, 0);
  return 0;
}

/* run:take_hook() -> the last hook of the youngest logical context of this run
** that has any, or nil. */
static int run_take_hook(lua_State *L) {
  peri_key_take(L, PERI_LOOP(L), &check_run(L)->owner);
  return 1;
}

/* run:alive() -> true if tasks of the run have not ended. */
static int run_alive(lua_State *L) {
  lua_pushboolean(L, check_run(L)->owner.live > 0);
  return 1;
}

/* core.grace(seconds [, begins]): what shields without a limit get; with
** `begins` that time starts to run out now. */
static int set_grace(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  double s = luaL_checknumber(L, 1);
  l->grace = peri_loop_after(l, s) - l->now;
  l->grace_end = lua_toboolean(L, 2) ? l->now + l->grace : 0;
  return 0;
}

/* core.debug([on [, limit]]) -> what was set before. In debug it is noted
** where things are made, leaks and swallowed cancellations are reported, and
** steps that take longer than `limit` seconds, if that is given. */
static int set_debug(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  lua_Number limit = luaL_optnumber(L, 2, 0);
  uint64_t ns = limit < 1e9 ? (uint64_t)(limit * 1e9) : 0;
  int asks = lua_isnone(L, 1), on = lua_toboolean(L, 1);
  lua_pushboolean(L, l->debug);
  if (l->slow)
    lua_pushnumber(L, (lua_Number)l->slow / 1e9);
  else
    lua_pushnil(L);
  if (asks) return 2;
#ifndef PERILUNE_NO_UV
  peri_slow_watch(L, l, ns);
#endif
  l->slow = ns;
  l->debug = on != 0;
  return 2;
}

/* core.at_exit(fn): fn is called when the Lua state is closed. */
static int at_exit(lua_State *L) {
  lua_settop(L, 1);
  peri_stash_set(PERI_LOOP(L), L, PERI_STASH_EXIT);
  return 0;
}

/* core.library(source): where the Lua modules of the library are. */
static int set_library(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  const char *source = luaL_checkstring(L, 1);
  lua_settop(L, 1);
  peri_stash_set(l, L, PERI_STASH_LIBRARY);
  l->library = source;
  return 0;
}

/* core.enter(): raises where, or while, one cannot wait. */
static int enter(lua_State *L) {
  peri_wait_enter(L, PERI_LOOP(L));
  return 0;
}

/* core.forked() -> true in a process that was forked off. */
static int forked(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  lua_pushboolean(L, l->poller->forked(l));
  return 1;
}

/* core.idle() -> true if nothing but the caller is ready. */
static int idle(lua_State *L) {
  lua_pushboolean(L, !peri_loop_busy(PERI_LOOP(L)));
  return 1;
}

/* core.poll(): has the next turn ask the outside. */
static int poll_next(lua_State *L) {
  PERI_LOOP(L)->unpolled = 1000;
  return 0;
}

/* }===================================================================== */

/* {== The loop object ================================================== */

/* loop:time() -> the loop's clock in seconds, as of this turn: it stands still
** while a task runs, and is right again after aio.yield(). It never goes back,
** and is no time of day. Never waits. */
static int loop_time(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  if (!l->running && !l->manual) l->now = l->poller->now();
  lua_pushnumber(L, (lua_Number)l->now / 1e9);
  return 1;
}

static void set_count(lua_State *L, const char *name, uint64_t n) {
  lua_pushinteger(L, (lua_Integer)n);
  lua_setfield(L, -2, name);
}

static uint32_t count_ready(const peri_loop *l) {
  uint32_t n = 0;
  for (peri_link *k = l->ready.next; k != &l->ready; k = k->next) n++;
  for (peri_link *k = l->batch.next; k != &l->batch; k = k->next) n++;
  return n;
}

/* loop:stats() -> table of counts: tasks alive, ready, timers armed, turns
** and swallowed cancellations so far, handles and requests open. Never
** waits. */
static int loop_stats(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  lua_createtable(L, 0, 8);
  set_count(L, "tasks", l->tasks);
  set_count(L, "ready", count_ready(l));
  set_count(L, "timers", peri_clock_timers(l));
  set_count(L, "turns", l->turns);
  set_count(L, "swallowed", l->swallowed);
  set_count(L, "handles", 0);
  set_count(L, "requests", 0);
#ifndef PERILUNE_NO_UV
  if (l->io) peri_io_stats(L, l);
#endif
  return 1;
}

/* loop:fd() -> a descriptor that is readable when step has something to do,
** or nil where there is none. Never waits. */
static int loop_fd(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  int fd = l->poller->fd(l);
  if (fd < 0) return 0;
  lua_pushinteger(L, fd);
  return 1;
}

static void push_wait(lua_State *L, const peri_loop *l) {
  int64_t wait = peri_loop_wait(l);
  lua_pushnumber(L, wait < 0 ? HUGE_VAL : (lua_Number)wait / 1e9);
}

/* loop:step([budget]) -> seconds until it wants to be called again. Runs
** ready work and polls once, for at most budget seconds (0.01); never
** blocks. From the first call on the loop is a hosted one. Never waits. */
static int loop_step(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  lua_Number budget = luaL_optnumber(L, 2, TURN_BUDGET);
  luaL_argcheck(L, budget >= 0, 2, "budget must not be negative");
  if (l->running || l->callback || l->main)
    return peri_error_raise(L, "EPERM", "the loop runs already");
  if (l->host)
    return peri_error_raise(L, "EPERM", "the host steps this loop");
  if (l->closing)
    return peri_error_raise(L, "EPERM", "the loop is closed");
  peri_trace_check_fork(L, l);
  l->hosted = 1;
  l->now = l->manual ? l->now : l->poller->now();
  peri_loop_step(l, L, budget < 1e9 ? l->poller->now() +
                                        (uint64_t)(budget * 1e9)
                                    : UINT64_MAX - 1);
  push_wait(L, l);
  return 1;
}

static const luaL_Reg methods[] = {
  {"time", loop_time}, {"stats", loop_stats}, {"fd", loop_fd},
  {"step", loop_step}, {NULL, NULL}};

void peri_run_methods(lua_State *L, peri_loop *l) {
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, methods, 1);
}

/* }===================================================================== */

static const luaL_Reg of_run[] = {
  {"spawn", run_spawn}, {"join", run_join}, {"cancel", run_cancel},
  {"forget", run_forget}, {"tasks", run_tasks}, {"kill", run_kill},
  {"turn", run_turn}, {"take_hook", run_take_hook},
  {"alive", run_alive}, {"close", run_close}, {NULL, NULL}};

static const luaL_Reg functions[] = {
  {"run_open", run_open}, {"report", report_from_lua},
  {"grace", set_grace},
  {"at_exit", at_exit}, {"debug", set_debug}, {"library", set_library},
  {"enter", enter}, {"idle", idle}, {"poll", poll_next}, {"forked", forked},
  {NULL, NULL}};

void peri_run_open(lua_State *L, peri_loop *l) {
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, functions, 1);
  peri_stash_push(l, L, PERI_STASH_HANDLER);
  lua_setfield(L, -2, "handler"); /* of protected calls: notes tracebacks */
  luaL_newmetatable(L, RUN);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, of_run, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  l->grace = (uint64_t)GRACE * 1000000000;
  l->background = &run_new(L, l)->owner;
  lua_pop(L, 1);
}
