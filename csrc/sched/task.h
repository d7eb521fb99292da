/*
** task.h - tasks: new, step, park, wake, cancel, finish.
**
** A task is a coroutine with an owner. It waits in one way only: an
** operation enters (peri_wait_enter), tries at once, and else parks
** (peri_task_park) with a table of static functions that says how to leave
** the wait and how to go on. A parked task is woken once: completed by
** what it waits for, or aborted by a cancellation, whichever is first.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_TASK_H
#define PERI_TASK_H

#include <lauxlib.h>
#include <lua.h>

#include "context.h"
#include "loop.h"
#include "outcome.h"
#include "scope.h"

/* A kind of wait: one static table for each. */
typedef struct peri_wait {
  const char *name; /* what the task does, for reports: "read", "sleep" */
  /*
  ** Leaves the wait: undoes in C what parking started, without raising.
  ** `why` is PERI_ABORTED or one of those after it, or PERI_COMPLETED if the
  ** timer of the task has fired. Returns 1 if the task is to run (and raise,
  ** but for its timer), 0 if this wait cannot be left and goes on. NULL is a
  ** wait that cannot be left.
  */
  int (*abort)(peri_loop *l, peri_task *t, int why);
  /* The rest of the operation, called in the task once it has been woken,
  ** with the stack as it was and the context given to peri_task_park. */
  lua_KFunction k;
  /*
  ** The wait was completed, but the task is ended by force before it could
  ** go on: gives back, in C and without raising, what it was granted. What
  ** the operation works on is on the stack it waits in, peri_task_waits_in,
  ** and may be closed by now. NULL: there is nothing to give back.
  */
  void (*drop)(peri_loop *l, peri_task *t);
} peri_wait;

enum { /* how a task comes to its end */
  PERI_DIED,     /* its coroutine died; the error is on top of that */
  PERI_RETURNED,
  PERI_DROPPED   /* ended by force: to others it was cancelled */
};

enum { /* phase of a task's wait */
  PERI_RUNNING,   /* it runs, or has ended */
  PERI_NEW,       /* it has not started */
  PERI_ARMED,     /* parked; or ready as it is, see emit.c */
  PERI_COMPLETED, /* woken by what it waited for */
  PERI_ABORTED,   /* woken by a cancellation */
  PERI_STARVED,   /* woken because nothing can come any more */
  PERI_KNOTTED    /* woken because it waits for what waits for it */
};

struct peri_task {
  peri_outcome out;
  union {
    peri_runnable run; /* its link is in a waitlist, or in the ready list; */
    peri_timer timer;  /* or it is in no list, and this is in the heap, from
                          peri_task_arm to peri_task_disarm */
  };
  const peri_wait *wait;
  void *on;          /* what it waits on, for `abort` and for reports; while
                        it runs, see peri_debug_swallowed */
  peri_scope scope;  /* outermost of this task; its parent is the owner's */
  lua_State *co;     /* NULL once it has ended; anchored by the userdata */
  peri_scope *inner; /* innermost open scope */
  peri_context *context; /* of its frame, while that does not run; the rest
                            is in its slot */
  uint32_t id;
  uint32_t since;    /* when it parked: milliseconds of the loop's clock. Once
                        it has ended: when it has last won a select, or 0 */
};

/* Who answers for tasks: a group, a run, the Lua state. */
struct peri_owner {
  peri_scope scope; /* the tasks' outermost scopes are its children */
  uint32_t live;    /* tasks that have not ended */
  uint8_t closed;   /* takes no more tasks */
  uint8_t keeps;    /* background tasks that its tasks spawn are its own */
  /* A task has ended: called in the turn, after its waiters were woken.
  ** Returns 1 if it keeps the task, to let it go with peri_task_release. */
  int (*ended)(peri_loop *l, peri_owner *o, peri_task *t);
};

void peri_owner_init(peri_owner *o, peri_scope *parent,
                     int (*ended)(peri_loop *, peri_owner *, peri_task *));

/*
** Makes a task of the function and `nargs` arguments on top of L, and
** replaces them by the task, which starts in the next turn, with the current
** values of the context; in the current logical context, or if it `begins`
** one in its own. May raise (out of memory); nothing is started then.
*/
peri_task *peri_task_new(lua_State *L, peri_loop *l, peri_owner *owner,
                         int nargs, int begins);

/* The frame of a task that does not run. */
static inline peri_frame peri_task_frame(const peri_loop *l,
                                         const peri_task *t) {
  uint32_t slot = t->out.slot;
  return (peri_frame){t->context,
                      slot ? l->logicals[l->slot[slot].logical] : NULL};
}

