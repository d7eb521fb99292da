/*
** subscribe.c - signals, subscribed to.
**
** uv side: on_signal.
** Lua side: core.subscribe; close, and `for name in signals do`, as methods
** of "perilune.subscription".
**
** A subscription is a userdata. It owns a watcher for each signal, which is
** freed when uv has closed it. Watchers keep the loop alive only while a
** task waits.
**
** SPDX-License-Identifier: MIT
*/
#include <lauxlib.h>
#include <string.h>

#include "caught.h"
#include "handle.h"
#include "poller.h"
#include "sched/error.h"
#include "sched/task.h"
#include "signal.h"
#include "signame.h"
#include "status.h"

#define TYPE "perilune.subscription"

typedef struct subscription {
  peri_link watchers;   /* all */
  peri_link arrived;    /* those whose signal nobody has taken yet, in order */
  peri_task *task;      /* while it is parked, or NULL */
  int got;              /* the signal that has woken it */
  unsigned waiting : 1; /* a wait is under way, parked or woken */
  unsigned closed : 1;
} subscription;

typedef struct watcher {
  peri_handle h;
  uv_signal_t uv;
  subscription *of; /* NULL once that was closed */
  peri_link link, arrival;
  int signum;
  int started;
} watcher;

static watcher *watcher_of(peri_handle *h) {
  return PERI_OF(h, watcher, h);
}

static subscription *check_subscription(lua_State *L) {
  return luaL_checkudata(L, 1, TYPE);
}

/* {== uv side ========================================================== */

/* Equal signals that nobody has taken count as one, as in the system. */
static void on_signal(uv_signal_t *uv, int signum) {
  peri_handle *h = peri_handle_of((uv_handle_t *)uv);
  watcher *w = watcher_of(h);
  subscription *s = w->of;
  peri_task *t = s->task;
  if (t) {
    s->got = signum;
    s->task = NULL;
    peri_task_wake(h->loop, t);
  } else if (peri_link_alone(&w->arrival)) {
    peri_list_append(&s->arrived, &w->arrival);
  }
}

/* Whether the watchers keep the loop alive. */
static void hold(subscription *s, int on) {
  for (peri_link *k = s->watchers.next; k != &s->watchers; k = k->next) {
    uv_handle_t *uv = (uv_handle_t *)&PERI_OF(k, watcher, link)->uv;
    if (on)
      uv_ref(uv);
    else
      uv_unref(uv);
  }
}

/* }===================================================================== */

/* {== Close ============================================================ */

static void stop(watcher *w) {
  if (!w->started) return;
  w->started = 0;
  if (!uv_is_closing((uv_handle_t *)&w->uv)) uv_signal_stop(&w->uv);
#ifndef _WIN32
  peri_caught_end(w->signum);
#endif
}

static void close_watcher(watcher *w) {
  stop(w);
  peri_link_out(&w->link);
  peri_link_out(&w->arrival);
  w->of = NULL;
  peri_handle_close(&w->h);
}

static void close_subscription(peri_loop *l, subscription *s) {
  peri_task *t = s->task;
  s->closed = 1;
  while (!peri_link_alone(&s->watchers))
    close_watcher(PERI_OF(s->watchers.next, watcher, link));
  s->task = NULL;
  if (t) peri_task_wake(l, t);
}

static void watcher_shut(peri_loop *l, peri_handle *h) {
  watcher *w = watcher_of(h);
  if (w->of) close_subscription(l, w->of);
}

static void watcher_closed(peri_loop *l, peri_handle *h) {
  watcher *w = watcher_of(h);
  stop(w); /* at the end of the Lua state */
  peri_link_out(&w->link);
  peri_link_out(&w->arrival);
  peri_free(l, w, sizeof *w);
}

static const peri_handle_type watcher_type = {
  "signal", 0, watcher_shut, watcher_closed};

/* }===================================================================== */

/* {== Waiting ========================================================== */

static int next_abort(peri_loop *l, peri_task *t, int why) {
  subscription *s = t->on;
  (void)l;
  (void)why;
  s->task = NULL;
  s->waiting = 0;
  hold(s, 0);
  return 1;
}

static int next_k(lua_State *L, int status, lua_KContext ctx) {
  subscription *s = lua_touserdata(L, 1);
  int got = s->got;
  (void)status;
  (void)ctx;
  s->waiting = 0;
  s->got = 0;
  hold(s, 0);
  if (!got) return 0;
  peri_signal_push(L, got);
  return 1;
}

static const peri_wait waiting = {"signal", next_abort, next_k};

