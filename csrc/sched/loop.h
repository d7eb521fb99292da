/*
** loop.h - the loop: ready list, timers, the turn.
**
** The loop knows only runnables: a link and a function to run. Tasks, Lua
** callbacks and transports in callback style are runnables. What is outside
** (sockets, other threads) is behind a poller, so that everything in sched/
** works without libuv.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_LOOP_H
#define PERI_LOOP_H

#include <assert.h>
#include <lua.h>
#include <stdint.h>

#include "heap.h"
#include "list.h"

typedef struct peri_runnable peri_runnable;
typedef struct peri_poller peri_poller;
typedef struct peri_probe peri_probe;
typedef struct peri_task peri_task;
typedef struct peri_context peri_context;
typedef struct peri_logical peri_logical;
typedef struct peri_owner peri_owner;
struct peri_scope;
struct peri_block;

/*
** What a turn runs. `run` gets the state that drives the loop; it may call
** Lua only in protected mode and leaves that state's stack as it was.
*/
struct peri_runnable {
  peri_link link; /* in `ready` or in the batch of this turn, or alone */
  void (*run)(peri_loop *l, peri_runnable *r, lua_State *L);
};

/*
** What waits in a waitlist without being run: it is told at once, in C, when
** its turn to be woken comes. Its `run.run` is NULL.
*/
typedef struct peri_notice {
  peri_runnable run;
  void (*notice)(peri_loop *l, struct peri_notice *n);
} peri_notice;

/*
** Something to be done in C when the running task parks or ends, or the
** running callback returns: that is when small writes leave together.
*/
typedef struct peri_leaving {
  peri_link link;
  void (*leave)(peri_loop *l, struct peri_leaving *v);
} peri_leaving;

typedef void (*peri_watch_fn)(peri_loop *l, lua_State *L);
typedef void (*peri_hook_fn)(lua_State *L, peri_loop *l);

/* The debug hook, see hook.h; signal handlers look at it and change it. */
typedef struct peri_hook {
  lua_State *volatile in;   /* where ours is set, or NULL */
  volatile peri_hook_fn fn; /* what it is set for */
  lua_Hook before;          /* what the user has set there */
  int mask, count;
} peri_hook;

/* The outside, as the scheduler sees it. No function may raise. */
struct peri_poller {
  uint64_t (*now)(void); /* a clock that never goes back, nanoseconds */
  /* Waits for events for at most `timeout` nanoseconds (0: not at all,
  ** negative: without limit). Returns early once something is ready. */
  void (*poll)(peri_loop *l, int64_t timeout);
  /* True if an event can still come. */
  int (*alive)(peri_loop *l);
  /* Called while `poll` runs, when the first runnable becomes ready. */
  void (*wakeup)(peri_loop *l);
  /* True in a process that was forked off after the loop was made. */
  int (*forked)(peri_loop *l);
  /* The loop begins or ends to be driven by a wait outside of tasks. */
  void (*drive)(peri_loop *l, int begins);
  /* A descriptor that becomes readable with the next event, or -1. */
  int (*fd)(peri_loop *l);
  /* True if polling without blocking would have something to do already. */
  int (*due)(peri_loop *l);
  /* Ends a poll, or makes the descriptor readable; from any thread. */
  void (*ring)(peri_loop *l);
  /* Closes what is left without waiting: true if something is not closed yet,
  ** as a job runs in another thread. */
  int (*closing)(peri_loop *l);
  /* Closes what is left and frees the poller; called once, at the end. What
  ** still runs in other threads is left to a thread that frees it later, with
  ** `reap`. Else it is returned, as is what a host's loop is to close: as a
  ** loop of which no more than `closing` and `close` are to be called, and
  ** which calls `gone` before it is no more. NULL: nothing is left. */
  peri_loop *(*close)(peri_loop *l, int reap);
};

/* What a test is told of by the scheduler, see probe.c. No function may
** raise or allocate. */
struct peri_probe {
  /* The outside is about to be asked: returns for how long at most. */
  int64_t (*ask)(peri_loop *l, int64_t timeout);
  /* The batch of a turn is about to run. */
  void (*turn)(peri_loop *l);
  /* `l->current` is about to wait; only while `l->probed`. */
  void (*enter)(peri_loop *l);
};

