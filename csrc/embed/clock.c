/*
** clock.c - clocks that a host moves, and signals that it gives.
**
** The handles come from malloc, as they outlive the Lua state: the loop's
** block has them in lists, and they are freed along with it. What they point
** to is valid as long as the loop is there.
**
** SPDX-License-Identifier: MIT
*/
#include <lauxlib.h>
#include <stdlib.h>

#include "embed.h"
#include "sched/clock.h"
#include "sched/emit.h"

#ifdef PERILUNE_NO_UV
#include "sched/nopoll.h"
#define real_now peri_nopoll_now
#else
#include "io/outside.h"
#define real_now peri_outside_now
#endif

struct perilune_clock {
  perilune_loop *p;
  peri_clock *clock;
  perilune_clock *next;
};

struct perilune_signal {
  perilune_loop *p;
  peri_emitter *emitter;
  perilune_signal *next;
};

/* With the last reference to the loop's block. */
void peri_embed_free_clocks(perilune_loop *p) {
  for (perilune_clock *c = p->clocks, *next; c; c = next) {
    next = c->next;
    free(c);
  }
  for (perilune_signal *s = p->signals, *next; s; s = next) {
    next = s->next;
    free(s);
  }
}

/* {== Clocks =========================================================== */

typedef struct making {
  const char *name;
  void *made;
} making;

static void clock_body(lua_State *L, perilune_loop *p, void *arg) {
  making *m = arg;
  m->made = peri_clock_push(L, p->loop, m->name);
}

static perilune_clock *clock_handle(perilune_loop *p, peri_clock *clock) {
  perilune_clock *c = p->clocks;
  while (c && c->clock != clock) c = c->next;
  if (c || !(c = malloc(sizeof *c))) return c;
  *c = (perilune_clock){p, clock, p->clocks};
  return p->clocks = c;
}

perilune_clock *perilune_clock_new(perilune_loop *p, const char *name) {
  making m = {name, NULL};
  if (peri_embed_check(p)) return NULL;
  if (peri_embed_call(p, p->L, clock_body, &m, 0)) return NULL;
  return clock_handle(p, m.made);
}

int perilune_clock_advance(perilune_clock *c, int64_t ns) {
  int rc = peri_embed_check(c->p);
  if (rc) return rc;
  if (ns < 0) return PERILUNE_EARG;
  if (!peri_clock_advance(c->p->loop, c->clock, (uint64_t)ns))
    return PERILUNE_EARG;
  return PERILUNE_OK;
}

int64_t perilune_clock_now(const perilune_clock *c) {
  if (!c) return (int64_t)real_now();
  if (peri_embed_check(c->p)) return 0;
  return (int64_t)(c->clock->number ? c->clock->now : real_now());
}

int peri_embed_clock(const perilune_loop *p, const perilune_clock *c) {
  return c->p == p ? (int)c->clock->number : -1;
}

/* }===================================================================== */

/* {== Signals ========================================================== */

static void signal_body(lua_State *L, perilune_loop *p, void *arg) {
  making *m = arg;
  m->made = peri_emitter_push(L, p->loop, m->name);
}

static perilune_signal *signal_handle(perilune_loop *p, peri_emitter *e) {
  perilune_signal *s = p->signals;
  while (s && s->emitter != e) s = s->next;
  if (s || !(s = malloc(sizeof *s))) return s;
  *s = (perilune_signal){p, e, p->signals};
  return p->signals = s;
}

perilune_signal *perilune_signal_new(perilune_loop *p, const char *name) {
  making m = {name, NULL};
  if (!name || peri_embed_check(p)) return NULL;
  if (peri_embed_call(p, p->L, signal_body, &m, 0)) return NULL;
  return signal_handle(p, m.made);
}

typedef struct emission {
  peri_emitter *emitter;
  int woken;
} emission;

static void emit_body(lua_State *L, perilune_loop *p, void *arg) {
  emission *e = arg;
  e->woken = peri_emitter_send(L, p->loop, e->emitter, lua_gettop(L));
}

int perilune_emit(perilune_signal *s, lua_State *L, int n) {
  emission e = {s->emitter, 0};
  int rc = peri_embed_check(s->p);
  if (!rc && (n < 0 || n > PERI_EMIT_VALUES)) rc = PERILUNE_EARG;
  if (rc) {
    peri_embed_pop(s->p, L, n);
    return rc;
  }
  rc = peri_embed_call(s->p, L, emit_body, &e, n);
  return rc ? rc : e.woken;
}

/* }===================================================================== */

/* {== Sleeping, in C functions that tasks call ========================= */

static int nothing_k(lua_State *L, int status, lua_KContext ctx) {
  (void)L;
  (void)status;
  (void)ctx;
  return 0;
}

int perilune_sleep(lua_State *L, perilune_clock *c, int64_t ns,
                   lua_KFunction k, lua_KContext ctx) {
  perilune_loop *p = perilune_get(L);
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  if (!p) return luaL_error(L, "there is no open loop");
  int number = c ? peri_embed_clock(p, c) : (int)peri_clock_here(p->loop);
  if (number < 0) return luaL_error(L, "the clock is of another loop");
  if (!k) k = nothing_k;
  peri_stash_push(p->loop, L, PERI_STASH_SLEEP);
  lua_pushinteger(L, number);
  lua_pushinteger(L, ns);
  lua_callk(L, 2, 0, ctx, k);
  return k(L, LUA_OK, ctx);
}

/* }===================================================================== */
