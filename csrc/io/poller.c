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
** On a uv loop of the host's the poller is that of attach.c.
**
** SPDX-License-Identifier: MIT
*/
#include "poller.h"

#include <assert.h>
#include <errno.h>
#include <lauxlib.h>
#include <stdlib.h>

#include "outside.h"

#ifdef _WIN32
#include <process.h>
#define getpid _getpid
#else
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>
#endif

#define CLOSE_ROUNDS 16 /* polls in which everything that can close does */

typedef peri_outside outside;

static outside *outside_of(peri_loop *l) {
  return l->outside;
}

/* {== The guard ======================================================== */

static void on_idle(uv_idle_t *guard) {
  (void)guard;
}

void peri_outside_wakeup(peri_loop *l) {
  uv_idle_start(&outside_of(l)->guard, on_idle);
}

/* uv may run this before it waits, and would then wait without a limit. */
static void on_timer(uv_timer_t *timer) {
  outside *p = PERI_OF(timer, outside, timer);
  p->due = UNARMED;
  uv_idle_start(&p->guard, on_idle);
}

void peri_outside_look(outside *p) {
  peri_link *next;
  for (peri_link *k = p->attending.next; k != &p->attending; k = next) {
    next = k->next;
    peri_attention *a = PERI_OF(k, peri_attention, link);
    a->look(p->loop, a);
  }
}

