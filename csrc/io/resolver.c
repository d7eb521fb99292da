/*
** resolver.c - threads of our own for what may hang.
**
** uv side: threads, a mutex; the poller's bell tells the loop of what is
** done.
** Lua side: none.
**
** A thread lives as long as there are jobs in line, and belongs to nobody: it
** is not waited for. So the resolver comes from malloc, and is freed by the
** last one who knows it: the loop, a job, or a thread.
**
** SPDX-License-Identifier: MIT
*/
#include "resolver.h"

#include <assert.h>
#include <lauxlib.h>
#include <stdlib.h>

#include "handle.h"
#include "poller.h"

#define BOX "perilune.resolver"

enum { QUEUED, RUNNING, DROPPED, DONE }; /* states of a job */

struct peri_resolver {
  uv_mutex_t lock;
  peri_link queue, done; /* jobs */
  unsigned threads;
  unsigned refs;  /* the loop's, jobs', threads' */
  int closed;     /* the loop is gone, and not to be told */
  /* Of the loop's thread only: */
  peri_loop *loop;
  peri_attention attention;
  unsigned wanted; /* jobs that are not done yet */
};

static peri_job *first_of(peri_link *list) {
  return peri_link_alone(list) ? NULL : PERI_OF(list->next, peri_job, link);
}

/* To be called with the lock held, which is given up. */
static void release(peri_resolver *r) {
  int last = !--r->refs;
  uv_mutex_unlock(&r->lock);
  if (!last) return;
  uv_mutex_destroy(&r->lock);
  free(r);
}

/* {== In a thread ====================================================== */

/* The lock is held before and after. */
static void run(peri_resolver *r, peri_job *j, uv_loop_t *uv, int bad) {
  peri_link_out(&j->link);
  j->state = RUNNING;
  uv_mutex_unlock(&r->lock);
  j->work(j, uv, bad);
  uv_mutex_lock(&r->lock);
  if (j->state == DROPPED) {
    r->refs--; /* not the last: this thread has one */
    j->discard(j);
    return;
  }
  j->state = DONE;
  peri_list_append(&r->done, &j->link);
  if (!r->closed) peri_poller_ring(r->loop);
}

static void thread_main(void *arg) {
  peri_resolver *r = arg;
  peri_job *j;
  uv_loop_t uv;
  int bad = uv_loop_init(&uv);
  uv_mutex_lock(&r->lock);
  while (!r->closed && (j = first_of(&r->queue)) != NULL) run(r, j, &uv, bad);
  r->threads--;
  release(r);
  if (!bad) uv_loop_close(&uv);
}

/* }===================================================================== */

/* {== In the loop's thread ============================================= */

static void unwanted(peri_resolver *r) {
  r->wanted--;
  r->loop->holds--;
}

/* Takes the first one that is done. */
static peri_job *take_done(peri_resolver *r) {
  uv_mutex_lock(&r->lock);
  peri_job *j = first_of(&r->done);
  if (j) {
    peri_link_out(&j->link);
    r->refs--; /* not the last: the loop has one */
  }
  uv_mutex_unlock(&r->lock);
  return j;
}

static void look(peri_loop *l, peri_attention *a) {
  peri_resolver *r = PERI_OF(a, peri_resolver, attention);
  peri_job *j;
  (void)l;
  while (r->wanted && (j = take_done(r)) != NULL) {
    unwanted(r);
    j->done(j);
  }
}

static void detach(uv_thread_t thread) {
#ifdef _WIN32
  CloseHandle(thread);
#else
  pthread_detach(thread);
#endif
}

/* One more thread, which was counted already. */
static int start_thread(peri_resolver *r) {
  uv_thread_t thread;
  int status = uv_thread_create(&thread, thread_main, r);
  if (!status) {
    detach(thread);
    return 0;
  }
  uv_mutex_lock(&r->lock);
  r->threads--;
  if (r->threads) status = 0; /* those that there are will do it */
  release(r);
  return status;
}

int peri_resolver_submit(peri_resolver *r, peri_job *j) {
  uv_mutex_lock(&r->lock);
  j->of = r;
  j->state = QUEUED;
  peri_list_append(&r->queue, &j->link);
  int more = r->threads < PERI_RESOLVER_THREADS;
  r->threads += (unsigned)more;
  r->refs += 1 + (unsigned)more;
  uv_mutex_unlock(&r->lock);
  r->wanted++;
  r->loop->holds++;
  int status = more ? start_thread(r) : 0;
  if (!status) return 0;
  unwanted(r);
  uv_mutex_lock(&r->lock);
  peri_link_out(&j->link);
  release(r);
  return status;
}

/* In a forked child the lock may be held, for good, by a thread that is not
** there: what the parent has begun is left alone. */
static int forked(const peri_resolver *r) {
  return r->loop->poller->forked(r->loop);
}

void peri_resolver_drop(peri_job *j) {
  peri_resolver *r = j->of;
  unwanted(r);
  if (forked(r)) return;
  uv_mutex_lock(&r->lock);
  if (j->state == RUNNING) {
    j->state = DROPPED; /* and the thread's to discard */
    uv_mutex_unlock(&r->lock);
    return;
  }
  peri_link_out(&j->link);
  release(r);
  j->discard(j);
}

/* }===================================================================== */

/* {== Life ============================================================= */

/* At the end of the Lua state, before the loop is closed. Jobs that are not
** done are dropped by their owners, then or later. */
static void close_resolver(peri_io *io) {
  peri_resolver *r = io->resolver;
  io->resolver = NULL;
  peri_link_out(&r->attention.link);
  if (forked(r)) return;
  uv_mutex_lock(&r->lock);
  r->closed = 1;
  release(r);
}

/* The box holds the peri_io of the loop, or NULL. */
static int box_gc(lua_State *L) {
  peri_io **box = lua_touserdata(L, 1);
  if (*box) close_resolver(*box);
  *box = NULL;
  return 0;
}

void peri_resolver_close(peri_loop *l) {
  peri_io *io = peri_io_of(l);
  if (!io->resolver) return;
  peri_push_anchored(l, l->stash, &io->resolver);
  peri_io **box = lua_touserdata(l->stash, -1);
  lua_pop(l->stash, 1);
  close_resolver(io);
  *box = NULL;
}

static peri_resolver *new_resolver(peri_loop *l) {
  peri_resolver *r = calloc(1, sizeof *r);
  if (!r) return NULL;
  if (uv_mutex_init(&r->lock)) {
    free(r);
    return NULL;
  }
  peri_link_init(&r->queue);
  peri_link_init(&r->done);
  r->refs = 1;
  r->loop = l;
  r->attention.look = look;
  peri_poller_attend(l, &r->attention);
  return r;
}

peri_resolver *peri_resolver_of(lua_State *L, peri_loop *l) {
  peri_io *io = peri_io_of(l);
  if (io->resolver) return io->resolver;
  peri_io **box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = NULL;
  luaL_setmetatable(L, BOX);
  peri_anchor(L, l, -1, &io->resolver);
  lua_pop(L, 1);
  io->resolver = new_resolver(l);
  if (!io->resolver) luaL_error(L, "not enough memory");
  *box = io;
  return io->resolver;
}

void peri_resolver_open(lua_State *L) {
  luaL_newmetatable(L, BOX);
  lua_pushcfunction(L, box_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
}

/* }===================================================================== */
