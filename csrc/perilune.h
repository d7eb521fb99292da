/*
** perilune.h - perilune inside a host program.
**
** For programs that own their main loop: the host opens a loop in a Lua
** state, and steps it. What is said here of one function is in one table in
** docs/reference/embedding.md.
**
** Every function has a tag:
**
**   [T]  only on the thread that opened the loop
**   [A]  on any thread
**   [e]  may raise a Lua error, and is for C functions that Lua has called;
**        no other function raises
**
** Results of type int are >= 0 when all is well, else one of PERILUNE_E....
** What is named `own` must be released by the one who got it. Functions that
** take values from a Lua stack pop them also when they fail.
**
** On another thread than the loop's, or in a process that was forked off,
** functions with [T] return PERILUNE_ETHREAD (or 0, or NULL) and do nothing;
** once the loop is closed, or its Lua state, PERILUNE_ECLOSED, where nothing
** else is said.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERILUNE_H
#define PERILUNE_H

#include <stddef.h>
#include <stdint.h>

#include <lua.h>

#define PERILUNE_VERSION 100 /* 1.2.3 is 10203 */

#if defined(_WIN32)
#define PERILUNE_API
#elif defined(__GNUC__)
#define PERILUNE_API __attribute__((visibility("default")))
#else
#define PERILUNE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct perilune_loop perilune_loop;
typedef struct perilune_task perilune_task;
typedef struct perilune_future perilune_future;
typedef struct perilune_scope perilune_scope;
typedef struct perilune_clock perilune_clock;
typedef struct perilune_signal perilune_signal;

enum { /* what a step, a run, a kill or a close says */
  PERILUNE_OK = 0,
  PERILUNE_MORE = 1, /* something is ready: step again */
  PERILUNE_WAIT = 2, /* what there is waits for time or events */
  PERILUNE_IDLE = 3, /* no task, no timer, nothing to wait for */
  PERILUNE_BUSY = 4  /* closing has not ended: call again */
};

enum {
  PERILUNE_ENOMEM = -1,
  PERILUNE_EREENTER = -2, /* inside a step, a task or a callback */
  PERILUNE_ETHREAD = -3,  /* not the thread, or process, of the loop */
  PERILUNE_ECLOSED = -4,  /* the loop, or the scope, is closed */
  PERILUNE_EDONE = -5,    /* the future is settled */
  PERILUNE_EARG = -6,     /* an argument makes no sense */
  PERILUNE_EFULL = -7,    /* no room in what was reserved */
  PERILUNE_EVERSION = -8, /* not the Lua this was compiled for */
  PERILUNE_ELUA = -9,     /* Lua code has raised an error */
  PERILUNE_ETIMEDOUT = -10
};

/* Parts of the library that scripts can be given. */
enum {
  PERILUNE_LIB_CORE = 1,    /* what leads nowhere outside; always there */
  PERILUNE_LIB_FS = 2,      /* aio.fs */
  PERILUNE_LIB_NET = 4,     /* aio.tcp, unix, udp, poll */
  PERILUNE_LIB_DNS = 8,     /* aio.dns, and names in aio.tcp and aio.udp */
  PERILUNE_LIB_PROCESS = 16, /* aio.process */
  PERILUNE_LIB_SIGNAL = 32, /* aio.signals */
  PERILUNE_LIB_THREAD = 64, /* reserved */
  PERILUNE_LIB_STDIO = 128, /* aio.stdin, stdout, stderr, tty */
  PERILUNE_LIB_ALL = 255
};

enum { /* what becomes of a task that does not wait */
  PERILUNE_CONTINUE = 0,
  PERILUNE_PREEMPT = 1, /* others first: to the tail of the ready list */
  PERILUNE_KILL = 2     /* it ends; no Lua of it runs any more */
};

enum { PERILUNE_KILL_DROP = 0, PERILUNE_KILL_CLOSE = 1 };

