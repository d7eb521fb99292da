/*
** probe.c - what tests set and see in the scheduler: the clock, the order of
** what is ready, a limit in real time, and waits, which it counts and
** cancels.
**
** Lua side: core.manual, shuffle; core.probe -> probe: waits,
** `<close>`. There is one probe at a time. The loop points to it, and keeps
** it alive, until it is closed; its user value keeps the scope that it
** cancels.
**
** SPDX-License-Identifier: MIT
*/
#include "probe.h"

#include "block.h"
#include "error.h"

#define PROBE "perilune.probe"

/* When the task that makes a wait is cancelled: as it begins to wait, once it
** is parked, some turns later, or once it was woken, before it runs. */
enum { ENTRY, PARKED, LATER, WOKEN };

typedef struct probe {
  peri_probe hooks;
  peri_block *body;    /* what is cancelled */
  uint64_t limit;      /* on the poller's clock */
  uint32_t waits;      /* so far, of all tasks but the main chunk's */
  uint32_t at;         /* the wait at which to cancel, 0: none */
  uint8_t when;        /* ENTRY, PARKED, LATER, WOKEN */
  uint8_t single;      /* cancels the task that waits, and not the body */
  uint8_t cancelled;   /* that was done */
  uint32_t coin;       /* tossed each turn for LATER; of the same seed */
  peri_leaving leaving; /* while the task begins that wait */
  peri_task *task;     /* it, until that was done; in this wait still */
} probe;

/* {== Clock and order ================================================== */

/* core.manual(on, autojump [, seconds]): the clock stands still, or runs
** again; where no timer would notice, it is first set to `seconds`. */
static int manual(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  l->manual = lua_toboolean(L, 1) != 0;
  l->autojump = l->manual && lua_toboolean(L, 2);
  if (!l->manual)
    l->now = l->poller->now();
  else if (!lua_isnoneornil(L, 3) && !l->timers.count)
    l->now = (uint64_t)luaL_checkinteger(L, 3) * 1000000000;
  return 0;
}

/* Spreads seeds that differ little; never 0, which has no successor. */
static uint32_t spread(uint32_t seed) {
  seed = (seed ^ seed >> 16) * 0x7feb352du;
  seed = (seed ^ seed >> 15) * 0x846ca68bu;
  seed ^= seed >> 16;
  return seed ? seed : 1;
}

/* core.shuffle(seed): runs what is ready in a random order; nil or 0: in
** order. */
static int shuffle(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  lua_Integer seed = luaL_optinteger(L, 1, 0);
  l->shuffle = seed != 0;
  l->seed = spread((uint32_t)seed);
  return 0;
}

/* }===================================================================== */

/* {== Hooks ============================================================ */

static probe *probe_of(peri_loop *l) {
  return PERI_OF(l->probe, probe, hooks);
}

/* The task of the body is not one to be cancelled alone: more than the body
** would go with it. */
static void cancel(peri_loop *l, probe *p, peri_task *t) {
  p->task = NULL;
  if (!p->body->task || (p->single && t == p->body->task)) return;
  p->cancelled = 1;
  peri_scope_cancel(l, p->single ? &t->scope : &p->body->scope,
                    PERI_CAUSE_CANCEL);
}

/* Has the limit passed? Whoever polls does so, also while the clock of the
** loop stands still. */
static int64_t ask(peri_loop *l, int64_t timeout) {
  probe *p = probe_of(l);
  if (p->limit == UINT64_MAX) return timeout;
  uint64_t now = l->poller->now();
  if (now < p->limit) {
    int64_t left = (int64_t)(p->limit - now);
    return timeout < 0 || left < timeout ? left : timeout;
  }
  p->limit = UINT64_MAX;
  if (p->body->task)
    peri_scope_cancel(l, &p->body->scope, PERI_CAUSE_DEADLINE);
  return 0;
}

/* The activation in which that wait began is over. A task that has ended
** meanwhile did not park: its phase can still be looked at, as nothing was
** allocated since. */
static void begun(peri_loop *l, peri_leaving *v) {
  probe *p = PERI_OF(v, probe, leaving);
  peri_task *t = p->task;
  if (t->out.phase == PERI_RUNNING)
    p->task = NULL;
  else if (p->when == PARKED && t->out.phase == PERI_ARMED)
    cancel(l, p, t);
}

