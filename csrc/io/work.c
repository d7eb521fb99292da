/*
** work.c - jobs in libuv's thread pool, with one waiter.
**
** uv side: on_work, in a thread; on_done.
**
** A box owns its job; while that runs, a request stands for who waits. The
** request is freed when the result is taken, the job with its box, or, if it
** was left to itself, in on_done. That may be called by another thread, when
** the Lua state is gone.
**
** SPDX-License-Identifier: MIT
*/
#include "work.h"

#include <assert.h>
#include <stdlib.h>

#include "poller.h"

typedef struct peri_working {
  peri_request base; /* to request.c it can be freed at any time */
  peri_work_box *box;
} peri_working;

/* {== uv side ========================================================== */

static void on_work(uv_work_t *uv) {
  peri_work *w = PERI_OF(uv, peri_work, uv);
  w->run(w);
}

static void on_done(uv_work_t *uv, int status) {
  peri_work *w = PERI_OF(uv, peri_work, uv);
  peri_working *r = w->of;
  if (status) w->status = status; /* it was cancelled before it began */
  w->of = NULL;
  if (r)
    peri_request_done(&r->base, w->status);
  else
    w->discard(w);
}

static void halt(peri_work *w) {
  atomic_store(&w->stop, 1);
  uv_cancel((uv_req_t *)&w->uv); /* refused if it has begun */
}

/* A job that runs still is nobody's from now on. */
static void dispose(peri_loop *l, peri_request *base) {
  peri_work_box *b = PERI_OF(base, peri_working, base)->box;
  (void)l;
  b->r = NULL;
  if (!b->w->of) return;
  b->w->of = NULL;
  halt(b->w);
  b->w = NULL;
}

/* }===================================================================== */

/* {== The box ========================================================== */

static peri_task *empty(peri_work_box *b) {
  peri_task *t = b->r ? b->r->base.task : NULL;
  if (b->r) peri_request_drop(&b->r->base);
  if (b->w) b->w->discard(b->w);
  b->w = NULL;
  return t;
}

void peri_work_close(peri_loop *l, peri_work_box *b) {
  peri_task *t = empty(b);
  if (t) peri_task_wake(l, t);
}

/* Nobody waits for what is collected, but when the Lua state is closed: then
** all finalizers are called, and those who wait leave after this. */
static int box_gc(lua_State *L) {
  if (lua_gc(L, LUA_GCISRUNNING) >= 0) return 0; /* a script has called it */
  empty(lua_touserdata(L, 1));
  return 0;
}

void peri_work_type(lua_State *L, const char *type) {
  luaL_newmetatable(L, type);
  lua_pushcfunction(L, box_gc);
  lua_setfield(L, -2, "__gc");
}

void *peri_work_new(lua_State *L, const char *type, size_t size,
                    void (*run)(peri_work *),
                    void (*discard)(peri_work *)) {
  peri_work_box *b = lua_newuserdatauv(L, sizeof *b, 0);
  *b = (peri_work_box){0};
  luaL_setmetatable(L, type);
  peri_work *w = calloc(1, size);
  if (!w) {
    luaL_error(L, "not enough memory");
    return NULL;
  }
  atomic_init(&w->stop, 0);
  w->run = run;
  w->discard = discard;
  b->w = w;
  return w;
}

/* }===================================================================== */

/* {== The wait ========================================================= */

int peri_work_wait(lua_State *L, peri_loop *l, peri_work_box *b,
                   const peri_wait *wait, lua_KContext ctx) {
  peri_working *r = peri_request_new(l, sizeof *r, dispose);
  if (!r) return luaL_error(L, "not enough memory");
  r->box = b;
  r->base.task = l->current;
  b->r = r;
  b->interrupted = 0;
  b->w->of = r;
  b->w->status = 0;
  atomic_store(&b->w->stop, 0);
  int status = uv_queue_work(peri_poller_uv(l), &b->w->uv, on_work, on_done);
  assert(!status); /* which is for callers that have nothing to do */
  (void)status;
  return peri_task_park(L, l, wait, b, ctx);
}

void peri_work_drop(peri_loop *l, peri_task *t) {
  peri_work_box *b = t->on;
  (void)l;
  if (b->r) peri_request_drop(&b->r->base);
}

int peri_work_abort(peri_loop *l, peri_task *t, int why) {
  peri_work_box *b = t->on;
  if (why != PERI_ABORTED || l->closing || !b->r) {
    peri_work_drop(l, t);
    return 1;
  }
  b->interrupted = 1;
  halt(b->w);
  return 0;
}

peri_work *peri_work_done(lua_State *L, peri_loop *l, peri_work_box *b) {
  if (b->r) peri_request_drop(&b->r->base);
  if (!b->interrupted) return b->w;
  b->interrupted = 0;
  if (b->once) empty(b);
  peri_task_raise(L, l, l->current);
  return NULL;
}

/* }===================================================================== */

int peri_work_close_fd(uv_file fd) {
  uv_fs_t req;
  int status = uv_fs_close(NULL, &req, fd, NULL);
  uv_fs_req_cleanup(&req);
  return status;
}
