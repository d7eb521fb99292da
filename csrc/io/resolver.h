/*
** resolver.h - threads of our own for what may hang: look-ups of names.
**
** They are not those of uv's pool: a name server that does not answer would
** keep these from file work, and the process from ending, as uv waits for
** its threads there.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_RESOLVER_H
#define PERI_RESOLVER_H

#include <uv.h>

#include "sched/loop.h"

#define PERI_RESOLVER_THREADS 16 /* of a loop, at once */

typedef struct peri_resolver peri_resolver;

/*
** Something to be done in a thread. It comes from malloc, for it may outlive
** the Lua state, and lives in a struct of its owner's, who fills in the three
** functions and hands it in by peri_resolver_submit.
*/
typedef struct peri_job {
  peri_link link;     /* under the lock: in the queue, or among the done */
  peri_resolver *of;
  int state;          /* under the lock */
  /* In a thread, which has a uv loop of its own for what can be done at
  ** once with that; or with `bad`, a uv status that says why not. */
  void (*work)(struct peri_job *j, uv_loop_t *uv, int bad);
  /* In the loop's thread, once it is done, unless it was dropped. From then
  ** on it is its owner's, who frees it. */
  void (*done)(struct peri_job *j);
  /* It was dropped: frees it, in any thread. */
  void (*discard)(struct peri_job *j);
} peri_job;

/* The resolver of this loop, made when first asked for. Raises out of
** memory. */
peri_resolver *peri_resolver_of(lua_State *L, peri_loop *l);

/* Puts the job in line: 0, or a uv status if no thread can be had. */
int peri_resolver_submit(peri_resolver *r, peri_job *j);

/* Nobody wants the result of a job that is not done yet. */
void peri_resolver_drop(peri_job *j);

/* Lets go of it, for a loop that ends while its Lua state lives on. */
void peri_resolver_close(peri_loop *l);

/* Makes what closes it at the end of the Lua state. Called once. */
void peri_resolver_open(lua_State *L);

#endif
