/*
** step.c - a host drives its loop.
**
** SPDX-License-Identifier: MIT
*/
#include <math.h>
#include <string.h>

#include "embed.h"
#include "sched/clock.h"

#define ROUNDS 16 /* rounds of a step, where the budget says nothing */
#define NAP 1000000 /* nanoseconds; where nothing can end a poll */

typedef struct limits {
  peri_budget b;
  uint32_t polls, polled;
} limits;

/* {== Budgets ========================================================== */

static uint64_t later(uint64_t now, uint64_t ns) {
  return ns && ns < UINT64_MAX - now ? now + ns : UINT64_MAX;
}

static int set_limits(limits *m, const perilune_budget *b, uint64_t now) {
  static const perilune_budget none = {sizeof none, 0, 0, 0, 0};
  if (!b) b = &none;
  if (b->size != sizeof *b) return PERILUNE_EARG;
  m->b.stop_at = later(now, b->ns);
  m->b.resumes = b->resumes ? b->resumes : UINT32_MAX;
  m->b.rounds = b->rounds ? b->rounds : ROUNDS;
  m->b.resumed = m->b.round = 0;
  m->b.looked = 0;
  m->polls = b->polls ? b->polls : 1;
  m->polled = 0;
  return PERILUNE_OK;
}

/* }===================================================================== */

/* {== A step =========================================================== */

static void poll(perilune_loop *p, limits *m) {
  peri_loop_poll(p->loop, 0);
  m->polled++;
  p->taken += peri_embed_take(p);
  peri_loop_fire(p->loop);
}

/* Returns 1 if nothing is ready any more and the budget is not used up. */
static int run_ready(perilune_loop *p, limits *m) {
  int more = 1;
  while (more && peri_loop_busy(p->loop)) {
    more = peri_loop_round(p->loop, p->L, &m->b);
    peri_embed_tell(p);
  }
  return more && !peri_loop_busy(p->loop);
}

/* What tasks have begun to watch is in the descriptor only when libuv has
** polled; what that brings is for the next step. */
static void step(perilune_loop *p, limits *m) {
  atomic_store(&p->rung, 0);
  peri_loop_frame(p->loop);
  poll(p, m);
  while (run_ready(p, m) && m->polled < m->polls) {
    poll(p, m);
    if (!peri_loop_busy(p->loop)) break;
  }
  if (m->b.resumed || p->taken) peri_loop_poll(p->loop, 0);
  peri_embed_look(p);
}

/* A post may have come since they were taken, and the last poll may have
** heard of it: then the descriptor will not tell. One that waits for memory is
** no reason to hurry. */
static int state_of(const perilune_loop *p) {
  const peri_loop *l = p->loop;
  if (peri_loop_due(l)) return PERILUNE_MORE;
  if (atomic_load(&p->rung) && !p->starved) return PERILUNE_MORE;
  if (l->tasks || l->holds || peri_clock_timers(l)) return PERILUNE_WAIT;
  return l->poller->alive((peri_loop *)(uintptr_t)l) ? PERILUNE_WAIT
                                                    : PERILUNE_IDLE;
}

typedef struct counts {
  uint64_t begun;
  uint32_t ids, tasks, wakes;
} counts;

static counts count(perilune_loop *p, uint64_t now) {
  counts c = {now, p->loop->ids, p->loop->tasks, atomic_load(&p->wakes)};
  p->failed = p->taken = p->preempted = p->starved = 0;
  return c;
}

static void report(perilune_loop *p, perilune_stats *s, const counts *was,
                   const limits *m) {
  peri_loop *l = p->loop;
  s->ns = l->poller->now() - was->begun;
  s->resumes = m->b.resumed;
  s->rounds = m->b.round;
  s->polls = m->polled;
  s->posts = p->taken;
  s->wakes = atomic_load(&p->wakes);
  atomic_fetch_sub(&p->wakes, s->wakes);
  s->spawned = l->ids - was->ids;
  s->done = s->spawned + was->tasks - l->tasks;
  s->failed = p->failed;
  s->preempted = p->preempted;
  s->live = l->tasks;
}