/* Who steps a loop whose poller is part of a host's own loop. */
typedef struct peri_driver {
  /* Takes a step, if one can be taken now. */
  void (*step)(peri_loop *l);
  /* Nanoseconds until that is useful; PERI_FOREVER: when something comes. */
  int64_t (*wait)(peri_loop *l);
} peri_driver;

/* What a hosted step may do at most, and has done. */
typedef struct peri_budget {
  uint64_t stop_at; /* on the poller's clock; UINT64_MAX: no limit */
  uint32_t resumes, rounds;
  uint32_t resumed, round; /* so far */
  uint64_t looked;  /* when it was last looked at the clock; 0: not at all */
} peri_budget;

/* What follows the work, captured as it is by everything that is registered.
** Both pointers are references; see context.h and logical.h. */
typedef struct peri_frame {
  peri_context *context; /* the values of variables; NULL: none */
  peri_logical *logical; /* NULL: of the task that runs in this frame, and
                            nobody has asked for it yet */
} peri_frame;

/* A clock that is moved by hand, see clock.h. */
typedef struct peri_clock {
  const char *type;
  uint64_t now; /* nanoseconds; begins at 0 */
  peri_heap timers;
  unsigned number;  /* its place in `clocks` of the loop */
  const char *name; /* which the loop's table of clocks keeps */
} peri_clock;

/* A slot of the table of tasks. What a task has of logical contexts is here,
** as an index of `logicals`, since with pointers tasks would be too large. */
typedef struct peri_slot {
  union {
    uint32_t next;    /* while it is free: the next free one */
    uint32_t logical; /* of the task's frame, while that does not run */
  };
  uint32_t own; /* that lives while the task does; 0 until it is asked for */
} peri_slot;

/*
** Lua values that the loop holds live on the stack of a thread of its own,
** the stash: an index there reaches them without a look-up.
*/
enum {
  PERI_STASH_LOOP = 1,  /* the userdata of the loop itself */
  PERI_STASH_TASKS,     /* slot -> task, from spawn to finish, or idle
                           coroutine */
  PERI_STASH_OBJECTS,   /* light pointer -> object that must stay alive */
  PERI_STASH_CONTEXTS,  /* light pointer -> the map of a context */
  PERI_STASH_REASONS,   /* light pointer of a scope -> its Cancelled */
  PERI_STASH_BODY,      /* C function: what every task's coroutine runs */
  PERI_STASH_HANDLER,   /* C function: message handler of protected calls */
  PERI_STASH_ENDED,     /* the error of what was cancelled without reason */
  PERI_STASH_BROKEN,    /* the error of what lost its write end */
  PERI_STASH_CANCELLED, /* the Cancelled object without a reason */
  PERI_STASH_TRACES,    /* the last failures and their tracebacks */
  PERI_STASH_NAMES,     /* awaitable -> name, weak keys */
  PERI_STASH_MADE,      /* object -> the line that made it, weak; in debug */
  PERI_STASH_SWALLOWED, /* task -> record, weak keys, see debug.c */
  PERI_STASH_STALL_STACK, /* the stack of a slow step, while it runs, */
  PERI_STASH_STALL_TASK,  /* ... and its task */
  PERI_STASH_ON_ERROR,  /* the error hook, or nil */
  PERI_STASH_HOOK,      /* C function: calls the error hook */
  PERI_STASH_LIBRARY,   /* the string that `library` points to */
  PERI_STASH_EXIT,      /* called when the Lua state is closed, or nil */
  PERI_STASH_MAIL,      /* values handed to or by the parked main chunk */
  PERI_STASH_CLOSER,    /* what calls the hooks of a logical context */
  PERI_STASH_CORO,      /* coroutine -> what we know of it, weak keys */
  PERI_STASH_GENERATOR, /* C function: what a generator runs */
  PERI_STASH_CLOSE,     /* coroutine.close */
  PERI_STASH_HOST,      /* C function: what a host does in protected mode */
  PERI_STASH_CLOCKS,    /* name -> clock; "" -> the loop's own */
  PERI_STASH_SIGNALS,   /* name -> signal */
  PERI_STASH_SLEEP,     /* C function: sleeps by a clock */
  PERI_STASH_TASK,      /* metatables */
  PERI_STASH_FUTURE,
  PERI_STASH_CALLBACK,
  PERI_STASH_SCOPE,
  PERI_STASH_GROUP,
  PERI_STASH_VAR,
  PERI_STASH_GET,       /* C functions: var:get and var:set. Their second */
  PERI_STASH_SET,       /* ... upvalue is the map of the context `mapped` */
  PERI_STASH_BOUND,
  PERI_STASH_TOP = PERI_STASH_BOUND
};

