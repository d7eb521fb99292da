/*
** open.c - the life of a loop in a host.
**
** Owns the perilune_loop, freed with its last reference. The registry has it
** under the address of `key`, as long as the loop is open; the Lua side is
** the stash's PERI_STASH_HOST and an anchored thread, `scratch`.
**
** SPDX-License-Identifier: MIT
*/
#include <assert.h>
#include <lauxlib.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "embed.h"
#include "run.h"

#ifndef PERILUNE_NO_UV
#include "io/io.h"
#endif

static const char key = 0;

/* {== Checks =========================================================== */

const void *peri_embed_thread(void) {
  static _Thread_local char here;
  return &here;
}

int peri_embed_check(const perilune_loop *p) {
  if (p->thread != peri_embed_thread()) return PERILUNE_ETHREAD;
  if (!p->loop || p->closing) return PERILUNE_ECLOSED;
  if (peri_loop_forked(p->loop)) return PERILUNE_ETHREAD;
  return PERILUNE_OK;
}

/* }===================================================================== */

/* {== Protected calls ================================================== */

typedef struct call {
  perilune_loop *p;
  peri_embed_fn fn;
  void *arg;
} call;

/* What PERI_STASH_HOST is, with the loop as upvalue. */
static int relay(lua_State *L) {
  call *c = lua_touserdata(L, -1);
  lua_pop(L, 1);
  c->fn(L, c->p, c->arg);
  return 0;
}

static int status_of(int status) {
  if (status == LUA_OK) return PERILUNE_OK;
  return status == LUA_ERRMEM ? PERILUNE_ENOMEM : PERILUNE_ELUA;
}

int peri_embed_try(perilune_loop *p, lua_State *L, peri_embed_fn fn,
                   void *arg, int nargs) {
  call c = {p, fn, arg};
  if (!lua_checkstack(L, LUA_MINSTACK)) {
    lua_pop(L, nargs);
    lua_pushnil(L);
    return PERILUNE_ENOMEM;
  }
  peri_stash_push(p->loop, L, PERI_STASH_HOST);
  lua_insert(L, -nargs - 1);
  lua_pushlightuserdata(L, &c);
  return status_of(lua_pcall(L, nargs + 1, 0, 0));
}

int peri_embed_call(perilune_loop *p, lua_State *L, peri_embed_fn fn,
                    void *arg, int nargs) {
  int rc = peri_embed_try(p, L, fn, arg, nargs);
  if (rc) lua_pop(L, 1);
  return rc;
}

void peri_embed_pop(const perilune_loop *p, lua_State *L, int n) {
  if (p->thread != peri_embed_thread()) return;
  if (n > 0 && (p->loop || p->closing)) lua_pop(L, n);
}

/* }===================================================================== */

/* {== Open ============================================================= */

typedef struct opening {
  perilune_loop *p;
  void *uv_loop;
  int sigpipe, rc;
} opening;

/* The loop of this state; NULL, with the reason in `rc`, if it cannot be
** hosted. */
static peri_loop *find_loop(lua_State *L, opening *o) {
  peri_core_open(L, o->uv_loop);
  lua_getfield(L, -1, "loop");
  peri_loop *l = lua_touserdata(L, -1);
  lua_pop(L, 1);
  if (l->dead || l->closing)
    o->rc = PERILUNE_ECLOSED;
  else if (l->host || l->attached != o->uv_loop)
    o->rc = PERILUNE_EARG;
  else if (l->running || l->callback || l->main || l->current != l->root)
    o->rc = PERILUNE_EREENTER;
  return o->rc ? NULL : l;
}

static void push_closure(lua_State *L, peri_loop *l, lua_CFunction f) {
  peri_stash_push(l, L, PERI_STASH_LOOP);
  lua_pushcclosure(L, f, 1);
}

/* Everything that can fail. Stack: the core. */
static void prepare(lua_State *L, peri_loop *l, perilune_loop *p) {
  push_closure(L, l, peri_embed_hook);
  lua_setfield(L, -2, "on_failure");
  peri_embed_require(L);
  push_closure(L, l, relay);
  peri_stash_set(l, L, PERI_STASH_HOST);
  p->scratch = lua_newthread(L);
  peri_anchor(L, l, -1, p);
  lua_pop(L, 1);
  lua_pushlightuserdata(L, p);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key);
}