enum { /* how a task has ended */
  PERILUNE_DONE = 0,
  PERILUNE_FAILED = 1,
  PERILUNE_CANCELLED = 2 /* or killed */
};

/* What one step may use. Zero is the default: no limit of ns and resumes, 16
** rounds, one poll. `size` is sizeof(perilune_budget), as it is with all
** structs that begin with it. */
typedef struct perilune_budget {
  size_t size;
  uint64_t ns;      /* looked at after each resume */
  uint32_t resumes; /* of tasks and callbacks: the one for exact replay */
  uint32_t rounds;  /* what becomes ready in a round runs in the next one */
  uint32_t polls;   /* polls again while events come */
} perilune_budget;

/* What one step did. */
typedef struct perilune_stats {
  size_t size;
  uint64_t ns;
  uint32_t resumes; /* tasks and callbacks that were run */
  uint32_t rounds;
  uint32_t polls;
  uint32_t posts;   /* jobs and settled futures that came from threads */
  uint32_t wakes;   /* calls of perilune_wake that were heeded, and posts */
  uint32_t spawned, done; /* tasks that were made, and that ended */
  uint32_t failed;  /* failures that nobody took */
  uint32_t preempted; /* times that a task was put off, see slice below */
  uint32_t live;    /* tasks that there are now */
} perilune_stats;

/* A failure that nobody took: a copy, valid during the call. */
typedef struct perilune_error {
  size_t size;
  const char *kind;      /* "task", "callback", "secondary", "hook" (what a
                            script had hear of failures has failed) */
  const char *message;
  const char *traceback; /* or NULL */
  void *ud;              /* of the scope that owned the task, or NULL */
} perilune_error;

typedef struct perilune_config {
  size_t size;
  void *ud;           /* perilune_ud */
  uint32_t max_posts; /* posts that may be waiting before perilune_post
                         refuses more; 0: any number */
  int sigpipe;        /* ignore SIGPIPE while the loop is open, unless the
                         program has decided about it: else a peer that went
                         away may end the process */
  /* Hears of failures that nobody took, at the end of the round, on the
  ** loop's thread, outside of Lua. NULL: nobody does. */
  void (*on_error)(perilune_loop *p, const perilune_error *e);
  /* Called by perilune_wake, and by what posts, on their thread; once until
  ** the next step. For hosts that wait for something else than a
  ** descriptor. It may not call functions with [T]. */
  void (*on_wakeup)(void *ud);
  /* The uv_loop_t of a host that runs one, on the thread of the loop, or
  ** NULL. Each of its iterations takes a step then, of at most 10 ms.
  ** Nothing else of it is touched: it is not run, walked or closed. */
  void *uv_loop;
  /* Instructions of Lua code that a task or callback may run without waiting
  ** (or up to twice as many, once); 0: any number, at no cost. Counting slows
  ** Lua down, at worst to half its speed. */
  uint32_t slice;
  /* Called when they have run, and again after as many: PERILUNE_CONTINUE,
  ** _PREEMPT or _KILL. `ns` is how long it has run. NULL: tasks are put off.
  ** Inside functions that Lua cannot suspend, _PREEMPT does nothing, and _KILL
  ** raises errors. `t` is valid during the call, and NULL for callbacks;
  ** perilune_self says whose it is. It may not run Lua code. */
  int (*on_overrun)(perilune_loop *p, perilune_task *t, uint64_t ns);
  /* Called before and after each resume of a task: for profilers. `t` is valid
  ** during the call. */
  void (*on_resume)(perilune_loop *p, perilune_task *t, int begin);
} perilune_config;

/* Work posted to the loop's thread. The node is the caller's until `fn` or
** `drop` (which may be NULL) is called, which is done once. */
typedef struct perilune_job {
  struct perilune_job *next;
  void (*fn)(perilune_loop *p, struct perilune_job *j);
  void (*drop)(struct perilune_job *j);
} perilune_job;