static int toss(probe *p) {
  p->coin = p->coin * 1664525u + 1013904223u;
  return p->coin >> 31;
}

/* A task in this wait is at rest: parked, woken, or being cancelled. */
static void turn(peri_loop *l) {
  probe *p = probe_of(l);
  peri_task *t = p->task;
  if (!t) return;
  switch (t->out.phase) {
    case PERI_ARMED:
      if (p->when == LATER && toss(p)) cancel(l, p, t);
      return;
    case PERI_COMPLETED:
      if (p->when == WOKEN) cancel(l, p, t);
  }
  p->task = NULL;
}

/* That the burst begins anew keeps the activation from going on in another
** turn because of this wait. */
static void enter(peri_loop *l) {
  probe *p = probe_of(l);
  peri_task *t = l->current;
  if (t == l->root) return;
  if (!peri_link_alone(&p->leaving.link)) { /* it did not park */
    peri_link_out(&p->leaving.link);
    p->task = NULL;
  }
  if (++p->waits != p->at) return;
  if (p->when == ENTRY) {
    cancel(l, p, t);
    return;
  }
  p->task = t;
  l->burst = 0;
  peri_loop_leave(l, &p->leaving);
}

/* }===================================================================== */

/* {== Lua side ========================================================= */

static probe *check_probe(lua_State *L) {
  return luaL_checkudata(L, 1, PROBE);
}

static uint64_t real_limit(lua_State *L, const peri_loop *l, int arg) {
  lua_Number s = luaL_checknumber(L, arg);
  if (!(s * 1e9 < (lua_Number)(INT64_MAX / 2))) return UINT64_MAX;
  return l->poller->now() + (s > 0 ? (uint64_t)(s * 1e9) : 0);
}

static void probe_init(lua_State *L, peri_loop *l, probe *p) {
  static const char *const whens[] = {"entry", "parked", "later", "woken",
                                       NULL};
  p->body = peri_block_check(L, 1);
  p->limit = real_limit(L, l, 2);
  p->waits = p->cancelled = 0;
  p->at = (uint32_t)luaL_optinteger(L, 3, 0);
  p->when = (uint8_t)luaL_checkoption(L, 4, "entry", whens);
  p->single = (uint8_t)lua_toboolean(L, 5);
  p->coin = l->seed + p->at;
  p->task = NULL;
  p->leaving.leave = begun;
  peri_link_init(&p->leaving.link);
  p->hooks = (peri_probe){ask, turn, enter};
}

/*
** core.probe(scope, seconds [, at [, when [, single]]]) -> probe. Cancels the
** scope, as its deadline does, when so many real seconds have passed. With
** `at` it counts waits, and cancels it at the one of that number (0: none):
** `when` it begins ("entry"), is "parked", in a "later" turn than that, or was
** "woken"; or, with `single`,
** the task that waits, if that is not the one of the scope.
*/
static int new_probe(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  int counts = !lua_isnoneornil(L, 3);
  lua_settop(L, 5);
  if (l->probe) return peri_error_raise(L, "EPERM", "there is a probe");
  probe *p = lua_newuserdatauv(L, sizeof *p, 1);
  probe_init(L, l, p);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  luaL_setmetatable(L, PROBE);
  peri_anchor(L, l, -1, p);
  l->probe = &p->hooks;
  l->probed = counts != 0;
  return 1;
}

/* probe:waits() -> how many so far, whether one was cancelled. */
static int probe_waits(lua_State *L) {
  probe *p = check_probe(L);
  lua_pushinteger(L, p->waits);
  lua_pushboolean(L, p->cancelled);
  return 2;
}

static int probe_close(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  probe *p = check_probe(L);
  if (l->probe != &p->hooks) return 0;
  peri_link_out(&p->leaving.link);
  l->probe = NULL;
  l->probed = 0;
  peri_unanchor(l, p);
  return 0;
}

/* }===================================================================== */

static const luaL_Reg functions[] = {
  {"manual", manual}, {"shuffle", shuffle},
  {"probe", new_probe}, {NULL, NULL}};

static const luaL_Reg methods[] = {
  {"waits", probe_waits}, {"__close", probe_close}, {NULL, NULL}};

void peri_probe_open(lua_State *L, peri_loop *l) {
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, functions, 1);
  luaL_newmetatable(L, PROBE);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, methods, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}