/* Awaitable types, told apart by their metatables. */
enum { PERI_FUTURE, PERI_TASK, PERI_CALLBACK, PERI_KINDS };

/*
** A loop is a full userdata, made before everything that lives on it. The
** C functions of the library hold it as their first upvalue.
*/
struct peri_loop {
  peri_link ready;   /* runs in the next turn, in order */
  peri_link batch;   /* the snapshot that this turn runs */
  peri_link leaving; /* peri_leaving of the current activation */
  peri_link resting; /* ... of those of this turn that only rest, */
  peri_link rested;  /* ... and of those of the turn before */
  peri_link frames;  /* tasks that wait for the next frame */
  peri_heap timers;
  uint64_t now;         /* the clock, as of this turn */
  peri_clock **clocks;  /* the others, from 1 on, as they were made */
  uint32_t clock_count; /* 1 more than these are, or 0 */
  uint32_t frame_count; /* frames that have begun; which wraps around */
  uint64_t polled;      /* when the outside was last asked */
  uint32_t unpolled;    /* turns since then */
  uint32_t holds;       /* remote ends and hosts that keep us alive */
  peri_watch_fn watch;  /* see peri_loop_watch; or NULL */
  const peri_poller *poller;
  void *outside;        /* the poller's own */
  const volatile char *home; /* points to 0 in a forked child, where the
                                poller can have the system see to that */
  void *io;             /* of the handles, see io/handle.h */
  void *host;           /* of the C interface, see embed/embed.h */
  void *attached;       /* the host's loop that the poller is part of, or
                           NULL */
  const peri_driver *driver;   /* then, while there is a host; or NULL */
  void (*gone)(peri_loop *l);  /* then, of what was left: that is no more */
  const void *kept;     /* then, a block that is not freed when the next one
                           is to be, see core.c */
  void (*lost)(peri_loop *l, const char *why); /* told, if not NULL, when the
                                                  error hook itself failed */
  /* Called in a hosted step right before an activation, which it may end by
  ** force, and as soon as one has ended; or NULL. */
  void (*before)(peri_loop *l, peri_runnable *r, const peri_budget *b);
  void (*after)(peri_loop *l);
  /* What the layers below tasks ask of task.c: `wake` readies a waiter that
  ** was taken from a waitlist, `interrupt` aborts the wait of the task whose
  ** innermost scope this is, `ended` calls the hooks of a logical context. */
  void (*wake)(peri_loop *l, peri_runnable *r);
  void (*interrupt)(peri_loop *l, struct peri_scope *s);
  void (*ended)(peri_loop *l, peri_runnable *r, lua_State *L);
  /* And futures of group.c: whose tasks a task waits for to end, or NULL. */
  const peri_owner *(*joined)(const peri_task *t);
  peri_runnable reaper; /* ends tasks that were closed from outside, see wait.c */
  peri_task *current;   /* who runs; the main chunk's task if no other */
  peri_task *root;      /* the main chunk, as a task */
  peri_task *main;      /* of the running aio.run, or NULL */
  lua_State *top;       /* where `current` may wait: its coroutine, or the
                           innermost generator it runs; NULL if no task runs */
  peri_frame frame;     /* of whoever runs */
  lua_State *in;        /* where that frame is: only there it is changed */
  peri_context *mapped; /* whose map is at hand; or NULL */
  peri_logical **logicals; /* all, by their index; 0 is NULL */
  uint32_t logical_room;   /* room for so many in `logicals` */
  uint32_t free_logical;   /* first free index; these are chained, or 0 */
  peri_logical *origin; /* the logical context of the Lua state */
  peri_link hooked;     /* logical contexts that have hooks */
  peri_owner *background; /* owner of tasks made by aio.spawn */
  lua_State *stash;
  peri_slot *slot;      /* of the table of tasks: what C knows of a slot */
  uint32_t slot_room;   /* room for so many in `slot` */
  uint32_t slots;       /* tasks ever alive at once */
  uint32_t free_slot;   /* first free slot, or 0 */
  uint32_t ids;         /* tasks made so far */
  uint32_t tasks;       /* tasks that have not ended */
  uint32_t traces;        /* failures whose traceback was taken */
  uint32_t wins;        /* of selects so far */
  uint32_t burst;       /* waits completed at once since the last switch */
  uint32_t swallowed;   /* waits in a scope whose Cancelled was caught */
  uint64_t turns;
  struct peri_block *blocks; /* free ones, of function-form scopes */
  uint64_t slow;          /* in debug, steps shall not take longer; or 0 */
  uint64_t grace;         /* what a shield without a limit gets */
  uint64_t grace_end;     /* when the running shutdown ends, or 0 */
  lua_State *called;      /* where the running callback runs */
  const struct peri_scope *limit; /* the innermost when it began */
  peri_probe *probe;      /* a test's, or NULL */
  const void *kinds[PERI_KINDS]; /* identity of their metatables */
  const void *cancelled; /* and of that of Cancelled objects */
  peri_hook hook;
  const char *library;    /* where our Lua modules are: "@.../perilune/" */
  lua_Alloc alloc;
  void *alloc_ud;
  unsigned running : 1;   /* inside a turn */
  unsigned polling : 1;   /* inside the poller */
  unsigned rests : 1;     /* the activation ends for the sake of others */
  unsigned hosted : 1;    /* a program with its own main loop steps us */
  unsigned closing : 1;   /* the Lua state is being closed */
  unsigned passing : 1;   /* an error is passed on, with its traceback */
  unsigned dead : 1;      /* ... and our part of it is over */
  unsigned finalizer : 1; /* the frame was entered inside __gc */
  unsigned callback : 1;  /* a callback or a hook runs: no waits */
  unsigned probed : 1;    /* `probe` is told of waits. Beside `callback`, so
                             that a look at both is one look. */
  unsigned pinned : 1;    /* a function of C that cannot be suspended runs the
                             generator that runs, which Lua would suspend */
  unsigned debug : 1;     /* notes more, and reports leaks */
  unsigned moved : 1;     /* timers of other clocks may be due */
  unsigned manual : 1;    /* the clock is moved by a test */
  unsigned autojump : 1;  /* ... and jumps to the next timer when idle */
  unsigned shuffle : 1;   /* the ready list is shuffled each turn */
  uint32_t seed;
};