enum {
  PERILUNE_NIL, PERILUNE_BOOL, PERILUNE_INT, PERILUNE_NUMBER,
  PERILUNE_POINTER, PERILUNE_STRING,
  PERILUNE_ERROR /* a string that the future fails with */
};

#define PERILUNE_STRING_MAX 96 /* bytes of a string that is posted */

typedef struct perilune_value {
  int type;
  union {
    int64_t i; /* PERILUNE_INT, _BOOL */
    double n;
    void *p;   /* a light userdata */
    struct {
      const char *s;
      size_t n;
    } str;
  } u;
} perilune_value;

/* {== Version and errors =============================================== */

/* [A] PERILUNE_VERSION of the library. */
PERILUNE_API int perilune_version(void);

/* [A] What a result means: a static string, never NULL. */
PERILUNE_API const char *perilune_strerror(int rc);

/* }===================================================================== */

/* {== Life of a loop =================================================== */

/*
** [T] Opens the loop of a Lua state; `c` may be NULL. own: *out. Afterwards
** `require "perilune"` finds the library, whether or not the state has the
** package library; the coroutine library must be there. The loop is hosted:
** it prints nothing, blocks nowhere, starts no thread and installs no signal
** handler. PERILUNE_EARG if it is open already, or a script has made it before
** and `uv_loop` is given; PERILUNE_ECLOSED if it was closed before;
** PERILUNE_ELUA if the coroutine library is not there. On failure *out is
** NULL.
*/
PERILUNE_API int perilune_open(lua_State *L, const perilune_config *c,
                               perilune_loop **out);

/*
** [T] Opens parts of the library, of PERILUNE_LIB_*; more can be opened at any
** time. What was not opened scripts cannot reach: it is not there. After
** perilune_open that is all but PERILUNE_LIB_CORE, unless the state had loaded
** the module before: then all is open. A part that the build does not have
** stays away. PERILUNE_EARG for bits that have no meaning.
*/
PERILUNE_API int perilune_openlibs(perilune_loop *p, unsigned libs);

/*
** [T] Kills all tasks (their __close handlers run and cannot wait), calls
** what was given to aio.on_close, closes handles. PERILUNE_BUSY: the budget
** in nanoseconds (0: none) is used up, or a job of libuv's pool still runs;
** call again. `orphan`: such jobs are left to a thread that waits for them
** instead. PERILUNE_OK: the loop is closed and `p` is freed. To be called
** before or after lua_close, which itself ends all tasks; after it this only
** frees `p`.
**
** In a uv loop of the host's, handles are closed when uv_run has called back:
** PERILUNE_BUSY until then, also after lua_close. With `orphan` they are left
** to that loop, which frees them in its next iteration.
*/
PERILUNE_API int perilune_close(perilune_loop *p, uint64_t budget_ns,
                                int orphan);

/* [T] The open loop of this state, or NULL. */
PERILUNE_API perilune_loop *perilune_get(lua_State *L);

/* [A] `ud` of the config. */
PERILUNE_API void *perilune_ud(perilune_loop *p);

/* }===================================================================== */

/* {== Driving ========================================================== */

/*
** [T] Polls, fires timers, runs what is ready; never blocks. `b` and `s` may
** be NULL. PERILUNE_MORE, _WAIT or _IDLE. What it does, in this order:
** readies the tasks that wait for the next frame; polls libuv; takes what
** threads have posted, in order of arrival; fires timers that are due, clock
** by clock, the loop's own first, then in the order of their making; runs what
** is ready, in rounds, until nothing is or the budget ends; if anything ran,
** polls once more, so that the descriptor is armed: what that brings waits for
** the next step.
*/
PERILUNE_API int perilune_step(perilune_loop *p, const perilune_budget *b,
                               perilune_stats *s);

