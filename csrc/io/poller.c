/*
** poller.c - the uv loop as the scheduler's poller, and its guard.
**
** The scheduler keeps its own timers; uv's part is to wait for descriptors
** and pool jobs, for no longer than one uv timer says. Three handles are
** ours, none of which counts as alive:
**
**   - `timer` bounds a blocking poll. It is left alone while it is armed for
**     early enough: being woken once too often is cheaper than arming it for
**     each poll. It is referenced while we block, since uv does not wait for
**     what is not, and at no other time, so that uv_loop_alive speaks of
**     others only.
**   - `guard` is an idle handle: as long as it is active, uv does not block.
**     uv 1.44 runs timers first and then waits all the same; whatever makes
**     a runnable ready before it waits starts the guard.
**   - `bell` ends a poll that blocks, from signal handlers and threads.
**
** Everything lives in one block from malloc, which may outlive the Lua state
** and its allocator: a pool thread reports to the uv loop when its job is
** done. peri_poller_open makes the block; close_outside frees it, unless a
** job still runs: then it is left to that job, for nothing blocks at the end.
**
** SPDX-License-Identifier: MIT
*/
#include "poller.h"

#include <assert.h>
#include <lauxlib.h>
#include <stdatomic.h>
#include <stdlib.h>

#ifdef _WIN32
#include <process.h>
#define getpid _getpid
#else
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

#define NS_PER_MS 1000000u
#define UNARMED UINT64_MAX
#define CLOSE_ROUNDS 16 /* polls in which everything that can close does */

/* `due` is when `timer` fires, in uv's milliseconds, or UNARMED. */
typedef struct outside {
  uv_loop_t uv;
  uv_timer_t timer;
  uv_idle_t guard;
  uv_async_t bell;
  uint64_t due;
  volatile char *mark; /* not 0 in the process that made it; or NULL */
  uv_pid_t pid;        /* of that process */
  uv_walk_cb sweep;
  peri_link attending; /* peri_attention */
  atomic_int rung;     /* the bell has not been heard since */
  unsigned driven;    /* drives that have begun and not ended */
  unsigned muted : 1; /* SIGPIPE is ignored because of them */
  unsigned own : 1;   /* (in a forked child) uv has a backend of its own */
  unsigned closed : 1; /* uv has let go of the loop */
} outside;

static outside *outside_of(peri_loop *l) {
  return l->outside;
}

/* {== The guard ======================================================== */

static void on_idle(uv_idle_t *guard) {
  (void)guard;
}

static void wakeup(peri_loop *l) {
  uv_idle_start(&outside_of(l)->guard, on_idle);
}

/* uv may run this before it waits, and would then wait without a limit. */
static void on_timer(uv_timer_t *timer) {
  outside *p = PERI_OF(timer, outside, timer);
  p->due = UNARMED;
  uv_idle_start(&p->guard, on_idle);
}

static void look(outside *p) {
  peri_link *next;
  for (peri_link *k = p->attending.next; k != &p->attending; k = next) {
    next = k->next;
    peri_attention *a = PERI_OF(k, peri_attention, link);
    a->look(p->uv.data, a);
  }
}

static void on_bell(uv_async_t *bell) {
  look(PERI_OF(bell, outside, bell));
}

/* }===================================================================== */

/* {== Fork ============================================================= */

#ifdef MADV_WIPEONFORK

