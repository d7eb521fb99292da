/*
** future.c - futures that a host settles, from any thread.
**
** A perilune_future comes from malloc, as any thread may let go of it. It is
** a node of the list of posts as well: settling it later allocates nothing.
** The loop anchors the Lua future under the address of the perilune_future
** until that is freed.
**
** What waits for it is looked at by its loop after each step if the host wants
** to know when nobody does: `watched` is in the loop's list then.
**
** `state` goes one way, from FRESH to POSTED or SETTLED; whoever takes it
** from FRESH has the right to settle. While it is POSTED the list of posts
** holds the reference that was given with the post.
**
** SPDX-License-Identifier: MIT
*/
#include <stdlib.h>
#include <string.h>

#include "embed.h"
#include "sched/error.h"
#include "sched/future.h"

enum { FRESH, POSTED, SETTLED };

/* The Lua side: as any future, but for its size. */
typedef struct shown {
  peri_outcome outcome;
  perilune_future *of; /* NULL once that is freed */
} shown;

struct perilune_future {
  perilune_job job;
  perilune_loop *p;
  peri_outcome *outcome; /* of a `shown`; valid as long as the loop is there */
  peri_link watched;
  void (*abandoned)(void *ud);
  void *abandoned_ud;
  int had; /* somebody has waited for it */
  atomic_uint refs;
  atomic_int state;
  int type; /* PERILUNE_..., or one of those below */
  int called; /* `push` */
  union {
    perilune_value v;
    struct {
      int (*push)(lua_State *L, void *ud);
      void (*drop)(void *ud);
      void *ud;
    } call;
  } u;
  char text[PERILUNE_STRING_MAX];
};

#define CALL (-1)   /* values are pushed by a function */
#define BROKEN (-2) /* dropped unsettled */
#define LOST (-3)   /* pushed, but there was no memory to keep that */

static int claim(perilune_future *f, int state) {
  int fresh = FRESH;
  return atomic_compare_exchange_strong(&f->state, &fresh, state);
}

int peri_embed_is_settled(const perilune_future *f) {
  return !f->p->loop || f->outcome->state != PERI_PENDING;
}

/* {== Letting go ======================================================= */

static void free_future(perilune_future *f) {
  perilune_loop *p = f->p;
  if (p->loop) {
    PERI_OF(f->outcome, shown, outcome)->of = NULL;
    peri_unanchor(p->loop, f);
  }
  peri_link_out(&f->watched);
  free(f);
  peri_embed_release(p);
}

static void free_later(perilune_loop *p, perilune_job *j) {
  (void)p;
  free_future(PERI_OF(j, perilune_future, job));
}

static void free_dropped(perilune_job *j) {
  perilune_future *f = PERI_OF(j, perilune_future, job);
  perilune_loop *p = f->p;
  free(f);
  peri_embed_release(p);
}

static int send(perilune_future *f) {
  atomic_fetch_add(&f->p->waiting, 1);
  return peri_embed_post(f->p, &f->job);
}

/* Only the loop's thread lets go of what Lua has. */
static void last_release(perilune_future *f) {
  if (f->p->thread == peri_embed_thread()) {
    free_future(f);
    return;
  }
  f->job.fn = free_later;
  f->job.drop = free_dropped;
  if (send(f)) free_dropped(&f->job);
}

static void settle_posted(perilune_loop *p, perilune_job *j);
static void drop_posted(perilune_job *j);

static int post(perilune_future *f, int type) {
  f->type = type;
  f->job.fn = settle_posted;
  f->job.drop = drop_posted;
  int rc = send(f);
  if (rc) drop_posted(&f->job);
  return rc;
}

void perilune_future_release(perilune_future *f) {
  if (!f || atomic_fetch_sub(&f->refs, 1) != 1) return;
  if (claim(f, POSTED)) {
    atomic_store(&f->refs, 1); /* that of the post */
    post(f, BROKEN);
  } else {
    last_release(f);
  }
}

perilune_future *perilune_future_retain(perilune_future *f) {
  atomic_fetch_add(&f->refs, 1);
  return f;
}

/* }===================================================================== */

/* {== Settling ========================================================= */

static void push_value(lua_State *L, const perilune_value *v) {
  switch (v->type) {
    case PERILUNE_BOOL: lua_pushboolean(L, v->u.i != 0); break;
    case PERILUNE_INT: lua_pushinteger(L, (lua_Integer)v->u.i); break;
    case PERILUNE_NUMBER: lua_pushnumber(L, v->u.n); break;
    case PERILUNE_POINTER: lua_pushlightuserdata(L, v->u.p); break;
    case PERILUNE_STRING:
    case PERILUNE_ERROR: lua_pushlstring(L, v->u.str.s, v->u.str.n); break;
    default: lua_pushnil(L); break;
  }
}

static void push_future(lua_State *L, peri_loop *l, const perilune_future *f) {
  peri_push_anchored(l, L, f);
}