static int open_loop(lua_State *L) {
  opening *o = lua_touserdata(L, 1);
  lua_settop(L, 0);
  peri_loop *l = find_loop(L, o);
  if (!l) return 0;
  prepare(L, l, o->p);
  o->p->loop = l;
  l->host = o->p;
  l->hosted = 1;
  l->lost = peri_embed_lost;
  peri_embed_slice(o->p);
  if (o->sigpipe) l->poller->drive(l, 1); /* ends with the poller */
  peri_loop_poll(l, 0);
  if (!l->attached) return 0;
  l->driver = &peri_embed_driver;
  l->poller->wakeup(l); /* so that what is begun before uv_run is seen there */
  return 0;
}

static void free_block(perilune_loop *p) {
  peri_embed_free_clocks(p);
  free(p->shown);
  free(p);
}

static perilune_loop *new_block(lua_State *L, const perilune_config *c) {
  perilune_loop *p = calloc(1, sizeof *p);
  if (!p) return NULL;
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  p->L = lua_tothread(L, -1);
  lua_pop(L, 1);
  p->thread = peri_embed_thread();
  p->last_failure = &p->failures;
  p->shown = peri_embed_new_shown(p);
  if (!p->shown) {
    free(p);
    return NULL;
  }
  peri_link_init(&p->watched);
  peri_link_init(&p->doomed);
  atomic_init(&p->refs, 1);
  if (c) {
    p->ud = c->ud;
    p->max_posts = c->max_posts;
    p->on_error = c->on_error;
    p->on_wakeup = c->on_wakeup;
    p->slice = c->slice < INT_MAX ? (int)c->slice : INT_MAX;
    p->on_overrun = c->on_overrun;
    p->on_resume = c->on_resume;
  }
  return p;
}

static int open_in(lua_State *L, perilune_loop *p, const perilune_config *c) {
  opening o = {p, NULL, 0, PERILUNE_OK};
  if (c) o.uv_loop = c->uv_loop;
  if (c) o.sigpipe = c->sigpipe;
  lua_pushcfunction(L, open_loop);
  lua_pushlightuserdata(L, &o);
  int status = lua_pcall(L, 1, 0, 0);
  if (status) lua_pop(L, 1);
  return status ? status_of(status) : o.rc;
}

int perilune_open(lua_State *L, const perilune_config *c,
                  perilune_loop **out) {
  *out = NULL;
  if (c && c->size != sizeof *c) return PERILUNE_EARG;
#ifdef PERILUNE_NO_UV
  if (c && c->uv_loop) return PERILUNE_EARG;
#endif
  if (lua_version(L) != LUA_VERSION_NUM) return PERILUNE_EVERSION;
  if (!lua_checkstack(L, LUA_MINSTACK)) return PERILUNE_ENOMEM;
  perilune_loop *p = new_block(L, c);
  if (!p) return PERILUNE_ENOMEM;
  int rc = open_in(L, p, c);
  if (rc)
    free_block(p);
  else
    *out = p;
  return rc;
}

static_assert((unsigned)PERILUNE_LIB_ALL == PERI_CORE_ALL,
              "all is the same everywhere");

static void libs_body(lua_State *L, perilune_loop *p, void *arg) {
  peri_core_libs(L, p->loop, *(unsigned *)arg);
}

int perilune_openlibs(perilune_loop *p, unsigned libs) {
  int rc = peri_embed_check(p);
  if (rc) return rc;
  if (libs & ~(unsigned)PERILUNE_LIB_ALL) return PERILUNE_EARG;
  return peri_embed_call(p, p->L, libs_body, &libs, 0);
}

/* }===================================================================== */

/* {== Close ============================================================ */

void peri_embed_release(perilune_loop *p) {
  if (atomic_fetch_sub(&p->refs, 1) == 1) free_block(p);
}

/* From here on nobody else touches the loop. */
static void shut_out(perilune_loop *p) {
  atomic_store(&p->closed, 1);
  while (atomic_load(&p->users)) continue;
  peri_embed_drop(p);
}

void peri_embed_end(peri_loop *l) {
  perilune_loop *p = l->host;
  if (!p) return;
  shut_out(p);
  peri_embed_forget(p);
  peri_unanchor(l, p);
  lua_pushnil(l->stash); /* the key exists: allocates nothing */
  lua_rawsetp(l->stash, LUA_REGISTRYINDEX, &key);
  l->host = NULL;
  l->driver = NULL;
  l->before = NULL;
  l->after = NULL;
  l->lost = NULL;
  p->loop = NULL;
}

static void on_gone(peri_loop *rest) {
  ((perilune_loop *)rest->host)->rest = NULL;
}

void peri_embed_leave(perilune_loop *p, peri_loop *rest) {
  p->rest = rest;
  rest->host = p;
  rest->gone = on_gone;
}