/* Has it keep its frame, as it ceases to run. */
static inline void peri_task_rest(peri_loop *l, peri_task *t, peri_frame f) {
  t->context = f.context;
  l->slot[t->out.slot].logical = peri_logical_index(f.logical);
}

/* The logical context that lives while the task does, or NULL. */
static inline peri_logical *peri_task_own(const peri_loop *l,
                                          const peri_task *t) {
  return l->logicals[l->slot[t->out.slot].own];
}

/* The logical context of what runs, which is made if nobody has asked for it
** so far. May raise out of memory: to be called by whatever will capture the
** current frame, before anything has changed. */
peri_logical *peri_task_logical(lua_State *L, peri_loop *l);

/* Who owns the run that the running task, or the main chunk, is part of. */
const peri_owner *peri_task_run(const peri_loop *l);

/* Ends a parked or ready task by force, from outside of any turn: closes its
** coroutine, whose handlers cannot wait. Returns 0 if it waits for others
** that must end first. May raise out of memory. */
int peri_task_kill(lua_State *L, peri_loop *l, peri_task *t);

/* Gives up what a task that has ended holds of its context. */
void peri_task_forget(peri_loop *l, peri_task *t);

/* Ends a task for good, from anywhere, unless it runs: with `close` its
** handlers are called, and cannot wait; else no Lua is run. Returns 0 if it
** runs, or waits for others that must end first. Never raises; L needs room
** for a few values. */
int peri_task_end(lua_State *L, peri_loop *l, peri_task *t, int close);

/* Lets go of a task that has ended and that its owner kept. */
void peri_task_release(peri_loop *l, peri_task *t);

/* The owner of what the running task spawns in the background. */
peri_owner *peri_task_background(const peri_loop *l);

/* The owner of a task that has not ended. */
static inline peri_owner *peri_task_owner(const peri_task *t) {
  return PERI_OF(t->scope.parent, peri_owner, scope);
}

/* True if `t` is a task of `o`, or of a group inside such a task. */
static inline int peri_task_is_of(const peri_task *t, const peri_owner *o) {
  const peri_scope *s = &t->scope;
  while (s && s != &o->scope) s = s->parent;
  return s != NULL;
}

/* The waiter of a waitlist as a task, or NULL if it is none. */
peri_task *peri_task_of(peri_runnable *r);

/* Pushes the userdata of a task that has not been let go. */
void peri_task_push(lua_State *L, peri_loop *l, const peri_task *t);

/* The task whose userdata is at `idx`; raises "bad argument" else. */
peri_task *peri_task_check(lua_State *L, peri_loop *l, int idx);

/*
** The first call of every operation that may wait: refuses where waiting is
** impossible (a callback, a sort comparator, a stock coroutine), raises if
** the task is cancelled, and returns who waits: the running task, or the
** main chunk's. May not return.
*/
peri_task *peri_wait_enter(lua_State *L, peri_loop *l);

/* True if the running task can be suspended in L. */
static inline int peri_task_can_yield(lua_State *L, const peri_loop *l) {
  return l->top == L && !l->pinned && lua_isyieldable(L);
}

/* In the ordinary case a wait may begin as it is; else peri_wait_look has to
** be called: it refuses where waiting is impossible, by not returning, and
** tells a probe. Both are part of peri_wait_enter. */
static inline int peri_wait_plain(lua_State *L, const peri_loop *l) {
  return l->top == L && !(l->callback | l->probed | l->pinned) &&
         lua_isyieldable(L) && !peri_loop_forked(l);
}
void peri_wait_look(lua_State *L, peri_loop *l);

/*
** Parks the running task, which peri_wait_enter returned, and which the
** caller has just put where it will be woken from. To be used as
** `return peri_task_park(...)`. Outside of tasks it drives the loop and
** returns what the continuation returns.
*/
int peri_task_park(lua_State *L, peri_loop *l, const peri_wait *wait,
                   void *on, lua_KContext ctx);

/*
** The most common way to wait, at the end of a waitlist: parks there, with
** that list as what it waits on; `peri_task_unlist` is the abort of such a
** wait, and `peri_task_true_k` goes on by returning true.
*/
int peri_task_park_in(lua_State *L, peri_loop *l, const peri_wait *wait,
                      peri_waitlist *list);
int peri_task_unlist(peri_loop *l, peri_task *t, int why);
int peri_task_true_k(lua_State *L, int status, lua_KContext ctx);

