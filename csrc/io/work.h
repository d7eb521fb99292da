/*
** work.h - jobs in libuv's thread pool, with one waiter.
**
** A job may block: it calls the uv_fs functions without a callback. It comes
** from malloc, as it may outlive the Lua state. A box, a userdata, owns it:
** on the stack of the task for a job that is done once, or as an object of
** Lua's whose operations are the job, done again and again.
**
** A task that is cancelled waits until the job has ended, and raises then:
** what the job has done is known, and can be disposed of. Where nobody can
** wait, as at the end of a Lua state, the job is left to itself, and frees
** what it holds when it has ended.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_WORK_H
#define PERI_WORK_H

#include <stdatomic.h>

#include "request.h"

typedef struct peri_work peri_work;
struct peri_work {
  uv_work_t uv;
  /* In a thread, where nobody else touches the job: does it, and leaves 0
  ** or more, or a uv error, in `status`. May look at `stop` meanwhile. */
  void (*run)(peri_work *w);
  /* Frees the job with all that it holds. Touches no Lua. */
  void (*discard)(peri_work *w);
  struct peri_working *of; /* NULL: it does not run, or nobody waits */
  int status;
  atomic_int stop; /* it had better end soon */
};

/* The userdata. `w` is NULL once it is closed. */
typedef struct peri_work_box {
  peri_work *w;
  struct peri_working *r; /* while it runs, until its result is taken */
  int once;        /* the job is not to be done again */
  int interrupted; /* who waits was cancelled meanwhile */
} peri_work_box;

/* Makes the metatable of boxes of a type and pushes it. */
void peri_work_type(lua_State *L, const char *type);

/* Pushes a box with a zeroed job of `size` bytes, which begins with a
** peri_work. Raises out of memory. */
void *peri_work_new(lua_State *L, const char *type, size_t size,
                    void (*run)(peri_work *),
                    void (*discard)(peri_work *));

/* Begins the job of the box, which does not run: `return peri_work_wait(...)`
** after peri_wait_enter. Raises out of memory before anything was begun. */
int peri_work_wait(lua_State *L, peri_loop *l, peri_work_box *b,
                   const peri_wait *wait, lua_KContext ctx);

/* What a peri_wait for a job has in common. */
int peri_work_abort(peri_loop *l, peri_task *t, int why);
void peri_work_drop(peri_loop *l, peri_task *t);

/* In its continuation: the job, which has ended, or NULL if it was closed.
** Raises if the task was cancelled meanwhile. */
peri_work *peri_work_done(lua_State *L, peri_loop *l, peri_work_box *b);

/* Discards the job, or leaves it to itself if it runs; who waits is told. */
void peri_work_close(peri_loop *l, peri_work_box *b);

/* Closes a descriptor, in whichever thread: 0, or a uv error. */
int peri_work_close_fd(uv_file fd);

#endif
