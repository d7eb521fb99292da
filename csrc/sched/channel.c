/*
** channel.c - channels: values handed from task to task, in order.
**
** Lua side: channel: put, get, try_put, try_get, get_op, put_op, close, `#`,
** iteration.
**
** Invariants: tasks wait to get only while the channel is empty and open;
** tasks wait to put only while it is full and open. So a value goes straight
** to the first who waits for it, and the value of the first who waits to
** put comes from that task's stack: a granted waiter keeps its grant, and a
** cancelled one has lost nothing. Who selects waits in the same lists, as a
** peri_choice, and what it puts comes from the operation.
**
** User values 1 and 2 are the ring's.
**
** SPDX-License-Identifier: MIT
*/
#include "channel.h"

#include "error.h"
#include "hand.h"
#include "ring.h"
#include "type.h"

#define CAPACITY_MAX 0x40000000

static const char channel_type[] = "perilune.channel";
static const char op_type[] = "perilune.operation";

typedef struct channel {
  const char *type;
  peri_waitlist getters;
  peri_waitlist putters;
  peri_ring ring;
  uint32_t capacity;
  uint32_t got, put; /* when a get, a put of it last won a select */
  uint8_t closed;
} channel;

/* User value 1 of an operation is the channel; 2 is the entry it puts. */
struct peri_op {
  const char *type;
  channel *on;
  int n; /* of how many values the entry is; 0: it gets */
};

static channel *check_channel(lua_State *L) {
  return peri_type_check(L, 1, channel_type, sizeof(channel));
}

static int fail_closed(lua_State *L) {
  return peri_error_fail(L, "ECLOSED", "the channel is closed");
}

/* {== Who waits ======================================================== */

static peri_choice *choice_of(peri_runnable *r) {
  return PERI_OF(PERI_OF(r, peri_notice, run), peri_choice, notice);
}

static peri_task *task_of(peri_runnable *r) {
  return r->run ? PERI_OF(r, peri_task, run) : choice_of(r)->task;
}

/* The first who waits, or NULL. One whose coroutine was closed by somebody
** cannot be served: it is woken, and finds that out. */
static peri_runnable *first(peri_loop *l, peri_waitlist *w) {
  peri_runnable *r;
  while ((r = peri_waitlist_first(w))) {
    if (!peri_task_closed(task_of(r))) return r;
    peri_waitlist_wake(l, w);
  }
  return NULL;
}

/* Wakes the first who waits: it was given values, or they were taken from
** it. It shall not take that for the end of the channel. */
static void serve(peri_loop *l, peri_waitlist *w) {
  peri_runnable *r = peri_waitlist_first(w);
  if (!r->run)
    choice_of(r)->served = 1;
  else
    task_of(r)->on = NULL;
  peri_waitlist_wake(l, w);
}

/* }===================================================================== */

/* {== What is put ====================================================== */

/*
** peri_ring_pack and peri_task_pack may run finalizers, which may use this very
** channel: what was seen of it before has to be looked at again. But for these
** two, the functions below run no Lua.
*/

/* Pushes the operation that `c` stands for. */
static peri_op *push_op(lua_State *L, peri_loop *l, const peri_choice *c) {
  peri_task_look(L, l, c->task, 1);
  lua_getiuservalue(L, -1, c->index);
  lua_replace(L, -2);
  return lua_touserdata(L, -1);
}

/* Pushes, as an entry, what `r` waits to put; returns of how many values. */
static int push_entry(lua_State *L, peri_loop *l, peri_runnable *r) {
  int base = lua_gettop(L), n;
  if (r->run) {
    n = peri_task_look(L, l, task_of(r), 2);
    if (n != 1) peri_ring_pack(L, base + 1, n);
  } else {
    n = push_op(L, l, choice_of(r))->n;
    lua_getiuservalue(L, -1, 2);
  }
  lua_copy(L, -1, base + 1);
  lua_settop(L, base + 1);
  return n;
}

/* Pushes the values that `r` waits to put; returns how many. */
static int push_values(lua_State *L, peri_loop *l, peri_runnable *r) {
  if (r->run) return peri_task_look(L, l, task_of(r), 2);
  int n = push_entry(L, l, r);
  peri_ring_spread(L, n);
  return n;
}

/* }===================================================================== */

/* {== Put ============================================================== */

static int is_full(const channel *c) {
  return c->ring.count >= c->capacity;
}

/* Gives the top `n` values to who waits for some, if anybody does. */
static int put_straight(lua_State *L, peri_loop *l, channel *c, int n) {
  if (peri_waitlist_empty(&c->getters)) return 0;
  int top = lua_gettop(L);
  peri_runnable *getter;
  while ((getter = first(l, &c->getters))) {
    int packed = peri_task_pack(L, l, task_of(getter), n);
    if (first(l, &c->getters) == getter) {
      peri_task_give(L, l, task_of(getter), packed);
      serve(l, &c->getters);
      return 1;
    }
    lua_settop(L, top);
  }
  return 0;
}