/*
** [T] Steps, blocking in between, until `until` is settled (PERILUNE_OK), or
** with NULL until there are no tasks, for at most `seconds`
** (PERILUNE_ETIMEDOUT; negative: no limit). PERILUNE_IDLE if nothing can
** come any more. For tools and loading screens; PERILUNE_EARG in a uv loop of
** the host's.
*/
PERILUNE_API int perilune_run(perilune_loop *p, perilune_future *until,
                              double seconds);

/* [T] Nanoseconds until a step is useful: 0 now (also if a task waits for the
** next frame), -1 only when the descriptor is readable or somebody wakes. Of
** clocks only real time counts: the others move when the host moves them. */
PERILUNE_API int64_t perilune_timeout(perilune_loop *p);

/* [T] A descriptor that is readable when a step is useful, valid after each
** step; -1 where there is none, and in a uv loop of the host's. For poll,
** epoll and the like; within another kqueue it may stay silent. */
PERILUNE_API int perilune_fd(perilune_loop *p);

/* [A] Makes the descriptor readable and calls `on_wakeup`; once until the
** next step. Never blocks. */
PERILUNE_API void perilune_wake(perilune_loop *p);

/* }===================================================================== */

/* {== Clocks and signals =============================================== */

/*
** [T] The clock of this name, which scripts have by aio.clock(name); made when
** it is first asked for, on either side, at 0. It is moved by hand only. NULL
** as name is the loop's own clock, real time, which cannot be moved. Lives as
** long as the loop. NULL if there is no memory.
*/
PERILUNE_API perilune_clock *perilune_clock_new(perilune_loop *p,
                                                const char *name);

/* [T] Moves it on. Sleepers that are due become ready in the next step, each
** once, however far it went. PERILUNE_EARG if `ns` is negative, and for the
** loop's own clock. */
PERILUNE_API int perilune_clock_advance(perilune_clock *c, int64_t ns);

/* [T] Its time in nanoseconds. NULL is real time, on any thread. */
PERILUNE_API int64_t perilune_clock_now(const perilune_clock *c);

/* [T] The signal of this name, which scripts have by aio.signal(name). Lives
** as long as the loop. NULL if there is no memory. */
PERILUNE_API perilune_signal *perilune_signal_new(perilune_loop *p,
                                                  const char *name);

/* [T] Pops n values of L, 16 at most (PERILUNE_EARG), and wakes all tasks that
** wait for the signal now, in order, each with these: they run in the next
** step, or round. Returns how many. */
PERILUNE_API int perilune_emit(perilune_signal *s, lua_State *L, int n);

/* }===================================================================== */

/* {== Posting ========================================================== */

/*
** [A] Has j->fn called in the next step, on the loop's thread, outside of
** Lua. PERILUNE_EFULL if `max_posts` are waiting: nothing was done then. On
** PERILUNE_ECLOSED j->drop has been called, as it is when the loop is closed
** before.
*/
PERILUNE_API int perilune_post(perilune_loop *p, perilune_job *j);

/* }===================================================================== */

/* {== Futures ========================================================== */

/* [T] own: *out, a pending future. The only allocation in its life. */
PERILUNE_API int perilune_future_new(perilune_loop *p, perilune_future **out);

/* [T] Pops n values of L, and settles it with them. PERILUNE_EDONE if it was
** settled. */
PERILUNE_API int perilune_future_done(perilune_future *f, lua_State *L,
                                      int n);

/* [T] The same for an error value, which is popped. */
PERILUNE_API int perilune_future_fail(perilune_future *f, lua_State *L);

/*
** [A] Settles it in the next step; consumes a reference. Cannot run out of
** memory. A string is copied, and of at most PERILUNE_STRING_MAX bytes.
** PERILUNE_EDONE, PERILUNE_ECLOSED: the reference is consumed as well;
** PERILUNE_EARG, PERILUNE_EFULL (string too long): nothing was done.
*/
PERILUNE_API int perilune_post_value(perilune_future *f,
                                     const perilune_value *v);