/* Goes to the tail of the ready list; no cancellation comes in between.
** `return peri_task_requeue(...)`, as with peri_task_park. */
int peri_task_requeue(lua_State *L, peri_loop *l, const peri_wait *wait,
                      lua_KContext ctx);

/*
** For a hook that was called in L: whether the running task can be suspended
** there, in the middle of Lua code; and that, to the tail of the ready list.
** It is no wait: no cancellation comes there. The hook must return at once
** after it.
*/
int peri_task_can_preempt(lua_State *L, const peri_loop *l);
void peri_task_preempt(lua_State *L, peri_loop *l);

/* True if that is how it was suspended. */
int peri_task_is_preempted(const peri_task *t);

/* The task that a runnable on the ready list resumes, or NULL. */
peri_task *peri_task_resumed_by(peri_runnable *r);

/* Raises the Cancelled object of the scope that `t`, the running task, is in;
** in debug.c, which notes where. */
int peri_task_raise(lua_State *L, peri_loop *l, peri_task *t);

/* Has a parked task leave its wait; `why` as for the abort of a peri_wait.
** Returns 0 if it was not parked, or goes on to wait. */
int peri_task_leave(peri_loop *l, peri_task *t, int why);

/* Ends a task: PERI_DIED, PERI_RETURNED or PERI_DROPPED. */
void peri_task_finish(peri_loop *l, peri_task *t, int how);

/* Ends an operation that completed at once with the `n` values on top:
** `return peri_task_done(...)`. Goes to the tail of the ready list when too
** many waits in a row did not switch. */
int peri_task_done(lua_State *L, peri_loop *l, int n);

/*
** The running task, which is about to park and will be in no list, is woken
** at `when` by this clock, unless it was disarmed before. The abort of its wait
** disarms, also when the time has come; so does who completes it.
*/
void peri_task_arm(peri_loop *l, peri_task *t, unsigned clock,
                   uint64_t when);
void peri_task_disarm(peri_loop *l, peri_task *t, unsigned clock);

/* Completes the wait of a parked task, which is in no waitlist any more. */
void peri_task_wake(peri_loop *l, peri_task *t);

/* Asks a task to end; the reason is stored before. */
static inline void peri_task_cancel(peri_loop *l, peri_task *t) {
  peri_scope_cancel(l, &t->scope, PERI_CAUSE_CANCEL);
}

/* Leaves what `t` waits for because nothing can ever come. */
int peri_task_starve(peri_loop *l, peri_task *t);

/* True if `co` is the coroutine of a task, started or not. */
int peri_task_is_coroutine(lua_State *co);

/* True if the running task itself, or a generator of it, runs in L. */
static inline int peri_task_runs_in(const peri_loop *l, const lua_State *L) {
  return l->top == L || (l->current == l->root && !l->running);
}

/* True if the open block is one of whoever runs: of the task, but not if that
** is the main chunk, and a callback runs that has not opened it. */
static inline int peri_block_is_ours(const peri_loop *l,
                                     const peri_block *b) {
  const peri_scope *s = l->current->inner;
  const peri_scope *limit = l->callback ? l->limit : NULL;
  while (s && s != limit && s != &b->scope) s = s->parent;
  return s && s != limit && b->task == l->current;
}

/* Opens and closes blocks of the running task (in block.c). A block is closed
** when all blocks inside it are. */
void peri_block_open(peri_loop *l, peri_block *b);
void peri_block_close(peri_loop *l, peri_block *b);

/* Takes the blocks inside `limit` from a task that cannot close them. */
void peri_block_disown(peri_loop *l, peri_task *t, const peri_scope *limit);

/* Leaves, for the running task, the blocks inside `limit` that are still
** open. Returns NULL, or a block that it must wait for: park, on wake call
** again. Where one cannot wait, groups among them end by themselves. */
peri_block *peri_task_unwind(lua_State *L, peri_loop *l,
                             const peri_scope *limit);

/* Raises an error at C level `level` if the value at `idx` cannot be
** called. */
void peri_check_callable(lua_State *L, int idx);

/* The state's own task: the main chunk. Called once. */
void peri_task_open(lua_State *L, peri_loop *l);

/* Cancels and runs what is alive, in one pass; waits raise. For the end of
** the Lua state. */
void peri_task_close_all(peri_loop *l, lua_State *L);

/* The functions of sleep.c for Lua: spawn, sleep, yield, check. Sets them
** in the table on top. */
void peri_task_functions(lua_State *L, peri_loop *l);

#endif