/* Room is there, or somebody waits for a value: takes the values from 2
** on, and pushes true. Returns 0, with the stack as it was, if neither is
** so. */
static int put_now(lua_State *L, peri_loop *l, channel *c) {
  int n = lua_gettop(L) - 1, tuple = 0;
  while (!put_straight(L, l, c, n)) {
    if (is_full(c)) {
      if (tuple) lua_remove(L, 2);
      return 0;
    }
    if (n == 1 || tuple) {
      if (tuple) lua_settop(L, 2);
      peri_ring_add(L, &c->ring, 1, n);
      break;
    }
    peri_ring_pack(L, 2, n);
    lua_insert(L, 2);
    tuple = 1;
  }
  lua_pushboolean(L, 1);
  return 1;
}

/* Who takes the values clears `on`; who closes the channel does not. */
static int put_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  if (PERI_LOOP(L)->current->on) return fail_closed(L);
  lua_pushboolean(L, 1);
  return 1;
}

static const peri_wait putting = {"channel put", peri_task_unlist, put_k};

static void check_values(lua_State *L) {
  if (lua_isnoneornil(L, 2))
    luaL_argerror(L, 2, "the first value must not be nil: get returns nil "
                        "when the channel is closed");
}

/* channel:put(...) -> true once the values are in the buffer or with a
** getter, or nil, message, "ECLOSED". Waits. Raises if the first is nil. */
static int channel_put(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  channel *c = check_channel(L);
  check_values(L);
  peri_wait_enter(L, l);
  peri_task_keep(L, l, 2); /* may run finalizers: before looking */
  if (c->closed) return fail_closed(L);
  if (put_now(L, l, c)) return peri_task_done(L, l, 1);
  return peri_task_park_in(L, l, &putting, &c->putters);
}

/* channel:try_put(...) -> true, or false if it is full, or nil, message,
** "ECLOSED". Never waits. */
static int channel_try_put(lua_State *L) {
  channel *c = check_channel(L);
  check_values(L);
  if (c->closed) return fail_closed(L);
  if (!put_now(L, PERI_LOOP(L), c)) lua_pushboolean(L, 0);
  return 1;
}

/* }===================================================================== */

/* {== Get ============================================================== */

/* Pushes the next values; returns how many, 0 if there are none. May raise
** before anything changed. */
static int get_now(lua_State *L, peri_loop *l, channel *c, int at) {
  if (peri_waitlist_empty(&c->putters)) return c->ring.count ? peri_ring_take(L, &c->ring, at) : 0;
  int base = lua_gettop(L), n;
  peri_runnable *putter;
  while ((putter = first(l, &c->putters))) {
    if (c->ring.count) {
      n = push_entry(L, l, putter);
      if (first(l, &c->putters) != putter) { /* a finalizer's work */
        lua_settop(L, base);
        continue;
      }
      n = peri_ring_exchange(L, &c->ring, at, n);
    } else {
      n = push_values(L, l, putter);
    }
    serve(l, &c->putters);
    return n;
  }
  return c->ring.count ? peri_ring_take(L, &c->ring, at) : 0;
}

/* Who puts gives values and who closes gives none. */
static int get_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  int n = peri_task_given(L, PERI_LOOP(L), 1);
  if (n) return n;
  lua_pushnil(L);
  return 1;
}

static const peri_wait getting = {"channel get", peri_task_unlist, get_k};

/* Pushes the next values, or nil if the channel is closed; returns how
** many. */
static int get_or_end(lua_State *L, peri_loop *l, channel *c, int at) {
  int n = get_now(L, l, c, at);
  if (n || !c->closed) return n;
  lua_pushnil(L);
  return 1;
}

/* channel:get() -> values, or nil once it is closed and empty. Waits. Also
** `for a, b in channel do`. */
static int channel_get(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  channel *c = check_channel(L);
  peri_wait_enter(L, l);
  if (lua_gettop(L) > 1) lua_settop(L, 1);
  peri_task_keep(L, l, 2); /* nothing is given so far */
  int n = get_or_end(L, l, c, 1);
  if (n) return peri_task_done(L, l, n);
  return peri_task_park_in(L, l, &getting, &c->getters);
}

/* channel:try_get() -> true, values..., or false if it is empty, or nil,
** message, "ECLOSED" if it is closed as well. Never waits. */
static int channel_try_get(lua_State *L) {
  channel *c = check_channel(L);
  lua_settop(L, 1);
  lua_pushboolean(L, 1);
  int n = get_now(L, PERI_LOOP(L), c, 1);
  if (n) return n + 1;
  if (c->closed) return fail_closed(L);
  lua_pushboolean(L, 0);
  return 1;
}

/* }===================================================================== */

/* {== Operations, for select =========================================== */

