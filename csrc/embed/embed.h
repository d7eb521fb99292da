/*
** embed.h - the C interface for hosts, inside.
**
** A perilune_loop is a block from malloc that outlives both the Lua state and
** the loop in it, as handles in the host's hands point to it: it is freed with
** the last of them. Its `loop` is NULL once the loop has ended.
**
** What other threads may touch is atomic: the list of posts, the counts, and
** `closed`. While a thread touches the loop itself (to ring its bell) it is
** counted in `users`; the end of the loop sets `closed`, and waits until
** nobody is.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_EMBED_H
#define PERI_EMBED_H

#include <stdatomic.h>

#include "perilune.h"
#include "sched/task.h"

/* A failure on its way to the host. */
typedef struct peri_failure peri_failure;

struct perilune_loop {
  peri_loop *loop;     /* NULL once it has ended */
  lua_State *L;        /* the main thread of its state */
  lua_State *scratch;  /* for values that the host is shown */
  const void *thread;  /* see peri_embed_thread */
  void *ud;
  uint32_t max_posts;
  void (*on_error)(perilune_loop *p, const perilune_error *e);
  void (*on_wakeup)(void *ud);
  int (*on_overrun)(perilune_loop *p, perilune_task *t, uint64_t ns);
  void (*on_resume)(perilune_loop *p, perilune_task *t, int begin);
  peri_failure *failures, **last_failure;
  perilune_task *shown;  /* stands for a task in a callback of the host's */
  peri_task *resumed;    /* on_resume was told of it */
  peri_task *condemned;  /* the running task, which is to be ended */
  uint64_t begun;        /* when the activation did, with slices */
  int slice;             /* instructions; 0: none */
  peri_link watched;   /* futures whose waiters are looked after */
  peri_link doomed;    /* scopes that were killed by their own tasks */
  peri_loop *rest;     /* what the end of the loop has left, or NULL */
  perilune_clock *clocks;   /* handles, */
  perilune_signal *signals; /* ... which are freed along with this */
  uint32_t failed;     /* failures told, and ... */
  uint32_t taken;      /* posts taken, and ... */
  uint32_t preempted;  /* tasks put off, in this step */
  unsigned stepping : 1;
  unsigned closing : 1; /* perilune_close has begun */
  unsigned exited : 1;  /* ... and has called what was left to be called */
  unsigned ending : 1;  /* it is at work: what it calls may call it again */
  unsigned killing : 1; /* what runs is to end, and gets errors until it has */
  unsigned starved : 1; /* a post is back for want of memory, in this step */
  unsigned late : 1;    /* a slice has begun in this activation */
  /* Other threads' side. */
  _Atomic(perilune_job *) posts; /* the last one first */
  atomic_uint waiting; /* posted jobs that count against `max_posts` */
  atomic_uint refs;    /* handles, and the host */
  atomic_uint users;
  atomic_int closed;
  atomic_int rung;     /* somebody has woken the host since the last step */
  atomic_uint wakes;
};

/* What tells threads, and processes, apart: one comparison. */
const void *peri_embed_thread(void);

/* May a function with [T] be called now? 0, PERILUNE_ETHREAD, or
** PERILUNE_ECLOSED. */
int peri_embed_check(const perilune_loop *p);

/*
** Calls fn(L, p, arg) in protected mode with the top `nargs` values of L,
** which are popped, as its stack. PERILUNE_OK, _ENOMEM or _ELUA; the error is
** lost. fn is a C function of the library (PERI_LOOP works in it); on `L`,
** which may be any thread of the state.
*/
typedef void (*peri_embed_fn)(lua_State *L, perilune_loop *p, void *arg);
int peri_embed_call(perilune_loop *p, lua_State *L, peri_embed_fn fn,
                    void *arg, int nargs);

/* The same, leaving the error on top if there is one. */
int peri_embed_try(perilune_loop *p, lua_State *L, peri_embed_fn fn,
                   void *arg, int nargs);

/* Pops what a function that is refused was given: not from a Lua state that
** is gone. */
void peri_embed_pop(const perilune_loop *p, lua_State *L, int n);

/* The end of a loop, from either side; twice is fine. */
void peri_embed_end(peri_loop *l);

/* ... which has left something that is still to be closed. */
void peri_embed_leave(perilune_loop *p, peri_loop *rest);

/* step.c: for a loop in a host's loop. */
extern const peri_driver peri_embed_driver;

/* Gives up a reference to the block; frees it with the last one. */
void peri_embed_release(perilune_loop *p);
static inline void peri_embed_retain(perilune_loop *p) {
  atomic_fetch_add(&p->refs, 1);
}

/* post.c: puts a job into the list and wakes the host: PERILUNE_OK, or
** PERILUNE_ECLOSED, and then the job is still the caller's. Any thread. */
int peri_embed_post(perilune_loop *p, perilune_job *j);

/* Runs what was posted; returns how many. Drops it, for a loop that ends. */
uint32_t peri_embed_take(perilune_loop *p);
void peri_embed_drop(perilune_loop *p);

/* open.c: the open loop of this state, on whatever thread; or NULL. */
perilune_loop *peri_embed_of(lua_State *L);

/* slice.c: begins to look at each activation, if the config says so; the count
** hook; what is called after each activation. */
void peri_embed_slice(perilune_loop *p);
void peri_embed_hooked(lua_State *L, lua_Debug *ar);
void peri_embed_after(peri_loop *l);

/* task.c: makes `shown`, NULL without memory; has it stand for a task. */
perilune_task *peri_embed_new_shown(perilune_loop *p);
perilune_task *peri_embed_show(perilune_loop *p, peri_task *t);

/* future.c */
int peri_embed_is_settled(const perilune_future *f);

/* Tells of futures that nobody waits for any more. */
void peri_embed_look(perilune_loop *p);

/* fail.c: the error hook of a hosted loop, a C function with the loop as
** upvalue; telling the host of what it noted; forgetting that. */
int peri_embed_hook(lua_State *L);
void peri_embed_lost(peri_loop *l, const char *why);
void peri_embed_tell(perilune_loop *p);
void peri_embed_forget(perilune_loop *p);

/* scope.c: the owner of tasks for perilune_spawn (`s` may be NULL), or NULL
** if it takes none. */
peri_owner *peri_embed_owner(perilune_loop *p, perilune_scope *s);

/* clock.c: the number of a clock; -1 if it is of another loop. */
int peri_embed_clock(const perilune_loop *p, const perilune_clock *c);
void peri_embed_free_clocks(perilune_loop *p);

/* Gives a task that was just made what is bound in the scope. */
void peri_embed_inherit(const perilune_scope *s, peri_task *t);

/* `ud` of the nearest scope of the host's around this one, or NULL. */
void *peri_embed_ud(const peri_scope *s);

/* Kills what is left in scopes that were killed by their own tasks. */
void peri_embed_bury(peri_loop *l);

/* Kills one more task of the loop; 0 if none is left that can be. */
int peri_embed_kill_one(perilune_loop *p, peri_scope *top, int close);

/* chunks.c: the Lua modules of the library, as far as they are compiled in;
** the last one has no name. */
typedef struct peri_chunk {
  const char *name;
  const char *file; /* as Lua names chunks */
  const char *text;
  size_t size;
} peri_chunk;
extern const peri_chunk peri_chunks[];

/* require.c: loads the module `perilune`, and has `require` find it. The core is
** on top of L. May raise. */
void peri_embed_require(lua_State *L);

#endif