/* Ends tasks until the time is over: 1 if some are left. */
static int kill_all(perilune_loop *p, uint64_t stop_at) {
  peri_loop *l = p->loop;
  for (uint32_t slot = 1; slot <= l->slots; slot++) {
    lua_rawgeti(l->stash, PERI_STASH_TASKS, slot);
    peri_task *t = lua_touserdata(l->stash, -1);
    lua_pop(l->stash, 1);
    if (!t || !t->co) continue;
    while (peri_embed_kill_one(p, &t->scope, 1)) {
      if (l->poller->now() >= stop_at) return 1;
      if (!t->co) break;
    }
  }
  return 0;
}

static void call_exit(perilune_loop *p) {
  if (p->exited) return;
  p->exited = 1;
  peri_loop_exit(p->L, p->loop);
#ifndef PERILUNE_NO_UV
  peri_io_shut(p->loop);
#endif
}

/* As far as the time goes: PERILUNE_OK or _BUSY. */
static int close_some(perilune_loop *p, uint64_t stop_at, int orphan) {
  peri_loop *l = p->loop;
  if (!peri_loop_forked(l)) { /* in a child, tasks are the parent's */
    if (kill_all(p, stop_at)) return PERILUNE_BUSY;
    call_exit(p);
    if (kill_all(p, stop_at)) return PERILUNE_BUSY; /* made meanwhile */
    shut_out(p); /* before the bell is closed, which threads ring */
    l->dead = 1; /* nothing more is made */
    if (l->poller->closing(l) && !orphan) return PERILUNE_BUSY;
  }
  peri_loop_end(l, orphan);
  return PERILUNE_OK;
}

/* What the end of the loop has left. */
static int close_rest(perilune_loop *p, int orphan) {
  peri_loop *rest = p->rest;
  if (rest->poller->closing(rest) && !orphan) return PERILUNE_BUSY;
  p->rest = NULL;
  rest->poller->close(rest, orphan);
  return PERILUNE_OK;
}

static uint64_t end_of(const perilune_loop *p, uint64_t budget) {
  uint64_t now = p->loop->poller->now();
  return budget && budget < UINT64_MAX - now ? now + budget : UINT64_MAX;
}

/* Hooks, handlers and jobs that are dropped may call it, also in lua_close. */
static int may_close(const perilune_loop *p) {
  const peri_loop *l = p->loop;
  if (p->thread != peri_embed_thread()) return PERILUNE_ETHREAD;
  if (p->ending) return PERILUNE_EREENTER;
  if (!l) return PERILUNE_OK;
  if (p->stepping || l->running || l->callback || l->current != l->root ||
      (l->closing && !p->closing))
    return PERILUNE_EREENTER;
  return lua_checkstack(p->L, LUA_MINSTACK) ? PERILUNE_OK : PERILUNE_ENOMEM;
}

int perilune_close(perilune_loop *p, uint64_t budget_ns, int orphan) {
  int rc = may_close(p);
  if (rc) return rc;
  if (p->loop) {
    p->ending = p->closing = p->loop->closing = 1;
    rc = close_some(p, end_of(p, budget_ns), orphan);
    p->ending = 0;
  }
  if (!rc && p->rest) rc = close_rest(p, orphan);
  if (!rc) peri_embed_release(p);
  return rc;
}

/* }===================================================================== */

perilune_loop *peri_embed_of(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key);
  perilune_loop *p = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return p;
}

perilune_loop *perilune_get(lua_State *L) {
  if (!lua_checkstack(L, 1)) return NULL;
  perilune_loop *p = peri_embed_of(L);
  return p && !peri_embed_check(p) ? p : NULL;
}

void *perilune_ud(perilune_loop *p) {
  return p->ud;
}

int perilune_version(void) {
  return PERILUNE_VERSION;
}

const char *perilune_strerror(int rc) {
  static const char *const good[] = {
    "all is well", "something is ready", "waiting for time or events",
    "nothing to do", "not closed yet"};
  static const char *const bad[] = {
    "all is well", "not enough memory", "called inside a step or a task",
    "called on another thread than that of the loop", "closed",
    "settled already", "an argument makes no sense",
    "no room in what was reserved", "another version of Lua",
    "an error was raised in Lua", "timed out"};
  if (rc >= 0 && rc <= PERILUNE_BUSY) return good[rc];
  if (rc < 0 && rc >= PERILUNE_ETIMEDOUT) return bad[-rc];
  return "unknown";
}