/* The function may have left other things below what it returns. */
static void push_called(lua_State *L, perilune_future *f) {
  f->called = 1;
  int n = f->u.call.push(L, f->u.call.ud);
  if (n < 0 || n > lua_gettop(L) - 1)
    peri_error_raise(L, "EINVAL", "a posted function returned %d", n);
  while (lua_gettop(L) > n + 1) lua_remove(L, 2);
}

/* Protected: settles with what was posted. */
static void settle_body(lua_State *L, perilune_loop *p, void *arg) {
  perilune_future *f = arg;
  int state = PERI_DONE;
  push_future(L, p->loop, f);
  if (f->type == CALL) {
    push_called(L, f);
  } else if (f->type == LOST) {
    lua_pushliteral(L, "not enough memory");
    state = PERI_FAILED;
  } else if (f->type == BROKEN) {
    peri_error_new(L, "EBROKEN", "the write end of the future was dropped");
    state = PERI_FAILED;
  } else {
    push_value(L, &f->u.v);
    if (f->type == PERILUNE_ERROR) state = PERI_FAILED;
  }
  peri_future_settle(L, p->loop, state);
}

/* ... and with the error of that. */
static void fail_body(lua_State *L, perilune_loop *p, void *arg) {
  push_future(L, p->loop, arg);
  lua_insert(L, 1);
  peri_future_settle(L, p->loop, PERI_FAILED);
}

/* 0 if there was no memory for it: then it is tried again later. */
static int settle_now(perilune_loop *p, perilune_future *f) {
  int rc = peri_embed_try(p, p->L, settle_body, f, 0);
  if (!rc) return 1;
  if (rc == PERILUNE_ENOMEM && !f->called) {
    lua_pop(p->L, 1);
    return 0;
  }
  if (!peri_embed_call(p, p->L, fail_body, f, 1)) return 1;
  f->type = LOST;
  return 0;
}

static void drop_call(perilune_future *f) {
  if (f->type == CALL && f->u.call.drop) f->u.call.drop(f->u.call.ud);
}

static void settle_posted(perilune_loop *p, perilune_job *j) {
  perilune_future *f = PERI_OF(j, perilune_future, job);
  if (f->outcome->state != PERI_PENDING) { /* a script has settled it */
    drop_call(f);
  } else if (!settle_now(p, f)) {
    p->starved = 1;
    post(f, f->type);
    return;
  }
  atomic_store(&f->state, SETTLED);
  p->loop->holds--;
  perilune_future_release(f);
}

/* The loop ends, or has ended: nobody waits any more. */
static void drop_posted(perilune_job *j) {
  perilune_future *f = PERI_OF(j, perilune_future, job);
  drop_call(f);
  atomic_store(&f->state, SETTLED);
  if (atomic_fetch_sub(&f->refs, 1) == 1) free_dropped(j);
}

/* }===================================================================== */

/* {== Posting ========================================================== */

static void copy_value(perilune_future *f, const perilune_value *v) {
  f->u.v = *v;
  if (v->type != PERILUNE_STRING && v->type != PERILUNE_ERROR) return;
  if (v->u.str.n) memcpy(f->text, v->u.str.s, v->u.str.n);
  f->u.v.u.str.s = f->text;
}

static int check_value(const perilune_value *v) {
  if (!v || v->type < PERILUNE_NIL || v->type > PERILUNE_ERROR)
    return PERILUNE_EARG;
  if (v->type != PERILUNE_STRING && v->type != PERILUNE_ERROR)
    return PERILUNE_OK;
  if (!v->u.str.s && v->u.str.n) return PERILUNE_EARG;
  return v->u.str.n > PERILUNE_STRING_MAX ? PERILUNE_EFULL : PERILUNE_OK;
}

int perilune_post_value(perilune_future *f, const perilune_value *v) {
  int rc = check_value(v);
  if (rc) return rc;
  if (!claim(f, POSTED)) {
    perilune_future_release(f);
    return PERILUNE_EDONE;
  }
  copy_value(f, v);
  return post(f, v->type);
}

int perilune_post_call(perilune_future *f,
                       int (*push)(lua_State *L, void *ud),
                       void (*drop)(void *ud), void *ud) {
  if (!push || !claim(f, POSTED)) {
    if (drop) drop(ud);
    perilune_future_release(f);
    return push ? PERILUNE_EDONE : PERILUNE_EARG;
  }
  f->u.call.push = push;
  f->u.call.drop = drop;
  f->u.call.ud = ud;
  return post(f, CALL);
}

/* }===================================================================== */

/* {== On the loop's thread ============================================= */

/* What could not be anchored may be collected at once. */
static void new_body(lua_State *L, perilune_loop *p, void *arg) {
  perilune_future *f = arg;
  peri_outcome *o = peri_future_new(L, p->loop, sizeof(shown));
  PERI_OF(o, shown, outcome)->of = NULL;
  peri_anchor(L, p->loop, -1, f);
  PERI_OF(o, shown, outcome)->of = f;
  f->outcome = o;
}

