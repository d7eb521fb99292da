/*
** fsevent.c - what changes in a directory, or of a file, as it does.
**
** uv side: on_event.
** Lua side: core.fs.watch; close, and `for event in watch do`, as methods of
** "perilune.fs.watch".
**
** A watch is a userdata. It owns the events that nobody has taken, and a
** watcher, which is freed when uv has closed it, and keeps the loop alive only
** while a task waits.
**
** SPDX-License-Identifier: MIT
*/
#include <lauxlib.h>
#include <stdint.h>
#include <string.h>

#include "fs.h"
#include "handle.h"
#include "poller.h"
#include "sched/error.h"
#include "sched/hand.h"
#include "sched/task.h"
#include "status.h"

#define TYPE "perilune.fs.watch"

/* The system keeps so many events for all watches together, and loses the
** others; libuv does not tell. By default these are 16384, on Linux. */
#define FLOOD 4096

typedef struct event {
  peri_link link;
  const char *kind;
  char name[];
} event;

/* No events are waiting while a task is parked. */
typedef struct watch {
  peri_link events;     /* those that nobody has taken */
  size_t n, limit;      /* how many, and how many there may be */
  struct watcher *of;   /* NULL once it is closed */
  peri_task *task;      /* while it is parked, or NULL */
  unsigned waiting : 1; /* a wait is under way, parked or woken: what has come
                           stays */
  unsigned lost : 1;    /* others came after these, and could not be kept */
} watch;

typedef struct watcher {
  peri_handle h;
  uv_fs_event_t uv;
  watch *of; /* NULL once that was closed */
} watcher;

static watcher *watcher_of(peri_handle *h) {
  return PERI_OF(h, watcher, h);
}

static watch *check_watch(lua_State *L) {
  return luaL_checkudata(L, 1, TYPE);
}

/* {== What has come ==================================================== */

static int has_events(const watch *w) {
  return !peri_link_alone(&w->events) || w->lost;
}

static size_t size_of(const char *name) {
  return sizeof(event) + strlen(name) + 1;
}

static void drop_first(peri_loop *l, watch *w) {
  event *e = PERI_OF(w->events.next, event, link);
  peri_link_out(&e->link);
  peri_free(l, e, size_of(e->name));
  w->n--;
}

static void drop_all(peri_loop *l, watch *w) {
  while (!peri_link_alone(&w->events)) drop_first(l, w);
  w->lost = 0;
}

/* Who takes the last one will look after that: it says this one as well. */
static int is_last(const watch *w, const char *kind, const char *name) {
  const event *last = PERI_OF(w->events.prev, event, link);
  return !peri_link_alone(&w->events) && last->kind == kind &&
         !strcmp(last->name, name);
}

/* After one that is lost none is kept until that was told, so that events
** are in order, and nobody goes by half of them. */
static void keep(peri_loop *l, watch *w, const char *kind, const char *name) {
  if (w->lost || is_last(w, kind, name)) return;
  event *e = w->n < w->limit ? peri_alloc(l, size_of(name)) : NULL;
  w->lost = !e;
  if (!e) return;
  e->kind = kind;
  strcpy(e->name, name);
  peri_link_init(&e->link);
  peri_list_append(&w->events, &e->link);
  w->n++;
}

/* }===================================================================== */

/* {== uv side ========================================================== */

static void wake(peri_loop *l, watch *w) {
  peri_task *t = w->task;
  w->task = NULL;
  if (t) peri_task_wake(l, t);
}

static const peri_handle_type watcher_type;

/* All watches of the loop may have missed something. */
static void flood(peri_loop *l) {
  peri_link *all = &peri_io_of(l)->handles;
  for (peri_link *k = all->next; k != all; k = k->next) {
    peri_handle *h = PERI_OF(k, peri_handle, link);
    watch *w = h->type == &watcher_type ? watcher_of(h)->of : NULL;
    if (!w) continue;
    w->lost = 1;
    wake(l, w);
  }
}

/* Counts those that come in one poll. */
static void count(peri_loop *l) {
  peri_io *io = peri_io_of(l);
  if (io->events_at != l->turns) io->nevents = 0;
  io->events_at = l->turns;
  if (++io->nevents % FLOOD == 0) flood(l);
}

/* A system that has lost events says so by leaving out the name. */
static void on_event(uv_fs_event_t *uv, const char *name, int events,
                     int status) {
  peri_handle *h = peri_handle_of((uv_handle_t *)uv);
  watch *w = watcher_of(h)->of;
  if (status || !name)
    w->lost = 1;
  else
    keep(h->loop, w, events & UV_RENAME ? "rename" : "change", name);
  wake(h->loop, w);
  count(h->loop);
}

static void hold(watch *w, int on) {
  if (!w->of) return;
  if (on)
    uv_ref((uv_handle_t *)&w->of->uv);
  else
    uv_unref((uv_handle_t *)&w->of->uv);
}

/* }===================================================================== */

/* {== Close ============================================================ */

/* A task that was woken still gets what has woken it. */
static void close_watch(peri_loop *l, watch *w) {
  watcher *v = w->of;
  if (!w->waiting) drop_all(l, w);
  if (!v) return;
  w->of = NULL;
  v->of = NULL;
  peri_handle_close(&v->h);
  wake(l, w);
}

static void watcher_shut(peri_loop *l, peri_handle *h) {
  watcher *v = watcher_of(h);
  if (v->of) close_watch(l, v->of);
}

static void watcher_closed(peri_loop *l, peri_handle *h) {
  watcher *v = watcher_of(h);
  if (v->of) v->of->of = NULL;
  peri_free(l, v, sizeof *v);
}

