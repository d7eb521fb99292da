/*
** signal.c - Ctrl-C: what SIGINT does to a run.
**
** The signal handler counts. It notes no more than that, and rings so that
** the loop looks. The second time, Lua code that never waits is interrupted
** as well, by a debug hook as in lua.c; the third time the program ends as
** if there were no handler.
**
** uv side: none; the poller's bell ends a poll that blocks.
** Lua side: core.signals(fn) has fn(n) called, as a callback, at the n-th
** SIGINT from now on; core.signals(nil) ends that.
**
** The loop keeps a box while the handler is installed: the box's user value
** is fn, and its finalizer uninstalls the handler at the end of the state.
**
** While somebody subscribes to INT (subscribe.c), none of this is done.
**
** The variable below lives as long as the process: a signal handler is given
** nothing else to find its way by.
**
** SPDX-License-Identifier: MIT
*/
#include "signal.h"

#include <lauxlib.h>
#include <signal.h>

#include "caught.h"
#include "poller.h"
#include "raw.h"
#include "sched/callback.h"
#include "sched/error.h"
#include "sched/hook.h"

#ifndef _WIN32

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#define BOX "perilune.signals"
#define INTERRUPTS 2 /* from this SIGINT on, running Lua code is stopped */
#define KILLS 3      /* this one ends the program */

/* Who is told. The handler is installed while `loop` is set, and all else
** is written before that. */
static struct {
  peri_loop *volatile loop;
  volatile sig_atomic_t count;   /* SIGINTs since it was installed */
  volatile sig_atomic_t telling; /* fn runs, and is not to be interrupted */
  int told;                      /* calls of fn since it was installed */
  unsigned generation;           /* how often it was installed */
  peri_runnable run;
  peri_attention attention;
  pthread_t thread; /* that of the loop */
  pid_t pid;
  struct sigaction before; /* the handler that was found */
} heard;

/* {== The handler ====================================================== */

/* What follows is async-signal-safe, or does what lua.c does. */

static void die(int sig) {
  peri_raw_restore();
  signal(sig, SIG_DFL);
  raise(sig); /* comes when the handler returns */
}

/* Raises in the Lua code that runs; for a run that is over, nothing. */
static void raise_interrupt(lua_State *L, peri_loop *l) {
  if (heard.loop != l || heard.count < INTERRUPTS) return;
  peri_error_new(L, "EINTR", "interrupted");
  lua_error(L);
}

/* A stock coroutine inside a task is not known here: it is reached only
** when it returns to the task. */
static void interrupt_lua(peri_loop *l) {
  lua_State *L = peri_hook_where(l);
  if (L && !heard.telling) peri_hook_arm(l, L, raise_interrupt);
}

static void hear(int sig) {
  peri_loop *l = heard.loop;
  if (!l || ++heard.count >= KILLS) {
    die(sig);
    return;
  }
  if (heard.count >= INTERRUPTS) interrupt_lua(l);
  peri_poller_ring(l);
}

/* The signal may come to any thread, one of uv's pool for instance, and is
** passed on to the one that runs Lua. In a forked child it is none of our
** business. */
static void on_sigint(int sig) {
  int saved = errno;
  if (getpid() != heard.pid)
    die(sig);
  else if (!pthread_equal(pthread_self(), heard.thread))
    pthread_kill(heard.thread, sig);
  else
    hear(sig);
  errno = saved;
}

/* }===================================================================== */

/* {== In the turn ====================================================== */

/* Pushes the function to be called, which is kept by the box. */
static void push_function(peri_loop *l, lua_State *L) {
  peri_push_anchored(l, L, &heard);
  lua_getiuservalue(L, -1, 1);
  lua_remove(L, -2);
}

static void call(peri_loop *l, lua_State *L, int n) {
  push_function(l, L);
  lua_pushinteger(L, n);
  heard.telling = 1;
  int status = peri_callback_call(l, L, NULL, 1, 0);
  heard.telling = 0;
  if (status) peri_report(l, L, "callback", NULL);
}