/* The loop, in any C function of the library. */
#define PERI_LOOP(L) \
  ((peri_loop *)lua_touserdata(L, lua_upvalueindex(1)))

#define PERI_FOREVER (-1)
#define PERI_STUCK 1 /* peri_loop_turn: nothing is ready, nothing can come */

/* Memory for C structs, from the Lua state's own allocator. `old` is the
** size so far (0 for new ones); `size` 0 frees. NULL when out of memory. */
void *peri_realloc(peri_loop *l, void *p, size_t old, size_t size);
static inline void *peri_alloc(peri_loop *l, size_t size) {
  return peri_realloc(l, NULL, 0, size);
}
static inline void peri_free(peri_loop *l, void *p, size_t size) {
  peri_realloc(l, p, size, 0);
}

/* Sets up the C part of a zeroed loop. */
void peri_loop_init(peri_loop *l, lua_State *L);

/* Puts `r`, which is in no list, at the tail of the ready list. */
static inline void peri_loop_ready(peri_loop *l, peri_runnable *r) {
  int first = peri_link_alone(&l->ready);
  assert(peri_link_alone(&r->link));
  peri_list_append(&l->ready, &r->link);
  if (first && l->polling) l->poller->wakeup(l);
}

/* Has `v` called when the current activation ends. If that only rests, the
** call is put off until it has gone on without asking for this again. */
static inline void peri_loop_leave(peri_loop *l, peri_leaving *v) {
  peri_link_out(&v->link);
  peri_list_append(&l->leaving, &v->link);
}

