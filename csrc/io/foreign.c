/*
** foreign.c - waiting for descriptors that are not ours.
**
** uv side: on_event.
** Lua side: core.poll_fd.
**
** uv has one watcher for each descriptor, which all who wait share. It lives
** no longer than they wait, for afterwards the number may mean another file.
** A wait is a userdata on the stack of its task.
**
** SPDX-License-Identifier: MIT
*/
#include "foreign.h"

#include <lauxlib.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "handle.h"
#include "poller.h"
#include "sched/error.h"
#include "sched/task.h"
#include "status.h"

typedef struct watcher {
  peri_handle h;
  uv_poll_t uv;
  peri_link link;  /* in peri_io.foreign, while somebody waits */
  peri_link waits;
  int fd;
} watcher;

typedef struct wait {
  peri_link link;  /* among its watcher's */
  peri_task *task;
  watcher *of;
  int fd;
  int events;      /* wanted */
  int ready;       /* of these; or a uv status */
} wait;

static watcher *watcher_of(peri_handle *h) {
  return PERI_OF(h, watcher, h);
}

/* {== The watcher ====================================================== */

static void close_watcher(watcher *w) {
  peri_link_out(&w->link);
  peri_handle_close(&w->h);
}

static void on_event(uv_poll_t *uv, int status, int events);

/* Watches for what is wanted now: 0, or a uv status. */
static int update(watcher *w) {
  int events = 0;
  for (peri_link *k = w->waits.next; k != &w->waits; k = k->next)
    events |= PERI_OF(k, wait, link)->events;
  if (events) return uv_poll_start(&w->uv, events, on_event);
  close_watcher(w);
  return 0;
}

static void complete(peri_loop *l, wait *t, int ready) {
  peri_link_out(&t->link);
  t->ready = ready;
  peri_task_wake(l, t->task);
}

/* Wakes those who want one of the events; all of them, with a status. */
static void wake(watcher *w, int status, int events) {
  peri_link *next = w->waits.next;
  for (peri_link *k = next; k != &w->waits; k = next) {
    next = k->next;
    wait *t = PERI_OF(k, wait, link);
    if (status || (events & t->events))
      complete(w->h.loop, t, status ? status : events & t->events);
  }
}

/* uv tells of an error that is yet to be found by whoever reads or writes:
** to them that is as good as ready. */
static void on_event(uv_poll_t *uv, int status, int events) {
  watcher *w = watcher_of(peri_handle_of((uv_handle_t *)uv));
  wake(w, 0, status ? UV_READABLE | UV_WRITABLE : events);
  status = update(w);
  if (!status) return;
  wake(w, status, 0);
  close_watcher(w);
}

static void watcher_shut(peri_loop *l, peri_handle *h) {
  (void)l;
  wake(watcher_of(h), PERI_ECLOSED, 0);
  close_watcher(watcher_of(h));
}

/* At the end of the Lua state it may be in the list still, and waited for. */
static void watcher_closed(peri_loop *l, peri_handle *h) {
  watcher *w = watcher_of(h);
  peri_link_out(&w->link);
  peri_link_out(&w->waits);
  peri_free(l, w, sizeof *w);
}

static const peri_handle_type watcher_type = {
  "poll", 0, watcher_shut, watcher_closed};

static watcher *find(peri_io *io, int fd) {
  for (peri_link *k = io->foreign.next; k != &io->foreign; k = k->next) {
    watcher *w = PERI_OF(k, watcher, link);
    if (w->fd == fd) return w;
  }
  return NULL;
}

/* A watcher that nobody waits for yet: 0, or a uv status. */
static int make(peri_loop *l, int fd, watcher **made) {
  watcher *w = peri_alloc(l, sizeof *w);
  if (!w) return UV_ENOMEM;
  memset(w, 0, sizeof *w);
  w->fd = fd;
  int status = peri_handle_poll(l, &w->uv, w->fd);
  if (status) {
    peri_free(l, w, sizeof *w);
    return status;
  }
  peri_link_init(&w->link);
  peri_link_init(&w->waits);
  peri_list_append(&peri_io_of(l)->foreign, &w->link);
  peri_handle_open(l, &w->h, &watcher_type, (uv_handle_t *)&w->uv);
  *made = w;
  return 0;
}