static int enter(perilune_loop *p) {
  int rc = peri_embed_check(p);
  if (rc) return rc;
  peri_loop *l = p->loop;
  if (p->stepping || l->running || l->callback || l->current != l->root)
    return PERILUNE_EREENTER;
  return lua_checkstack(p->L, LUA_MINSTACK) ? PERILUNE_OK : PERILUNE_ENOMEM;
}

int perilune_step(perilune_loop *p, const perilune_budget *b,
                  perilune_stats *s) {
  limits m;
  int rc = enter(p);
  if (rc) return rc;
  uint64_t now = p->loop->poller->now();
  if (s && s->size != sizeof *s) return PERILUNE_EARG;
  rc = set_limits(&m, b, now);
  if (rc) return rc;
  counts was = count(p, now);
  p->stepping = 1;
  step(p, &m);
  p->stepping = 0;
  if (s) report(p, s, &was, &m);
  return state_of(p);
}

/* }===================================================================== */

/* {== Waiting for the next one ========================================= */

int64_t perilune_timeout(perilune_loop *p) {
  int rc = peri_embed_check(p);
  if (rc) return rc == PERILUNE_ECLOSED ? -1 : 0;
  peri_loop *l = p->loop;
  if (peri_loop_due(l) || !peri_link_alone(&l->frames) ||
      atomic_load(&p->rung) || l->poller->due(l))
    return 0;
  if (!l->timers.count) return -1;
  uint64_t when = l->timers.at[0].when, now = l->poller->now();
  return when > now ? (int64_t)(when - now) : 0;
}

int perilune_fd(perilune_loop *p) {
  return peri_embed_check(p) ? -1 : p->loop->poller->fd(p->loop);
}

/* }===================================================================== */

/* {== Running ========================================================== */

/* Blocks until a step is useful, or `stop_at`. A poller without a descriptor
** cannot be woken by threads: it naps. */
static void block(perilune_loop *p, uint64_t stop_at) {
  peri_loop *l = p->loop;
  int64_t wait = perilune_timeout(p);
  uint64_t now = l->poller->now();
  uint64_t left = stop_at > now ? stop_at - now : 0;
  if (l->poller->fd(l) < 0 && (wait < 0 || wait > NAP)) wait = NAP;
  if (stop_at != UINT64_MAX && (wait < 0 || (uint64_t)wait > left))
    wait = (int64_t)left;
  if (wait) peri_loop_poll(l, wait);
}

static int is_done(const perilune_loop *p, const perilune_future *f) {
  return f ? peri_embed_is_settled(f) : !p->loop->tasks;
}

int perilune_run(perilune_loop *p, perilune_future *until, double seconds) {
  int rc = enter(p);
  if (rc) return rc;
  if (isnan(seconds) || p->loop->attached) return PERILUNE_EARG;
  uint64_t ns = seconds < 1e9 ? (uint64_t)(seconds * 1e9) : 0;
  uint64_t stop_at = seconds < 0 || !ns ? UINT64_MAX
                                        : p->loop->poller->now() + ns;
  if (seconds >= 0 && seconds < 1e-9) stop_at = 0;
  while (!is_done(p, until)) {
    rc = perilune_step(p, NULL, NULL);
    if (rc < 0 || is_done(p, until)) break;
    if (rc == PERILUNE_IDLE && !atomic_load(&p->rung)) return rc;
    if (p->loop->poller->now() >= stop_at) return PERILUNE_ETIMEDOUT;
    block(p, stop_at);
  }
  return rc < 0 ? rc : PERILUNE_OK;
}

/* }===================================================================== */

/* {== In a host's own loop ============================================= */

#define SHARE 10000000 /* nanoseconds of an iteration */

static void step_in_turn(peri_loop *l) {
  static const perilune_budget b = {sizeof b, SHARE, 0, 0, 0};
  perilune_step(l->host, &b, NULL);
}

static int64_t wait_in_turn(peri_loop *l) {
  return perilune_timeout(l->host);
}

const peri_driver peri_embed_driver = {step_in_turn, wait_in_turn};

/* }===================================================================== */