/*
** [A] Settles it in the next step with the values that `push` pushes, which
** returns how many; or with the error that it raises, as it is called in
** protected mode. If nobody wants them, `drop` (or NULL) is called instead:
** one of the two is called, once. Consumes a reference in any case.
*/
PERILUNE_API int perilune_post_call(perilune_future *f,
                                    int (*push)(lua_State *L, void *ud),
                                    void (*drop)(void *ud), void *ud);

/* [A] One more reference; returns f. */
PERILUNE_API perilune_future *perilune_future_retain(perilune_future *f);

/* [A] Gives up a reference. The last one of a future that is not settled
** fails it with code EBROKEN. NULL is fine. */
PERILUNE_API void perilune_future_release(perilune_future *f);

/* [T][e] Pushes it as what aio.future() returns, for scripts to await. */
PERILUNE_API void perilune_future_push(lua_State *L, perilune_future *f);

/* [T][e] What was pushed so, at idx: borrowed from whoever holds it. Raises
** "bad argument" for anything else, and if nobody holds it any more. */
PERILUNE_API perilune_future *perilune_future_check(lua_State *L, int idx);

/*
** [T] Has fn called when those that waited for it have all gone away before
** it was settled, so that the work for it can be stopped: once, at the end of
** a step, outside of Lua. PERILUNE_EDONE if that was asked for before.
*/
PERILUNE_API int perilune_future_on_abandon(perilune_future *f,
                                            void (*fn)(void *ud), void *ud);

/* }===================================================================== */

/* {== Waiting, in C functions that tasks call ========================== */

/*
** [T][e] Awaits f: to be used as `return perilune_await(L, f, k, ctx);`. The
** continuation finds its values on top of the stack as it was; NULL returns
** them. If f fails, its error is raised, and k not called. Where one cannot
** wait it raises before anything has changed.
*/
PERILUNE_API int perilune_await(lua_State *L, perilune_future *f,
                                lua_KFunction k, lua_KContext ctx);

/*
** [T][e] Sleeps for so many nanoseconds by clock c; NULL: by that of the task's
** scope. To be used as `return perilune_sleep(L, c, ns, k, ctx);`. The
** continuation finds the stack as it was; NULL returns nothing. Zero or less is
** a yield.
*/
PERILUNE_API int perilune_sleep(lua_State *L, perilune_clock *c, int64_t ns,
                                lua_KFunction k, lua_KContext ctx);

/* }===================================================================== */

/* {== Tasks ============================================================ */

/*
** [T] Makes a task of the function and `nargs` arguments on top of L, which
** are popped. It starts in the next step. `s` may be NULL; `out` may be
** NULL, else own: *out. PERILUNE_ECLOSED if the scope was killed;
** PERILUNE_ELUA if what is there cannot be called: the message of a chunk that
** did not compile, for instance; PERILUNE_EARG if there is less on the stack:
** it is left as it is.
*/
PERILUNE_API int perilune_spawn(perilune_loop *p, perilune_scope *s,
                                lua_State *L, int nargs,
                                perilune_task **out);

/* [T] Cancels a task: it unwinds in the next step, and its clean-up may
** wait. PERILUNE_EDONE if it has ended. */
PERILUNE_API int perilune_task_cancel(perilune_task *t);

/*
** [T] Has fn called once the task has ended, in a step, outside of any task:
** its values, its error or the reason of its cancellation are the whole
** stack of `co`, which is valid during the call. PERILUNE_EDONE if that was
** asked for before. A failure is taken by that. It is not called once the
** loop is being closed, nor after perilune_task_release.
*/
PERILUNE_API int perilune_task_then(perilune_task *t,
                                    void (*fn)(perilune_task *t,
                                               lua_State *co, int how,
                                               void *ud),
                                    void *ud);

/* [T] Drops the handle; the task goes on. NULL is fine. */
PERILUNE_API void perilune_task_release(perilune_task *t);

/* }===================================================================== */

/* {== Scopes =========================================================== */