/* }===================================================================== */

/* {== Waiting ========================================================== */

enum { FD = 1, MODE, WAIT }; /* on the stack */

static int poll_abort(peri_loop *l, peri_task *task, int why) {
  wait *t = task->on;
  (void)l;
  (void)why;
  peri_link_out(&t->link);
  if (update(t->of)) close_watcher(t->of);
  return 1;
}

static int fail(lua_State *L, const wait *t, int status) {
  return peri_status_fail(L, status, "poll %d", t->fd);
}

static int poll_k(lua_State *L, int status, lua_KContext ctx) {
  const wait *t = lua_touserdata(L, WAIT);
  (void)status;
  (void)ctx;
  if (t->ready < 0) return fail(L, t, t->ready);
  lua_pushfstring(L, "%s%s", t->ready & UV_READABLE ? "r" : "",
                  t->ready & UV_WRITABLE ? "w" : "");
  return 1;
}

static const peri_wait polling = {"poll", poll_abort, poll_k};

/* The number of a descriptor, or of a Lua file's. */
static int check_fd(lua_State *L, int idx) {
  luaL_Stream *file = luaL_testudata(L, idx, LUA_FILEHANDLE);
  if (file) {
    luaL_argcheck(L, file->closef, idx, "closed file");
#ifdef _WIN32
    return _fileno(file->f);
#else
    return fileno(file->f);
#endif
  }
  int good;
  lua_Integer fd = lua_tointegerx(L, idx, &good);
  if (!good || fd < 0 || fd > INT_MAX)
    luaL_argerror(L, idx, lua_pushfstring(L, "number of a descriptor, or a Lua "
                          "file, expected, got %s",
                          good ? lua_tostring(L, idx) : luaL_typename(L, idx)));
  return (int)fd;
}

/* Joins those who wait for the descriptor: 0, or a uv status. */
static int join(peri_loop *l, wait *t) {
  int status = 0;
  t->of = find(peri_io_of(l), t->fd);
  if (!t->of) status = make(l, t->fd, &t->of);
  if (status) return status;
  peri_list_append(&t->of->waits, &t->link);
  status = update(t->of);
  if (!status) return 0;
  peri_link_out(&t->link);
  if (peri_link_alone(&t->of->waits)) close_watcher(t->of);
  return status;
}

/*
** aio.poll(fd, mode) -> "r", "w" or "rw", or nil, message, code. Waits until a
** descriptor that some other library has opened can be read ("r"), written
** ("w"), or either ("rw"); `fd` is its number, or a Lua file, whose buffers
** are not looked at. An error or the end of a stream counts as ready. Several
** tasks can wait for the same one. It must stay open meanwhile. Waits.
*/
static int poll_fd(lua_State *L) {
  static const char *const modes[] = {"r", "w", "rw", NULL};
  static const int events[] = {UV_READABLE, UV_WRITABLE,
                               UV_READABLE | UV_WRITABLE};
  peri_loop *l = PERI_LOOP(L);
  int fd = check_fd(L, FD);
  int wanted = events[luaL_checkoption(L, MODE, NULL, modes)];
  lua_settop(L, MODE);
  peri_task *task = peri_wait_enter(L, l);
  wait *t = lua_newuserdatauv(L, sizeof *t, 0);
  memset(t, 0, sizeof *t);
  peri_link_init(&t->link);
  t->task = task;
  t->fd = fd;
  t->events = wanted;
  int status = join(l, t);
  if (status) return fail(L, t, status);
  return peri_task_park(L, l, &polling, t, 0);
}

/* }===================================================================== */

void peri_foreign_open(lua_State *L, peri_loop *l) {
  peri_stash_push(l, L, PERI_STASH_LOOP);
  lua_pushcclosure(L, poll_fd, 1);
  lua_setfield(L, -2, "poll_fd");
}
