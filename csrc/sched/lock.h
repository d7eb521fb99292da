/*
** lock.h - locks, semaphores, conditions, barriers.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_LOCK_H
#define PERI_LOCK_H

#include "task.h"

/*
** A lock is free only while nobody waits for it: who releases it makes the
** first waiter its owner, before that runs. The notice is in the waitlist of
** the owner's outcome, so that the lock hears of the owner's end.
*/
typedef struct peri_lock {
  const char *type;
  peri_waitlist waiters;
  peri_task *owner;     /* NULL: it is free */
  peri_notice ended;    /* the owner has ended */
  uint32_t last;        /* id of the last owner that ended holding it */
  uint8_t dead;         /* ... of which nobody has heard so far */
  uint8_t collected;    /* its finalizer has run: nothing points to it */
} peri_lock;

/* The lock at `idx`; raises "bad argument" else. */
peri_lock *peri_lock_check(lua_State *L, int idx);

/* Pushes a new lock. */
peri_lock *peri_lock_new(lua_State *L);

/* Raises if the lock is not held by who runs. */
void peri_lock_check_held(lua_State *L, peri_loop *l, const peri_lock *k);

/* Hands the lock to the first who waits for it, or leaves it free. */
void peri_lock_release(peri_loop *l, peri_lock *k);

/* Takes a free lock for `t`; returns 0 if it is not free, or if it has no owner
** because that has ended. */
int peri_lock_take(peri_lock *k, peri_task *t);

/* Puts a parked task, which is in no list, at the end of those who wait for
** the lock, which has an owner; `w` says how its wait goes on. */
void peri_lock_queue(peri_lock *k, peri_task *t, const peri_wait *w);

/* The owner ended while others waited: pushes nil, message, "EOWNERDEAD". */
int peri_lock_fail(lua_State *L, peri_lock *k);

/* Make the metatables, and set `lock`, `semaphore`, `condition`, `barrier`
** in the table on top. */
void peri_lock_open(lua_State *L, peri_loop *l);
void peri_semaphore_open(lua_State *L, peri_loop *l);
void peri_condition_open(lua_State *L, peri_loop *l);
void peri_barrier_open(lua_State *L, peri_loop *l);

#endif