/*
** [T] own: *out. A scope owns the tasks that are spawned into it, and what
** these spawn: an entity, a scene, a mod, a connection. `parent` may be
** NULL. What its tasks wait for in time goes by `clock`; NULL: by that of the
** parent, or real time. It lives on without its handle as long as it has tasks.
** PERILUNE_EARG if one of these is of another loop.
*/
PERILUNE_API int perilune_scope_new(perilune_loop *p, perilune_scope *parent,
                                    perilune_clock *clock, void *ud,
                                    perilune_scope **out);

/* [T] Cancels all of it: tasks unwind in the next step, and may wait. */
PERILUNE_API int perilune_scope_cancel(perilune_scope *s);

/*
** [T] Ends all of it, at once and for good: when it returns PERILUNE_OK no
** task in it will ever be resumed, and none can be spawned. Those that wait
** for one of its tasks get code ECANCELED. PERILUNE_KILL_CLOSE runs __close
** handlers, which cannot wait; PERILUNE_KILL_DROP runs no Lua. Called by one
** of its own tasks it is PERILUNE_MORE: that task ends when it waits next.
** PERILUNE_OK also when the loop is closed.
*/
PERILUNE_API int perilune_scope_kill(perilune_scope *s, int mode);

/* [T] How many tasks it has, those of scopes in it among them. */
PERILUNE_API int perilune_scope_live(const perilune_scope *s);

/* [T] Drops the handle and nothing else. NULL is fine. */
PERILUNE_API void perilune_scope_release(perilune_scope *s);

/* [T] `ud` of the nearest scope of the task that runs, or NULL. */
PERILUNE_API void *perilune_self(lua_State *L);

/*
** [T] Pops a context variable (of aio.context.var) and a value: what the tasks
** see that are spawned into the scope by perilune_spawn from now on, and those
** that they spawn. They see nothing else than what is bound. A scope has what its
** parent had when it was made. PERILUNE_ELUA if it is no variable.
*/
PERILUNE_API int perilune_scope_bind(perilune_scope *s, lua_State *L);

/* }===================================================================== */

/* {== Memory =========================================================== */

/* Bytes that a state, with its loop, has and may have; 0: no limit. What libuv
** allocates, and the handles of this interface, are not among them. */
typedef struct perilune_mem {
  size_t limit, used, peak;
  size_t fails; /* requests that were refused */
} perilune_mem;

/*
** [T] An allocator to be given to lua_newstate; `ud` is a perilune_mem, which
** must be there as long as the state. Where the limit is reached, scripts get
** "not enough memory", after a collection. The limit may be changed.
*/
PERILUNE_API void *perilune_alloc(void *ud, void *p, size_t old, size_t size);

/* }===================================================================== */

/* {== Looking inside =================================================== */

/* A task, as it is shown by perilune_dump; texts are valid during the call. */
typedef struct perilune_info {
  size_t size;
  uint32_t id;         /* as in Lua's task:info() */
  uint32_t parent;     /* the task in whose group it is, or 0 */
  uint32_t depth;      /* how many tasks there are above it */
  const char *name;    /* or NULL */
  const char *state;   /* "running", "ready", "waiting" */
  const char *wait;    /* what for: "sleep", "read", "channel get"; or NULL */
  uint64_t waited;     /* ... and since how many nanoseconds */
  const char *source;  /* where its Lua code is, or NULL: not started */
  int line;
  void *ud;            /* of its nearest scope, or NULL */
} perilune_info;

/*
** [T] Shows all tasks, each before those in its groups, until `fn` returns
** something else than 0. How many it has shown. For use at any time, also in a
** step: it allocates nothing. `fn` may look, and neither end nor make tasks, nor
** run Lua code.
*/
PERILUNE_API int perilune_dump(perilune_loop *p,
                               int (*fn)(const perilune_info *i, void *ud),
                               void *ud);

/* }===================================================================== */

#ifdef __cplusplus
}
#endif

#endif
