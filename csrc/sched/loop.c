/*
** loop.c - the loop: ready list, timers, the turn.
**
** A turn polls, appends what came, appends due timers, and runs that
** snapshot; what it makes ready waits for the next turn. Nothing here
** raises or allocates: a turn runs outside of any protected call.
**
** The loop is a Lua userdata; its heap is freed when that is finalized.
**
** SPDX-License-Identifier: MIT
*/
#include "loop.h"

#include <assert.h>

#define SHARE_TURNS 16      /* while only ready work runs, this many turns */
#define SHARE_TIME 100000   /* ... or nanoseconds share one poll */
#define STEP_ROUNDS 16      /* rounds of a hosted step */
#define NS_MAX (UINT64_MAX / 2)

void *peri_realloc(peri_loop *l, void *p, size_t old, size_t size) {
  if (!p && !size) return NULL;
  if (l->dead && size) return NULL;
  return l->alloc(l->alloc_ud, p, p ? old : 0, size);
}

void peri_loop_init(peri_loop *l, lua_State *L) {
  peri_link_init(&l->reaper.link);
  peri_link_init(&l->frames);
  peri_link_init(&l->ready);
  peri_link_init(&l->batch);
  peri_link_init(&l->leaving);
  peri_link_init(&l->resting);
  peri_link_init(&l->rested);
  peri_link_init(&l->hooked);
  l->alloc = lua_getallocf(L, &l->alloc_ud);
  l->home = "home";
}

/* Calls and forgets what waits for the end of an activation. */
static void leave(peri_loop *l, peri_link *list) {
  while (!peri_link_alone(list)) {
    peri_leaving *v = PERI_OF(list->next, peri_leaving, link);
    peri_link_out(&v->link);
    v->leave(l, v);
  }
}

/* The activation has ended, or only rests until the next turn. */
static void end_activation(peri_loop *l) {
  if (!l->rests) {
    leave(l, &l->leaving);
    return;
  }
  l->rests = 0;
  peri_list_splice(&l->resting, &l->leaving);
}

/* {== The turn ========================================================= */

int64_t peri_loop_wait(const peri_loop *l) {
  if (peri_loop_due(l) || !peri_link_alone(&l->frames)) return 0;
  if (!l->timers.count) return PERI_FOREVER;
  uint64_t when = l->timers.at[0].when;
  return when <= l->now ? 0 : (int64_t)(when - l->now);
}

void peri_loop_poll(peri_loop *l, int64_t timeout) {
  if (l->probe) timeout = l->probe->ask(l, timeout);
  l->polling = 1;
  l->poller->poll(l, timeout);
  l->polling = l->attached != NULL; /* to the host's loop, that is always */
  l->unpolled = 0;
  if (!l->manual) l->now = l->poller->now();
  l->polled = l->now;
}

/* A test's clock: time passes only when there is nothing else to do, and the
** turn would wait. */
static void jump(peri_loop *l) {
  if (l->autojump && !peri_loop_busy(l) && l->timers.count &&
      l->timers.at[0].when > l->now)
    l->now = l->timers.at[0].when;
}

static int64_t block_for(const peri_loop *l, int64_t limit) {
  int64_t wait = peri_loop_wait(l);
  if (l->manual && l->autojump) return wait == PERI_FOREVER ? limit : 0;
  if (wait == PERI_FOREVER || (l->manual && wait)) return limit;
  return limit < 0 || wait < limit ? wait : limit;
}

static int stuck(peri_loop *l) {
  if (l->timers.count && (!l->manual || l->autojump)) return 0;
  return !l->holds && !l->poller->alive(l);
}

static int poll(peri_loop *l, int64_t limit) {
  if (!l->manual) l->now = l->poller->now();
  if (!peri_link_alone(&l->ready) || l->moved) {
    if (++l->unpolled >= SHARE_TURNS || l->now - l->polled >= SHARE_TIME)
      peri_loop_poll(l, 0);
    return 0;
  }
  leave(l, &l->rested); /* of one that was ended by force */
  if (limit < 0 && stuck(l)) return PERI_STUCK;
  peri_loop_poll(l, block_for(l, limit));
  if (l->manual && limit) jump(l);
  return 0;
}

static void fire_due(peri_loop *l, peri_heap *h, uint64_t now) {
  while (h->count && h->at[0].when <= now) {
    peri_timer *t = h->at[0].timer;
    peri_heap_remove(h, t);
    t->fire(l, t);
  }
}

/* The loop's own clock is the oldest. */
void peri_loop_fire(peri_loop *l) {
  fire_due(l, &l->timers, l->now);
  if (!l->moved) return;
  l->moved = 0;
  for (uint32_t i = 1; i < l->clock_count; i++)
    fire_due(l, &l->clocks[i]->timers, l->clocks[i]->now);
}

/* Who waits there is ready as it is, see emit.c: nobody is looked at. */
void peri_loop_frame(peri_loop *l) {
  l->frame_count++;
  peri_list_splice(&l->ready, &l->frames);
}

/* Puts what was left over in front of what came since. */
static void put_back(peri_loop *l) {
  peri_list_splice(&l->batch, &l->ready);
  peri_list_splice(&l->ready, &l->batch);
}