int perilune_future_new(perilune_loop *p, perilune_future **out) {
  *out = NULL;
  int rc = peri_embed_check(p);
  if (rc) return rc;
  perilune_future *f = calloc(1, sizeof *f);
  if (!f) return PERILUNE_ENOMEM;
  f->p = p;
  peri_link_init(&f->watched);
  rc = peri_embed_call(p, p->L, new_body, f, 0);
  if (rc) {
    free(f);
    return rc;
  }
  atomic_init(&f->refs, 1);
  atomic_init(&f->state, FRESH);
  peri_embed_retain(p);
  p->loop->holds++;
  *out = f;
  return PERILUNE_OK;
}

typedef struct settling {
  perilune_future *f;
  int state, fresh;
} settling;

static void values_body(lua_State *L, perilune_loop *p, void *arg) {
  settling *s = arg;
  peri_error_room(L, 1);
  push_future(L, p->loop, s->f);
  lua_insert(L, 1);
  s->fresh = peri_future_settle(L, p->loop, s->state);
}

/* Out of memory it is as it was. */
static int settle(perilune_future *f, lua_State *L, int n, int state) {
  settling s = {f, state, 0};
  int rc = peri_embed_check(f->p);
  if (!rc && n < 0) rc = PERILUNE_EARG;
  if (!rc && !claim(f, SETTLED)) rc = PERILUNE_EDONE;
  if (rc) {
    peri_embed_pop(f->p, L, n);
    return rc;
  }
  rc = peri_embed_call(f->p, L, values_body, &s, n);
  if (rc) {
    atomic_store(&f->state, FRESH);
    return rc;
  }
  f->p->loop->holds--;
  return s.fresh ? PERILUNE_OK : PERILUNE_EDONE;
}

int perilune_future_done(perilune_future *f, lua_State *L, int n) {
  return settle(f, L, n, PERI_DONE);
}

int perilune_future_fail(perilune_future *f, lua_State *L) {
  return settle(f, L, 1, PERI_FAILED);
}

void perilune_future_push(lua_State *L, perilune_future *f) {
  luaL_checkstack(L, 1, NULL);
  if (peri_embed_check(f->p))
    luaL_error(L, "the loop of this future is closed");
  push_future(L, f->p->loop, f);
}

/* }===================================================================== */

/* {== In scripts ======================================================= */

perilune_future *perilune_future_check(lua_State *L, int idx) {
  perilune_loop *p = perilune_get(L);
  luaL_checkstack(L, 2, NULL);
  peri_outcome *o = p ? peri_outcome_test(L, p->loop, idx) : NULL;
  if (!o || o->kind != PERI_FUTURE || lua_rawlen(L, idx) != sizeof(shown))
    luaL_typeerror(L, idx, "future of the host");
  perilune_future *f = PERI_OF(o, shown, outcome)->of;
  if (!f) luaL_argerror(L, idx, "the host has let go of this future");
  return f;
}

int perilune_future_on_abandon(perilune_future *f, void (*fn)(void *ud),
                               void *ud) {
  int rc = peri_embed_check(f->p);
  if (rc) return rc;
  if (!fn) return PERILUNE_EARG;
  if (f->abandoned || peri_embed_is_settled(f)) return PERILUNE_EDONE;
  f->abandoned = fn;
  f->abandoned_ud = ud;
  peri_list_append(&f->p->watched, &f->watched);
  return PERILUNE_OK;
}

static int is_pending(const perilune_future *f) {
  return !peri_embed_is_settled(f) && atomic_load(&f->state) == FRESH;
}

/* The host may let go of others meanwhile, or add some. */
void peri_embed_look(perilune_loop *p) {
  peri_link all;
  peri_link_init(&all);
  peri_list_splice(&all, &p->watched);
  while (!peri_link_alone(&all)) {
    perilune_future *f = PERI_OF(all.next, perilune_future, watched);
    peri_link_out(&f->watched);
    if (!is_pending(f)) continue;
    int waits = !peri_waitlist_empty(&f->outcome->waiters);
    if (f->had && !waits) {
      f->abandoned(f->abandoned_ud);
      continue;
    }
    f->had = waits;
    peri_list_append(&p->watched, &f->watched);
  }
}

/* }===================================================================== */

/* {== Waiting ========================================================== */

/* Returns what is above the stack as it was. */
static int results_k(lua_State *L, int status, lua_KContext base) {
  (void)status;
  return lua_gettop(L) - (int)base;
}

int perilune_await(lua_State *L, perilune_future *f, lua_KFunction k,
                   lua_KContext ctx) {
  if (!k) {
    k = results_k;
    ctx = lua_gettop(L);
  }
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  perilune_future_push(L, f);
  lua_getfield(L, -1, "await");
  lua_insert(L, -2);
  lua_callk(L, 1, LUA_MULTRET, ctx, k);
  return k(L, LUA_OK, ctx);
}

/* }===================================================================== */