/*
** One turn: poll, due timers, then what is ready now. Blocks for at most
** `limit` nanoseconds (negative: without limit) if nothing is ready.
** Returns 0, or PERI_STUCK without having polled. Never raises.
*/
int peri_loop_turn(peri_loop *l, lua_State *L, int64_t limit);

/*
** What a hosted step is made of; none of these raises. The first asks the
** outside without blocking, or for `timeout` nanoseconds; the second fires
** the timers that are due. The third runs what is ready now, as one round,
** as far as the budget goes, and says whether another one may follow.
*/
void peri_loop_poll(peri_loop *l, int64_t timeout);
void peri_loop_fire(peri_loop *l);
int peri_loop_round(peri_loop *l, lua_State *L, peri_budget *b);

/* For a program in Lua with its own main loop: polls once without blocking
** and runs what is ready, in several rounds, until about `stop_at` on the
** poller's clock. Never raises. */
void peri_loop_step(peri_loop *l, lua_State *L, uint64_t stop_at);

/* A frame begins: what waits for that becomes ready. */
void peri_loop_frame(peri_loop *l);

/* Runs what is ready now, without asking the outside or the clock. */
void peri_loop_flush(peri_loop *l, lua_State *L);

/* Has `fn` (or nobody: NULL) called before the first step of each batch, and
** after each step. Costs nothing where there is none. */
void peri_loop_watch(peri_loop *l, peri_watch_fn fn);

/* Nanoseconds until a turn is useful: 0 now, PERI_FOREVER if no timer. The
** other clocks move only where something runs. */
int64_t peri_loop_wait(const peri_loop *l);

/* Brings the clock up to date where no turn does: in the main chunk. To be
** called before a time is reckoned from now. */
static inline void peri_loop_clock(peri_loop *l) {
  if (!l->running && !l->manual) l->now = l->poller->now();
}

/* The time `seconds` after `now`, clamped; seconds is no NaN. */
uint64_t peri_time_after(uint64_t now, double seconds);
static inline uint64_t peri_loop_after(const peri_loop *l, double seconds) {
  return peri_time_after(l->now, seconds);
}

/* True in a process that was forked off after the loop was made: it belongs
** to the parent. Cheap; where the system does not help, that is known from
** the first poll on, and before only to the poller's `forked`. */
static inline int peri_loop_forked(const peri_loop *l) {
  return !*l->home;
}

/* A runnable of the loop's own is ready or running. */
static inline int peri_loop_busy(const peri_loop *l) {
  return !peri_link_alone(&l->ready) || !peri_link_alone(&l->batch);
}

/* The next turn has something to do, whatever the time. */
static inline int peri_loop_due(const peri_loop *l) {
  return peri_loop_busy(l) || l->moved;
}

/* Pushes the value at `index` of the stash. Needs one slot on L. */
static inline void peri_stash_push(peri_loop *l, lua_State *L, int index) {
  lua_pushvalue(l->stash, index);
  lua_xmove(l->stash, L, 1);
}

/* Replaces the value at `index` of the stash by the one on top; pops it. */
void peri_stash_set(peri_loop *l, lua_State *L, int index);

/*
** Keeps the object at `idx` alive under the key `p`; may raise out of
** memory, before anything changed. peri_unanchor never raises.
*/
void peri_anchor(lua_State *L, peri_loop *l, int idx, const void *p);
void peri_unanchor(peri_loop *l, const void *p);
/* Pushes the object anchored under `p`, or nil. */
void peri_push_anchored(peri_loop *l, lua_State *L, const void *p);

#endif