/* The one that came first. */
static int take(lua_State *L, subscription *s) {
  watcher *w = PERI_OF(s->arrived.next, watcher, arrival);
  peri_link_out(&w->arrival);
  peri_signal_push(L, w->signum);
  return 1;
}

/* `for name in signals do`: the signals that come, by name: "INT". Ends when
** the subscription is closed. One task waits; a second one is refused.
** Waits. */
static int subscription_call(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  subscription *s = check_subscription(L);
  lua_settop(L, 1);
  if (s->waiting)
    return peri_error_raise(L, "EBUSY",
                            "another task waits for these signals");
  peri_task *t = peri_wait_enter(L, l);
  if (!peri_link_alone(&s->arrived))
    return peri_task_done(L, l, take(L, s));
  if (s->closed) return 0;
  s->task = t;
  s->waiting = 1;
  hold(s, 1);
  return peri_task_park(L, l, &waiting, s, 0);
}

/* }===================================================================== */

/* {== New ============================================================== */

/* Signals that cannot be caught, or not by somebody who looks later. */
static void refuse(lua_State *L, int idx, int signum) {
  static const int refused[] = {
    SIGKILL, SIGSEGV, SIGILL, SIGFPE,
#ifndef _WIN32
    SIGSTOP, SIGBUS,
#endif
  };
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    if (refused[i] != signum) continue;
    peri_signal_push(L, signum);
    luaL_argerror(L, idx, lua_pushfstring(L, "%s cannot be subscribed to",
                                          lua_tostring(L, -1)));
  }
}

static int watches(const subscription *s, int signum) {
  const peri_link *k = s->watchers.next;
  while (k != &s->watchers && PERI_OF(k, watcher, link)->signum != signum)
    k = k->next;
  return k != &s->watchers;
}

/* Starts to watch: 0, or a uv status. What was begun is the caller's to
** close. */
static int watch(peri_loop *l, subscription *s, int signum) {
  if (watches(s, signum)) return 0;
  watcher *w = peri_alloc(l, sizeof *w);
  if (!w) return UV_ENOMEM;
  memset(w, 0, sizeof *w);
  peri_link_init(&w->link);
  peri_link_init(&w->arrival);
  w->signum = signum;
  int status = uv_signal_init(peri_poller_uv(l), &w->uv);
  if (status) {
    peri_free(l, w, sizeof *w);
    return status;
  }
  peri_handle_open(l, &w->h, &watcher_type, (uv_handle_t *)&w->uv);
  uv_unref((uv_handle_t *)&w->uv);
  w->of = s;
  peri_list_append(&s->watchers, &w->link);
#ifndef _WIN32
  peri_caught_begin(signum);
#endif
  w->started = 1;
  return uv_signal_start(&w->uv, on_signal, signum);
}

static subscription *push_subscription(lua_State *L) {
  subscription *s = lua_newuserdatauv(L, sizeof *s, 0);
  memset(s, 0, sizeof *s);
  peri_link_init(&s->watchers);
  peri_link_init(&s->arrived);
  luaL_setmetatable(L, TYPE);
  return s;
}

/*
** aio.signals(...) -> signals, or nil, message, code. Subscribes to signals,
** given as names ("INT") or numbers; they are to be waited for in a loop, and
** do nothing else as long as somebody subscribes to them: an INT cancels no
** run. What they did before is put back at the end. Several can subscribe to
** the same one, and get it each. KILL, STOP and what the system says of a
** broken program are refused. Never waits.
*/
static int subscribe(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  int n = lua_gettop(L), status = 0;
  luaL_argcheck(L, n > 0, 1, "signal expected");
  for (int i = 1; i <= n; i++)
    refuse(L, i, peri_signal_check(L, i, i, "signals"));
  subscription *s = push_subscription(L);
  for (int i = 1; i <= n && !status; i++)
    status = watch(l, s, peri_signal_check(L, i, i, "signals"));
  if (!status) return 1;
  close_subscription(l, s);
  return peri_status_fail(L, status, "signals");
}

/* }===================================================================== */

/* signals:close() -> true. Ends the subscription, and a loop over it. Twice
** is fine. Never waits. */
static int subscription_close(lua_State *L) {
  close_subscription(PERI_LOOP(L), check_subscription(L));
  lua_pushboolean(L, 1);
  return 1;
}

void peri_subscribe_open(lua_State *L, peri_loop *l) {
  static const luaL_Reg methods[] = {
    {"close", subscription_close}, {"__close", subscription_close},
    {"__gc", subscription_close}, {"__call", subscription_call},
    {NULL, NULL}};
  luaL_newmetatable(L, TYPE);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, methods, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  lua_pushcclosure(L, subscribe, 1);
  lua_setfield(L, -2, "subscribe");
}