static void run_batch(peri_loop *l, lua_State *L) {
  while (!peri_link_alone(&l->batch)) {
    peri_runnable *r = PERI_OF(l->batch.next, peri_runnable, link);
    peri_link_out(&r->link);
    r->run(l, r, L);
    end_activation(l);
    if (peri_loop_forked(l)) put_back(l); /* the parent runs the others */
  }
}

static int spent(const peri_loop *l, peri_budget *b) {
  if (b->resumed >= b->resumes || peri_loop_forked(l)) return 1;
  if (b->stop_at == UINT64_MAX) return 0;
  b->looked = l->poller->now();
  return b->looked >= b->stop_at;
}

/* The same in a hosted step, which has a budget, and in debug. */
static void run_some(peri_loop *l, lua_State *L, peri_budget *b) {
  while (!peri_link_alone(&l->batch)) {
    peri_runnable *r = PERI_OF(l->batch.next, peri_runnable, link);
    if (l->before) l->before(l, r, b);
    if (l->batch.next == &r->link) {
      peri_link_out(&r->link);
      r->run(l, r, L);
      end_activation(l);
    }
    if (l->after) l->after(l);
    b->resumed++;
    if (spent(l, b)) put_back(l);
    if (l->watch) l->watch(l, L); /* of what is left to be run now */
  }
}

/* xorshift: good enough to find specs that depend on the order. */
static uint32_t random_below(peri_loop *l, uint32_t n) {
  l->seed ^= l->seed << 13;
  l->seed ^= l->seed >> 17;
  l->seed ^= l->seed << 5;
  return (uint32_t)((uint64_t)l->seed * n >> 32);
}

static void shuffle(peri_loop *l) {
  peri_link all;
  uint32_t n = 0;
  peri_link_init(&all);
  peri_list_splice(&all, &l->batch);
  for (peri_link *k = all.next; k != &all; k = k->next) n++;
  for (; n; n--) {
    peri_link *k = all.next;
    for (uint32_t i = random_below(l, n); i; i--) k = k->next;
    peri_link_out(k);
    peri_list_append(&l->batch, k);
  }
}

static void begin_round(peri_loop *l, lua_State *L) {
  assert(!l->running);
  l->running = 1;
  l->turns++;
  leave(l, &l->leaving);
  peri_list_splice(&l->batch, &l->ready);
  if (l->shuffle) shuffle(l);
  if (l->probe) l->probe->turn(l);
  if (l->watch) l->watch(l, L);
}

static void end_round(peri_loop *l) {
  leave(l, &l->rested);
  peri_list_splice(&l->rested, &l->resting);
  l->running = 0;
}

void peri_loop_watch(peri_loop *l, peri_watch_fn fn) {
  l->watch = fn;
}

void peri_loop_flush(peri_loop *l, lua_State *L) {
  peri_budget all = {UINT64_MAX, UINT32_MAX, 1, 0, 0, 0};
  begin_round(l, L);
  if (l->watch || l->before)
    run_some(l, L, &all);
  else
    run_batch(l, L);
  end_round(l);
}

int peri_loop_round(peri_loop *l, lua_State *L, peri_budget *b) {
  begin_round(l, L);
  run_some(l, L, b);
  end_round(l);
  return ++b->round < b->rounds && !spent(l, b);
}

void peri_loop_step(peri_loop *l, lua_State *L, uint64_t stop_at) {
  peri_budget b = {stop_at, UINT32_MAX, STEP_ROUNDS, 0, 0, 0};
  peri_loop_frame(l);
  peri_loop_poll(l, 0);
  peri_loop_fire(l);
  while (peri_loop_busy(l) && peri_loop_round(l, L, &b)) continue;
}

int peri_loop_turn(peri_loop *l, lua_State *L, int64_t limit) {
  if (poll(l, limit)) return PERI_STUCK;
  peri_loop_fire(l);
  peri_loop_flush(l, L);
  return 0;
}

/* }===================================================================== */

uint64_t peri_time_after(uint64_t now, double seconds) {
  double ns = seconds * 1e9;
  if (!(ns > 0)) return now;
  /* A float of a nanosecond count is not exact: never fire early. */
  return ns < (double)NS_MAX ? now + (uint64_t)ns : now + NS_MAX;
}

/* {== Lua values that the loop holds =================================== */

void peri_stash_set(peri_loop *l, lua_State *L, int index) {
  lua_xmove(L, l->stash, 1);
  lua_replace(l->stash, index);
}

/* The write is done on L and not on the stash: it may raise, and an error
** on a thread that does not run has nowhere to go. */
void peri_anchor(lua_State *L, peri_loop *l, int idx, const void *p) {
  idx = lua_absindex(L, idx);
  peri_stash_push(l, L, PERI_STASH_OBJECTS);
  lua_pushvalue(L, idx);
  lua_rawsetp(L, -2, p);
  lua_pop(L, 1);
}

void peri_unanchor(peri_loop *l, const void *p) {
  lua_State *S = l->stash;
  if (lua_rawgetp(S, PERI_STASH_OBJECTS, p) != LUA_TNIL) {
    lua_pushnil(S); /* the key exists, so this allocates nothing */
    lua_rawsetp(S, PERI_STASH_OBJECTS, p);
  }
  lua_pop(S, 1);
}

void peri_push_anchored(peri_loop *l, lua_State *L, const void *p) {
  lua_rawgetp(l->stash, PERI_STASH_OBJECTS, p);
  lua_xmove(l->stash, L, 1);
}

/* }===================================================================== */