static void on_bell(uv_async_t *bell) {
  peri_outside_look(PERI_OF(bell, outside, bell));
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

void peri_outside_free_mark(outside *p) {
  if (p->mark) munmap((void *)p->mark, 1);
}

#else

static void set_mark(peri_loop *l, outside *p) {
  (void)l;
  p->mark = NULL;
}

void peri_outside_free_mark(outside *p) {
  (void)p;
}

#endif

int peri_outside_forked(peri_loop *l) {
  const outside *p = outside_of(l);
  return p->mark ? !*p->mark : getpid() != p->pid;
}

int peri_poller_own(peri_loop *l) {
  outside *p = outside_of(l);
  if (!peri_outside_forked(l) || p->own) return 0;
  if (l->attached) return UV_EPERM; /* the host decides about its loop */
  int status = uv_loop_fork(p->uv);
  p->own = !status;
  return status;
}

/* }===================================================================== */

/* {== Poll ============================================================= */

uint64_t peri_outside_now(void) {
  return uv_hrtime();
}

/* The time until which to wait, in uv's milliseconds. uv waits from where
** it is within this millisecond, for a whole number of them: that the count
** is rounded up is enough not to wake early. */
static uint64_t deadline(int64_t timeout) {
  if (timeout < 0) return UNARMED - 1;
  return peri_outside_now() / NS_PER_MS +
         ((uint64_t)timeout + NS_PER_MS - 1) / NS_PER_MS;
}

/* What uv adds the time to is its idea of now, which is that of the last
** poll. */
static void arm(outside *p, uint64_t due) {
  uint64_t uv_ms = uv_now(p->uv);
  uv_timer_start(&p->timer, on_timer, due > uv_ms ? due - uv_ms : 0, 0);
  p->due = due;
}

void peri_outside_arm(outside *p, int64_t timeout) {
  uint64_t due = deadline(timeout);
  if (p->due != due) arm(p, due);
}

static void block(outside *p, int64_t timeout) {
  uint64_t due = deadline(timeout);
  if (p->due > due) arm(p, due);
  uv_ref((uv_handle_t *)&p->timer);
  uv_run(p->uv, UV_RUN_ONCE);
  uv_unref((uv_handle_t *)&p->timer);
}

/* uv does not poll if nothing keeps it alive: the bell does, as long as it
** was not heard, for the descriptor stays readable until then. */
static void glance(outside *p) {
  if (!atomic_load_explicit(&p->rung, memory_order_relaxed) ||
      !atomic_exchange(&p->rung, 0)) {
    uv_run(p->uv, UV_RUN_NOWAIT);
    return;
  }
  uv_ref((uv_handle_t *)&p->bell);
  uv_run(p->uv, UV_RUN_NOWAIT);
  uv_unref((uv_handle_t *)&p->bell);
}

/* In a forked child nothing is asked: what the kernel holds for us belongs
** to the parent as well. */
static void poll(peri_loop *l, int64_t timeout) {
  outside *p = outside_of(l);
  if (peri_outside_forked(l)) {
    l->home = "";
    return;
  }
  uv_idle_stop(&p->guard);
  peri_outside_look(p);
  if (timeout)
    block(p, timeout);
  else
    glance(p);
}

static int alive(peri_loop *l) {
  return !peri_outside_forked(l) && uv_loop_alive(outside_of(l)->uv);
}

static int backend_fd(peri_loop *l) {
  return uv_backend_fd(outside_of(l)->uv);
}

/* The guard may be active since the last poll; uv would call that due. */
static int due(peri_loop *l) {
  outside *p = outside_of(l);
  uv_idle_stop(&p->guard);
  if (atomic_load(&p->rung)) return 1;
  return uv_loop_alive(p->uv) && !uv_backend_timeout(p->uv);
}

/* What is sent last is heard: were it noted first, it could be taken for heard
** before it is sent. */
void peri_poller_ring(peri_loop *l) {
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

void peri_outside_drive(peri_loop *l, int begins) {
  outside *p = outside_of(l);
  if (begins && !p->driven++) mute(p);
  if (begins) return;
  assert(p->driven); /* beginnings and ends come in pairs */
  if (!--p->driven) unmute(p);
}

void peri_outside_end_drives(outside *p) {
  if (p->driven) unmute(p);
}

/* }===================================================================== */

peri_loop *peri_outside_rest(const peri_loop *l, outside *p,
                             const peri_poller *poller) {
  peri_loop *rest = &p->rest;
  peri_link_init(&rest->ready);
  peri_link_init(&rest->batch);
  rest->poller = poller;
  rest->outside = p;
  rest->alloc = l->alloc;
  rest->alloc_ud = rest;
  rest->attached = l->attached;
  rest->home = "home";
  rest->closing = rest->dead = 1;
  return rest;
}

/* {== Open and close =================================================== */

static void on_walk(uv_handle_t *h, void *arg) {
  (void)arg;
  if (!uv_is_closing(h)) uv_close(h, NULL);
}

/* Closes what is open without waiting: 0, or UV_EBUSY while a job runs in
** the pool. Several rounds, as closing may finish requests and those may
** close more. */
static int close_handles(outside *p) {
  int status = UV_EBUSY;
  if (p->handles) p->handles->sweep(p->loop, NULL);
  p->handles = NULL;
  for (int i = 0; i < CLOSE_ROUNDS && status; i++) {
    uv_walk(p->uv, on_walk, p);
    uv_run(p->uv, UV_RUN_NOWAIT);
    status = uv_loop_close(p->uv);
  }
  return status;
}

static const peri_poller uv_poller;

static void free_outside(outside *p) {
  peri_outside_free_mark(p);
  free(p);
}

#ifdef _WIN32

static void reap(outside *p) {
  (void)p;
}

#else

static void *wait_for_jobs(void *arg) {
  outside *p = arg;
  while (uv_loop_close(p->uv)) uv_run(p->uv, UV_RUN_ONCE);
  free_outside(p);
  return NULL;
}

/* A thread waits for the jobs, and frees the loop then. If there can be none,
** the loop is left to them as it is. */
static void reap(outside *p) {
  pthread_t thread;
  if (!pthread_create(&thread, NULL, wait_for_jobs, p)) pthread_detach(thread);
}

#endif

/* A forked child first gets a backend of its own, so that closing does not
** take the parent's descriptors out of the one they share. What is not closed
** because of a job may be closed again, by way of `rest`. */
static peri_loop *close_outside(peri_loop *l, int to_reaper) {
  outside *p = outside_of(l);
  int status = peri_poller_own(l);
  peri_outside_end_drives(p);
  if (!status && !p->closed) status = close_handles(p);
  l->outside = NULL;
  l->home = "home";
  if (status == UV_EBUSY && !to_reaper)
    return peri_outside_rest(l, p, &uv_poller);
  if (!status)
    free_outside(p);
  else if (status == UV_EBUSY)
    reap(p);
  return NULL;
}

/* May be called again until all is closed, and `close` then. */
static int closing(peri_loop *l) {
  outside *p = outside_of(l);
  if (!p->closed) p->closed = close_handles(p) == 0;
  return !p->closed;
}

static const peri_poller uv_poller = {
  .now = peri_outside_now,
  .poll = poll,
  .alive = alive,
  .wakeup = peri_outside_wakeup,
  .forked = peri_outside_forked,
  .drive = peri_outside_drive,
  .fd = backend_fd,
  .due = due,
  .ring = peri_poller_ring,
  .closing = closing,
  .close = close_outside};

int peri_outside_init(peri_loop *l, outside *p, uv_loop_t *uv) {
  int status = uv_async_init(uv, &p->bell, on_bell);
  if (status) return status;
  uv_timer_init(uv, &p->timer);
  uv_idle_init(uv, &p->guard);
  uv_unref((uv_handle_t *)&p->bell);
  p->uv = uv;
  p->loop = l;
  p->due = UNARMED;
  atomic_init(&p->rung, 1); /* so that the first poll arms the descriptor */
  p->pid = getpid();
  set_mark(l, p);
  peri_link_init(&p->attending);
  return 0;
}

#ifdef _WIN32

static int look_for_room(void) {
  return 0;
}

static void fill_standard(void) {
}

#else

/* Where a program was started without one of its standard descriptors, the
** next one opened would be taken for it; and libuv never closes such a one.
** What is put there cannot be used, as if it were closed. It stays. */
static void fill_standard(void) {
  for (int fd = 0; fd < 3; fd++)
    if (fcntl(fd, F_GETFD) < 0)
      open("/dev/null", (fd ? O_RDONLY : O_WRONLY) | O_CLOEXEC);
}

/* Is there room for two pipes? The first loop of a process makes one for its
** signals, after another descriptor, and libuv aborts if it cannot. */
static int look_for_room(void) {
  int fds[] = {-1, -1, -1, -1};
  int status = pipe(fds) || pipe(fds + 2) ? uv_translate_sys_error(errno) : 0;
  for (int i = 0; i < 4; i++)
    if (fds[i] >= 0) close(fds[i]);
  return status;
}

#endif

/* Makes a uv loop with our handles, which keep nothing alive: 0, or a uv
** status. */
static int init(peri_loop *l, outside *p) {
  fill_standard();
  int status = look_for_room();
  if (!status) status = uv_loop_init(&p->made);
  if (status) return status;
  status = peri_outside_init(l, p, &p->made);
  if (status) {
    uv_loop_close(&p->made);
    return status;
  }
  uv_unref((uv_handle_t *)&p->timer);
  uv_unref((uv_handle_t *)&p->guard);
  l->outside = p;
  l->poller = &uv_poller;
  return 0;
}

static int open_own(peri_loop *l) {
  outside *p = calloc(1, sizeof *p);
  int status = p ? init(l, p) : UV_ENOMEM;
  if (status) free(p);
  return status;
}

void peri_poller_open(lua_State *L, peri_loop *l) {
  int status = l->attached ? peri_attach(l) : open_own(l);
  if (status)
    luaL_error(L, "%s: cannot make an event loop (%s)",
               uv_err_name(status), uv_strerror(status));
}

/* }===================================================================== */

uv_loop_t *peri_poller_uv(peri_loop *l) {
  outside *p = outside_of(l);
  return p ? p->uv : NULL;
}

void peri_poller_handles(peri_loop *l, const peri_handles *handles) {
  outside_of(l)->handles = handles;
}

void peri_poller_attend(peri_loop *l, peri_attention *a) {
  peri_link_init(&a->link);
  peri_list_append(&outside_of(l)->attending, &a->link);
}