static const peri_handle_type watcher_type = {
  "watch", 0, watcher_shut, watcher_closed};

/* }===================================================================== */

/* {== Waiting ========================================================== */

static void set_string(lua_State *L, const char *name, const char *value) {
  lua_pushstring(L, value);
  lua_setfield(L, -2, name);
}

static int take_lost(lua_State *L, watch *w) {
  lua_createtable(L, 0, 1);
  set_string(L, "kind", "overflow");
  w->lost = 0;
  return 1;
}

/* The event is let go when it is in Lua. A finalizer may close the watch while
** that makes its table, and lets it go as well. */
static int take(lua_State *L, peri_loop *l, watch *w) {
  if (peri_link_alone(&w->events)) return take_lost(L, w);
  const event *e = PERI_OF(w->events.next, event, link);
  const char *kind = e->kind;
  lua_pushstring(L, e->name);
  lua_createtable(L, 0, 2);
  lua_insert(L, -2);
  lua_setfield(L, -2, "name");
  set_string(L, "kind", kind);
  if (w->n) drop_first(l, w);
  return 1;
}

static int next_abort(peri_loop *l, peri_task *t, int why) {
  watch *w = t->on;
  (void)l;
  (void)why;
  w->task = NULL;
  w->waiting = 0;
  hold(w, 0);
  return 1;
}

/* It was woken for an event, which stays, unless the watch is closed. */
static void next_drop(peri_loop *l, peri_task *t) {
  watch *w = lua_touserdata(peri_task_waits_in(t), 1);
  w->waiting = 0;
  hold(w, 0);
  if (!w->of) drop_all(l, w);
}

static int next_k(lua_State *L, int status, lua_KContext ctx) {
  peri_loop *l = PERI_LOOP(L);
  watch *w = lua_touserdata(L, 1);
  (void)status;
  (void)ctx;
  w->waiting = 0;
  hold(w, 0);
  if (!has_events(w)) return 0;
  take(L, l, w);
  if (!w->of) drop_all(l, w);
  return 1;
}

static const peri_wait waiting = {"watch", next_abort, next_k, next_drop};

/* `for event in watch do`: what changes, each a table with `kind` and `name`.
** The name is that of what is in the directory, or of the file itself. The kind
** is "change" for what is in it, or what is known of it, "rename" where it came,
** went, or got or lost that name. An event without a name, of kind "overflow",
** says that others were lost here: look at all there is. Ends when the watch is
** closed. One task waits; a second one is refused. Waits. */
static int watch_call(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  watch *w = check_watch(L);
  lua_settop(L, 1);
  if (w->waiting)
    return peri_error_raise(L, "EBUSY", "another task waits for these events");
  peri_task *t = peri_wait_enter(L, l);
  if (has_events(w)) return peri_task_done(L, l, take(L, l, w));
  if (!w->of) return 0;
  w->task = t;
  w->waiting = 1;
  hold(w, 1);
  return peri_task_park(L, l, &waiting, w, 0);
}

/* }===================================================================== */

/* {== New ============================================================== */

/* Starts to watch: 0, or a uv status. What was begun is the caller's to
** close. */
static int start(peri_loop *l, watch *w, const char *path) {
  watcher *v = peri_alloc(l, sizeof *v);
  if (!v) return UV_ENOMEM;
  memset(v, 0, sizeof *v);
  int status = uv_fs_event_init(peri_poller_uv(l), &v->uv);
  if (status) {
    peri_free(l, v, sizeof *v);
    return status;
  }
  peri_handle_open(l, &v->h, &watcher_type, (uv_handle_t *)&v->uv);
  uv_unref((uv_handle_t *)&v->uv);
  v->of = w;
  w->of = v;
  return uv_fs_event_start(&v->uv, on_event, path, 0);
}

static watch *push_watch(lua_State *L, size_t limit) {
  watch *w = lua_newuserdatauv(L, sizeof *w, 0);
  memset(w, 0, sizeof *w);
  peri_link_init(&w->events);
  w->limit = limit;
  luaL_setmetatable(L, TYPE);
  return w;
}

/* The system's own texts for these say "no space left on device", and "too
** many open files". */
static const char *hint(int status) {
  if (status == UV_ENOSPC) return ": fs.inotify.max_user_watches";
  if (status == UV_EMFILE) return ": or fs.inotify.max_user_instances";
  return "";
}

/* core.fs.watch(path, limit) -> watch, or nil, message, code. Never waits. */
static int fs_watch(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_fs_check_path(L, 1, "watch");
  const char *path = lua_tostring(L, 1);
  watch *w = push_watch(L, (size_t)luaL_checkinteger(L, 2));
  int status = start(l, w, path);
  if (!status) return 1;
  close_watch(l, w);
  return peri_status_fail(L, status, "watch %s%s", path, hint(status));
}

/* }===================================================================== */

/* watch:close() -> true. Ends the watch, and a loop over it. Twice is fine.
** Never waits. */
static int watch_close(lua_State *L) {
  close_watch(PERI_LOOP(L), check_watch(L));
  lua_pushboolean(L, 1);
  return 1;
}

void peri_fs_open_watch(lua_State *L, peri_loop *l) {
  static const luaL_Reg methods[] = {
    {"close", watch_close}, {"__close", watch_close}, {"__gc", watch_close},
    {"__call", watch_call}, {NULL, NULL}};
  luaL_newmetatable(L, TYPE);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, methods, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  lua_pushcclosure(L, fs_watch, 1);
  lua_setfield(L, -2, "watch");
}