/* A page that is zero in a forked child: asking getpid before each poll
** would cost as much as a task switch. */
static void set_mark(peri_loop *l, outside *p) {
  void *page = mmap(NULL, 1, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return;
  if (madvise(page, 1, MADV_WIPEONFORK)) {
    munmap(page, 1);
    return;
  }
  p->mark = page;
  *p->mark = 1;
  l->home = p->mark;
}

static void free_mark(peri_loop *l, outside *p) {
  l->home = "home";
  if (p->mark) munmap((void *)p->mark, 1);
}

#else

static void set_mark(peri_loop *l, outside *p) {
  (void)l;
  p->mark = NULL;
}

static void free_mark(peri_loop *l, outside *p) {
  (void)l;
  (void)p;
}

#endif

static int forked(peri_loop *l) {
  const outside *p = outside_of(l);
  return p->mark ? !*p->mark : getpid() != p->pid;
}

int peri_poller_own(peri_loop *l) {
  outside *p = outside_of(l);
  if (!forked(l) || p->own) return 0;
  int status = uv_loop_fork(&p->uv);
  p->own = !status;
  return status;
}

/* }===================================================================== */

/* {== Poll ============================================================= */

static uint64_t now(void) {
  return uv_hrtime();
}

/* The time until which to wait, in uv's milliseconds. uv waits from where
** it is within this millisecond, for a whole number of them: that the count
** is rounded up is enough not to wake early. */
static uint64_t deadline(int64_t timeout) {
  if (timeout < 0) return UNARMED - 1;
  return now() / NS_PER_MS + ((uint64_t)timeout + NS_PER_MS - 1) / NS_PER_MS;
}

/* Arms the timer for `due` or earlier. What uv adds the time to is its idea
** of now, which is that of the last poll. */
static void arm(outside *p, uint64_t due) {
  uint64_t uv_ms = uv_now(&p->uv);
  if (p->due <= due) return;
  uv_timer_start(&p->timer, on_timer, due > uv_ms ? due - uv_ms : 0, 0);
  p->due = due;
}

static void block(outside *p, int64_t timeout) {
  arm(p, deadline(timeout));
  uv_ref((uv_handle_t *)&p->timer);
  uv_run(&p->uv, UV_RUN_ONCE);
  uv_unref((uv_handle_t *)&p->timer);
}

/* uv does not poll if nothing keeps it alive: the bell does, as long as it
** was not heard, for the descriptor stays readable until then. */
static void glance(outside *p) {
  if (!atomic_load_explicit(&p->rung, memory_order_relaxed) ||
      !atomic_exchange(&p->rung, 0)) {
    uv_run(&p->uv, UV_RUN_NOWAIT);
    return;
  }
  uv_ref((uv_handle_t *)&p->bell);
  uv_run(&p->uv, UV_RUN_NOWAIT);
  uv_unref((uv_handle_t *)&p->bell);
}

/* In a forked child nothing is asked: what the kernel holds for us belongs
** to the parent as well. */
static void poll(peri_loop *l, int64_t timeout) {
  outside *p = outside_of(l);
  if (forked(l)) {
    l->home = "";
    return;
  }
  uv_idle_stop(&p->guard);
  look(p);
  if (timeout)
    block(p, timeout);
  else
    glance(p);
}

static int alive(peri_loop *l) {
  return !forked(l) && uv_loop_alive(&outside_of(l)->uv);
}

static int backend_fd(peri_loop *l) {
  return uv_backend_fd(&outside_of(l)->uv);
}

/* The guard may be active since the last poll; uv would call that due. */
static int due(peri_loop *l) {
  outside *p = outside_of(l);
  uv_idle_stop(&p->guard);
  if (atomic_load(&p->rung)) return 1;
  return uv_loop_alive(&p->uv) && !uv_backend_timeout(&p->uv);
}

/* What is sent last is heard: were it noted first, it could be taken for heard
** before it is sent. */
static void ring(peri_loop *l) {
  outside *p = outside_of(l);
  uv_async_send(&p->bell);
  atomic_store(&p->rung, 1);
}

/* }===================================================================== */

/* {== Drive ============================================================ */

#ifdef SIGPIPE

/* Ignores SIGPIPE, unless somebody has decided about it: libuv's writes
** would end the process when a peer has gone. */
static void mute(outside *p) {
  struct sigaction sa;
  if (sigaction(SIGPIPE, NULL, &sa) || sa.sa_handler != SIG_DFL) return;
  sa.sa_handler = SIG_IGN;
  p->muted = sigaction(SIGPIPE, &sa, NULL) == 0;
}

/* Takes that back, unless somebody has decided otherwise meanwhile. */
static void unmute(outside *p) {
  struct sigaction sa;
  if (!p->muted) return;
  p->muted = 0;
  if (sigaction(SIGPIPE, NULL, &sa) || sa.sa_handler != SIG_IGN) return;
  sa.sa_handler = SIG_DFL;
  sigaction(SIGPIPE, &sa, NULL);
}

#else

static void mute(outside *p) {
  (void)p;
}

static void unmute(outside *p) {
  (void)p;
}

#endif

static void drive(peri_loop *l, int begins) {
  outside *p = outside_of(l);
  if (begins && !p->driven++) mute(p);
  if (begins) return;
  assert(p->driven); /* beginnings and ends come in pairs */
  if (!--p->driven) unmute(p);
}

/* }===================================================================== */

/* {== Open and close =================================================== */

static int is_ours(const outside *p, const uv_handle_t *h) {
  return h == (const uv_handle_t *)&p->timer ||
         h == (const uv_handle_t *)&p->guard ||
         h == (const uv_handle_t *)&p->bell;
}

static void sweep_plain(uv_handle_t *h, void *arg) {
  (void)arg;
  uv_close(h, NULL);
}

static void on_walk(uv_handle_t *h, void *arg) {
  outside *p = arg;
  if (uv_is_closing(h)) return;
  if (is_ours(p, h))
    uv_close(h, NULL);
  else
    p->sweep(h, NULL);
}

/* Closes what is open without waiting: 0, or UV_EBUSY while a job runs in
** the pool. Several rounds, as closing may finish requests and those may
** close more. */
static int close_handles(outside *p) {
  int status = UV_EBUSY;
  for (int i = 0; i < CLOSE_ROUNDS && status; i++) {
    uv_walk(&p->uv, on_walk, p);
    uv_run(&p->uv, UV_RUN_NOWAIT);
    status = uv_loop_close(&p->uv);
  }
  return status;
}

#ifdef _WIN32

static void reap(outside *p) {
  (void)p;
}

#else

static void *wait_for_jobs(void *arg) {
  outside *p = arg;
  while (uv_loop_close(&p->uv)) uv_run(&p->uv, UV_RUN_ONCE);
  free(p);
  return NULL;
}

/* A thread waits for the jobs, and frees the loop then. If there can be none,
** the loop is left to them as it is. */
static void reap(outside *p) {
  pthread_t thread;
  if (!pthread_create(&thread, NULL, wait_for_jobs, p)) pthread_detach(thread);
}

#endif

/* Frees a loop whose handles are closed, or are not because of a job. */
static void dispose(peri_loop *l, int status, int to_reaper) {
  outside *p = outside_of(l);
  free_mark(l, p);
  if (!status)
    free(p);
  else if (to_reaper && status == UV_EBUSY)
    reap(p);
  l->outside = NULL;
}

/* A forked child first gets a backend of its own, so that closing does not
** take the parent's descriptors out of the one they share. */
static void close_outside(peri_loop *l, int to_reaper) {
  outside *p = outside_of(l);
  int status = peri_poller_own(l);
  if (p->driven) unmute(p);
  if (!status && !p->closed) status = close_handles(p);
  dispose(l, status, to_reaper);
}

/* May be called again until all is closed, and `close` then. */
static int closing(peri_loop *l) {
  outside *p = outside_of(l);
  if (!p->closed) p->closed = close_handles(p) == 0;
  return !p->closed;
}

static const peri_poller uv_poller = {
  .now = now,
  .poll = poll,
  .alive = alive,
  .wakeup = wakeup,
  .forked = forked,
  .drive = drive,
  .fd = backend_fd,
  .due = due,
  .ring = ring,
  .closing = closing,
  .close = close_outside};

/* Our handles, which keep nothing alive. Only the bell can fail, and that
** only if the loop had not made what it needs already. */
static int init_handles(outside *p) {
  int status = uv_async_init(&p->uv, &p->bell, on_bell);
  if (status) return status;
  uv_timer_init(&p->uv, &p->timer);
  uv_idle_init(&p->uv, &p->guard);
  uv_unref((uv_handle_t *)&p->bell);
  uv_unref((uv_handle_t *)&p->timer);
  uv_unref((uv_handle_t *)&p->guard);
  return 0;
}

/* Makes a uv loop with our handles: 0, or a uv status. */
static int init(outside *p) {
  int status = uv_loop_init(&p->uv);
  if (status) return status;
  status = init_handles(p);
  if (status) uv_loop_close(&p->uv);
  return status;
}

void peri_poller_open(lua_State *L, peri_loop *l) {
  outside *p = calloc(1, sizeof *p);
  int status = p ? init(p) : UV_ENOMEM;
  if (status) {
    free(p);
    luaL_error(L, "%s: cannot make an event loop (%s)",
               uv_err_name(status), uv_strerror(status));
    return;
  }
  p->uv.data = l;
  p->due = UNARMED;
  atomic_init(&p->rung, 1); /* so that the first poll arms the descriptor */
  p->pid = getpid();
  set_mark(l, p);
  p->sweep = sweep_plain;
  peri_link_init(&p->attending);
  l->outside = p;
  l->poller = &uv_poller;
}

/* }===================================================================== */

uv_loop_t *peri_poller_uv(peri_loop *l) {
  outside *p = outside_of(l);
  return p ? &p->uv : NULL;
}

peri_loop *peri_poller_loop(const uv_loop_t *uv) {
  return uv->data;
}

void peri_poller_sweep(peri_loop *l, uv_walk_cb sweep) {
  outside_of(l)->sweep = sweep;
}

void peri_poller_attend(peri_loop *l, peri_attention *a) {
  peri_link_init(&a->link);
  peri_list_append(&outside_of(l)->attending, &a->link);
}

void peri_poller_ring(peri_loop *l) {
  ring(l);
}