/* The function may end the listening, and begin it anew. */
static void tell(peri_loop *l, peri_runnable *r, lua_State *L) {
  unsigned now = heard.generation;
  (void)r;
  peri_hook_disarm(l, raise_interrupt); /* nothing is to hit what is called */
  if (!lua_checkstack(L, LUA_MINSTACK)) return;
  while (heard.loop == l && heard.generation == now &&
         heard.told < heard.count)
    call(l, L, ++heard.told);
}

static void look(peri_loop *l, peri_attention *a) {
  (void)a;
  if (heard.loop != l || heard.told >= heard.count) return;
  if (peri_link_alone(&heard.run.link)) peri_loop_ready(l, &heard.run);
}

/* }===================================================================== */

/* {== Begin and end ==================================================== */

/* A program that was started with SIGINT ignored (nohup, a shell's "&") goes
** on ignoring it. */
static int is_ignored(void) {
  return peri_caught_action(SIGINT, NULL, &heard.before) ||
         heard.before.sa_handler == SIG_IGN;
}

static void install(peri_loop *l) {
  struct sigaction sa = {.sa_handler = on_sigint, .sa_flags = SA_RESTART};
  sigemptyset(&sa.sa_mask);
  peri_link_init(&heard.run.link);
  heard.run.run = tell;
  heard.count = heard.told = 0;
  heard.generation++;
  heard.thread = pthread_self();
  heard.pid = getpid();
  heard.loop = l;
  heard.attention.look = look;
  peri_poller_attend(l, &heard.attention);
  peri_caught_action(SIGINT, &sa, NULL);
}

/* Puts back the handler that was found, unless ours has been replaced. */
static void uninstall(peri_loop *l) {
  struct sigaction sa;
  if (!peri_caught_action(SIGINT, NULL, &sa) && sa.sa_handler == on_sigint)
    peri_caught_action(SIGINT, &heard.before, NULL);
  heard.loop = NULL;
  peri_link_out(&heard.attention.link);
  peri_link_out(&heard.run.link);
  peri_hook_disarm(l, raise_interrupt);
}

/* A box holds the loop for which the handler is installed, or NULL. */
static void empty(peri_loop **box) {
  if (*box) uninstall(*box);
  *box = NULL;
}

static int box_gc(lua_State *L) {
  empty(lua_touserdata(L, 1));
  return 0;
}

static void end(lua_State *L, peri_loop *l) {
  peri_push_anchored(l, L, &heard);
  if (!lua_isnil(L, -1)) empty(lua_touserdata(L, -1));
  lua_pop(L, 1);
  peri_unanchor(l, &heard);
}

/* Anchors a box for the function at index 1; after that nothing fails. */
static int begin(lua_State *L, peri_loop *l) {
  if (heard.loop || is_ignored()) return 0;
  peri_loop **box = lua_newuserdatauv(L, sizeof *box, 1);
  *box = NULL;
  luaL_setmetatable(L, BOX);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  peri_anchor(L, l, -1, &heard);
  *box = l;
  install(l);
  return 1;
}

/* core.signals(fn | nil) -> true, or false if another loop of this process
** listens, or SIGINT is ignored. Never waits. */
static int signals(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  int listens = !lua_isnoneornil(L, 1);
  if (listens) peri_check_callable(L, 1);
  end(L, l);
  lua_pushboolean(L, !listens || begin(L, l));
  return 1;
}

/* }===================================================================== */

static void open_box(lua_State *L) {
  luaL_newmetatable(L, BOX);
  lua_pushcfunction(L, box_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
}

#else

/* core.signals(fn | nil) -> false: this is not a system with SIGINT. */
static int signals(lua_State *L) {
  lua_pushboolean(L, 0);
  return 1;
}

static void open_box(lua_State *L) {
  (void)L;
}

#endif

void peri_signal_open(lua_State *L, peri_loop *l) {
  open_box(L);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  lua_pushcclosure(L, signals, 1);
  lua_setfield(L, -2, "signals");
}