static peri_op *new_op(lua_State *L, channel *c, int n) {
  peri_op *op = lua_newuserdatauv(L, sizeof *op, n ? 2 : 1);
  op->type = op_type;
  op->on = c;
  op->n = n;
  luaL_setmetatable(L, op_type);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  return op;
}

/* channel:get_op() -> operation for aio.select: to get. It may be used again.
** Never waits. */
static int channel_get_op(lua_State *L) {
  new_op(L, check_channel(L), 0);
  return 1;
}

/* channel:put_op(...) -> operation for aio.select: to put these values. It may
** be used again. Raises if the first is nil. Never waits. */
static int channel_put_op(lua_State *L) {
  channel *c = check_channel(L);
  check_values(L);
  int n = lua_gettop(L) - 1;
  if (n != 1) peri_ring_pack(L, 2, n);
  new_op(L, c, n);
  lua_insert(L, -2);
  lua_setiuservalue(L, -2, 2);
  return 1;
}

peri_op *peri_op_test(lua_State *L, int idx) {
  return peri_type_test(L, idx, op_type, sizeof(peri_op));
}

peri_waitlist *peri_op_waiters(peri_op *op) {
  return op->n ? &op->on->putters : &op->on->getters;
}

uint32_t *peri_op_won(peri_op *op) {
  return op->n ? &op->on->put : &op->on->got;
}

int peri_op_ready(peri_loop *l, peri_op *op) {
  channel *c = op->on;
  if (c->closed) return 1;
  if (op->n) return !is_full(c) || first(l, &c->getters);
  return c->ring.count || first(l, &c->putters);
}

static int op_put(lua_State *L, peri_loop *l, channel *c, int at, int n) {
  int top = lua_gettop(L);
  if (c->closed) return fail_closed(L);
  lua_getiuservalue(L, at - 1, 2);
  peri_ring_spread(L, n);
  int done = put_straight(L, l, c, n);
  lua_settop(L, top);
  if (!done) {
    if (is_full(c)) return 0;
    lua_getiuservalue(L, at - 1, 2);
    peri_ring_add(L, &c->ring, at, n);
  }
  lua_pushboolean(L, 1);
  return 1;
}

int peri_op_do(lua_State *L, peri_loop *l, peri_op *op, int at) {
  if (op->n) return op_put(L, l, op->on, at, op->n);
  return get_or_end(L, l, op->on, at);
}

int peri_op_done(lua_State *L, const peri_op *op, int served, int n) {
  if (!op->n && n) return n;
  if (op->n && !served) return fail_closed(L);
  if (op->n)
    lua_pushboolean(L, 1);
  else
    lua_pushnil(L);
  return 1;
}

/* }===================================================================== */

/* channel:close() -> true. What is buffered can still be got; who waits to
** put is told. Never waits; twice is fine. */
static int channel_close(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  channel *c = check_channel(L);
  c->closed = 1;
  peri_waitlist_wake_all(l, &c->getters);
  peri_waitlist_wake_all(l, &c->putters);
  lua_pushboolean(L, 1);
  return 1;
}

/* #channel -> how many puts the buffer holds. Never waits. */
static int channel_len(lua_State *L) {
  lua_pushinteger(L, check_channel(L)->ring.count);
  return 1;
}

/* aio.channel([n]) -> channel with room for n tuples; 0 (default): each put
** waits for its get; math.huge: without limit. Never waits. */
static int new_channel(lua_State *L) {
  uint32_t capacity = 0;
  if (!lua_isnoneornil(L, 1)) {
    lua_Number n = luaL_checknumber(L, 1);
    luaL_argcheck(L, n >= 0, 1, "capacity must not be negative");
    if (n > CAPACITY_MAX) n = CAPACITY_MAX;
    capacity = (uint32_t)n;
    luaL_argcheck(L, (lua_Number)capacity == n, 1,
                  "capacity must be a whole number");
  }
  channel *c = lua_newuserdatauv(L, sizeof *c, 2);
  c->type = channel_type;
  c->getters.first = c->putters.first = NULL;
  c->capacity = capacity;
  c->got = c->put = 0;
  c->closed = 0;
  luaL_setmetatable(L, channel_type);
  peri_ring_init(L, &c->ring, capacity);
  return 1;
}

void peri_channel_open(lua_State *L, peri_loop *l) {
  static const luaL_Reg methods[] = {
    {"put", channel_put}, {"get", channel_get}, {"try_put", channel_try_put},
    {"try_get", channel_try_get}, {"close", channel_close},
    {"__len", channel_len}, {"__call", channel_get},
    {"__close", channel_close}, {"get_op", channel_get_op},
    {"put_op", channel_put_op}, {NULL, NULL}};
  lua_pushcfunction(L, new_channel);
  lua_setfield(L, -2, "channel");
  luaL_newmetatable(L, channel_type);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, methods, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  luaL_newmetatable(L, op_type);
  lua_pop(L, 2);
}
