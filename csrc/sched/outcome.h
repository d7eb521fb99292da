/*
** outcome.h - a result that comes once, and who waits for it.
**
** Every awaitable (future, task, callback) is a userdata that begins with
** an outcome. Its values live in the userdata's first user value.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_OUTCOME_H
#define PERI_OUTCOME_H

#include <lua.h>

#include "loop.h"
#include "waitlist.h"

enum { PERI_PENDING, PERI_DONE, PERI_FAILED, PERI_ENDED }; /* _ENDED: cancelled */

enum { /* flags of an outcome */
  PERI_ONE = 1,    /* the user value is the value, or the error */
  PERI_MANY = 2,   /* it is a table of values with `n` */
  PERI_TAKEN = 4,  /* somebody has looked, or will: a failure is no news */
  PERI_OBSERVED = 8,  /* (of a future) callbacks wait for it */
  PERI_STARTING = 16, /* (of a task) not yet a full member of its group */
  PERI_NESTED = 32,   /* (of a task) parked inside a generator */
  PERI_LOST = 64,     /* (of a task) its link stays in a waitlist, see wait.c */
  PERI_KILLED = 128   /* (of a task) it is ended, however it returns */
};

typedef struct peri_outcome {
  peri_waitlist waiters; /* empty once it has come */
  uint8_t state;         /* PERI_PENDING ... */
  uint8_t kind;          /* PERI_FUTURE, PERI_TASK, PERI_CALLBACK */
  uint8_t flags;
  uint8_t phase;         /* of a task's wait, see task.h */
  uint32_t slot;         /* of a task: place in the table of tasks; of others:
                            when it has last won a select, 0: never */
} peri_outcome;

static inline void peri_outcome_init(peri_outcome *o, int kind) {
  o->waiters.first = NULL;
  o->state = PERI_PENDING;
  o->kind = (uint8_t)kind;
  o->flags = o->phase = 0;
  o->slot = 0;
}

/* The outcome at `idx`, or NULL if that is no future, task or callback. */
peri_outcome *peri_outcome_test(lua_State *L, peri_loop *l, int idx);
/* The same, raising "bad argument". */
peri_outcome *peri_outcome_check(lua_State *L, peri_loop *l, int idx);

/*
** Stores the top `n` values of L as those of the userdata at `idx`, and
** pops them. May raise (out of memory) before anything changed. Returns 0 if
** it turns out to be settled: by a finalizer, meanwhile.
*/
int peri_outcome_store(lua_State *L, peri_outcome *o, int idx, int n);

/* Says that the result has come: `state` is final, waiters become ready. */
void peri_outcome_settle(peri_loop *l, peri_outcome *o, int state);

/* Pushes the values of the outcome at `idx`; returns how many. For a
** failed or cancelled one that is the error or the reason. */
int peri_outcome_push(lua_State *L, const peri_outcome *o, int idx);

#endif
