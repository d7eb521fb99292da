/*
** slow.c - steps that take long, caught while they do.
**
** uv side: a thread, the watchdog, looks when the step that runs has begun. If
** that is too long ago, it sends a signal to the thread of the loop, once for
** each step; the handler has a debug hook take the stack.
** Lua side: none; core.debug, in run.c, begins and ends it.
**
** The loop keeps a box while the watchdog lives, whose finalizer ends it at the
** end of the Lua state. The variable is there because a signal handler is
** given nothing else to find its way by.
**
** SPDX-License-Identifier: MIT
*/
#include "slow.h"

#include <lauxlib.h>
#include <uv.h>

#include "sched/debug.h"
#include "sched/hook.h"

#ifndef _WIN32

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#define BOX "perilune.slow"
#define SIGNAL SIGURG /* ignored by default: one that comes late does no harm */

/* `begun` is when the step that runs began, 0 between steps; `told` is that of
** the last one for which a signal was sent. */
static struct {
  peri_loop *volatile loop;
  _Atomic uint64_t begun, told;
  uint64_t limit;
  pthread_t thread; /* that of the loop */
  pid_t pid;
  struct sigaction before;
  int handles; /* the signal is ours */
  uv_thread_t watchdog;
  uv_mutex_t mutex;
  uv_cond_t wake;
  int stop; /* under the mutex */
} slow;

/* {== The watchdog ===================================================== */

/* Looks once; returns for how long it may sleep. */
static uint64_t look(void) {
  uint64_t begun = atomic_load(&slow.begun);
  if (!begun || begun == atomic_load(&slow.told)) return slow.limit / 2 + 1;
  uint64_t now = uv_hrtime();
  if (now - begun < slow.limit) return slow.limit - (now - begun);
  atomic_store(&slow.told, begun);
  if (slow.handles) pthread_kill(slow.thread, SIGNAL);
  return slow.limit / 2 + 1;
}

static void watchdog(void *arg) {
  sigset_t all;
  (void)arg;
  sigfillset(&all); /* they are for others */
  pthread_sigmask(SIG_SETMASK, &all, NULL);
  uv_mutex_lock(&slow.mutex);
  while (!slow.stop) uv_cond_timedwait(&slow.wake, &slow.mutex, look());
  uv_mutex_unlock(&slow.mutex);
}

/* The step may have ended meanwhile, and a forked child has no watchdog. One
** that Ctrl-C is about to interrupt is left to that. */
static void on_late(int sig) {
  peri_loop *l = slow.loop;
  (void)sig;
  if (!l || getpid() != slow.pid ||
      !pthread_equal(pthread_self(), slow.thread) ||
      atomic_load(&slow.begun) != atomic_load(&slow.told))
    return;
  lua_State *L = peri_hook_where(l);
  if (L && !l->hook.in) peri_hook_arm(l, L, peri_debug_stall);
}

/* }===================================================================== */

/* {== In the turn ====================================================== */

/* A step has ended, if one was on, and another begins, if one is left. */
static void watch(peri_loop *l, lua_State *L) {
  uint64_t now = uv_hrtime(), begun = atomic_exchange(&slow.begun, 0);
  peri_hook_disarm(l, peri_debug_stall);
  if (begun && now - begun >= slow.limit && getpid() == slow.pid) {
    peri_debug_slow(L, l, now - begun);
    now = uv_hrtime();
  }
  if (l->watch && !peri_link_alone(&l->batch)) atomic_store(&slow.begun, now);
}

/* }===================================================================== */

/* {== Begin and end ==================================================== */

/* A program that handles the signal itself goes on to: there are no stacks
** then. */
static void take_signal(void) {
  struct sigaction sa = {.sa_handler = on_late, .sa_flags = SA_RESTART};
  sigemptyset(&sa.sa_mask);
  sigaddset(&sa.sa_mask, SIGINT); /* its handler arms the same hook */
  slow.handles = !sigaction(SIGNAL, NULL, &slow.before) &&
                 (slow.before.sa_handler == SIG_DFL ||
                  slow.before.sa_handler == SIG_IGN) &&
                 !sigaction(SIGNAL, &sa, NULL);
}

static void give_signal_back(void) {
  struct sigaction sa;
  if (!slow.handles || sigaction(SIGNAL, NULL, &sa)) return;
  if (sa.sa_handler == on_late) sigaction(SIGNAL, &slow.before, NULL);
}

/* Returns 0, or a uv status. */
static int start(peri_loop *l, uint64_t limit) {
  int status = uv_mutex_init(&slow.mutex);
  if (status) return status;
  status = uv_cond_init(&slow.wake);
  if (!status) {
    slow.limit = limit;
    slow.stop = 0;
    slow.thread = pthread_self();
    slow.pid = getpid();
    atomic_store(&slow.begun, 0);
    take_signal();
    status = uv_thread_create(&slow.watchdog, watchdog, NULL);
    if (!status) {
      slow.loop = l;
      return 0;
    }
    give_signal_back();
    uv_cond_destroy(&slow.wake);
  }
  uv_mutex_destroy(&slow.mutex);
  return status;
}

static void join_watchdog(void) {
  uv_mutex_lock(&slow.mutex);
  slow.stop = 1;
  uv_cond_signal(&slow.wake);
  uv_mutex_unlock(&slow.mutex);
  uv_thread_join(&slow.watchdog);
  uv_cond_destroy(&slow.wake);
  uv_mutex_destroy(&slow.mutex);
}

/* A box holds the loop that is watched, or NULL. In a forked child there is no
** thread to be joined. */
static void empty(peri_loop **box) {
  peri_loop *l = *box;
  if (!l) return;
  *box = NULL;
  peri_loop_watch(l, NULL);
  if (getpid() == slow.pid) join_watchdog();
  give_signal_back();
  slow.loop = NULL;
  peri_hook_disarm(l, peri_debug_stall);
}

static int box_gc(lua_State *L) {
  empty(lua_touserdata(L, 1));
  return 0;
}

static void end(lua_State *L, peri_loop *l) {
  peri_push_anchored(l, L, &slow);
  if (!lua_isnil(L, -1)) empty(lua_touserdata(L, -1));
  lua_pop(L, 1);
  peri_unanchor(l, &slow);
}

void peri_slow_watch(lua_State *L, peri_loop *l, uint64_t limit) {
  end(L, l);
  if (!limit || slow.loop || l->host) return; /* hosts want no thread */
  peri_loop **box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = NULL;
  luaL_setmetatable(L, BOX);
  peri_anchor(L, l, -1, &slow);
  int status = start(l, limit);
  if (status) {
    peri_unanchor(l, &slow);
    luaL_error(L, "%s: cannot watch for slow steps (%s)",
               uv_err_name(status), uv_strerror(status));
  }
  *box = l;
  lua_pop(L, 1);
  peri_loop_watch(l, watch);
}

/* }===================================================================== */

void peri_slow_open(lua_State *L) {
  luaL_newmetatable(L, BOX);
  lua_pushcfunction(L, box_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
}

#else

void peri_slow_watch(lua_State *L, peri_loop *l, uint64_t limit) {
  (void)L;
  (void)l;
  (void)limit;
}

void peri_slow_open(lua_State *L) {
  (void)L;
}

#endif
