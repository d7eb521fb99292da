/*
** channel.c - channels: values handed from task to task, in order.
**
** Lua side: channel: put, get, try_put, try_get, close, `#`, iteration.
**
** Invariants: tasks wait to get only while the channel is empty and open;
** tasks wait to put only while it is full and open. So a value goes straight
** to the first who waits for it, and the value of the first who waits to
** put comes from that task's stack: a granted waiter keeps its grant, and a
** cancelled one has lost nothing.
**
** The buffer is a ring in user value 1; a tuple of other than one value is
** a table there, and its length is in user value 2.
**
** SPDX-License-Identifier: MIT
*/
#include "channel.h"

#include "error.h"
#include "hand.h"

#define CHANNEL "perilune.channel"
#define CAPACITY_MAX 0x40000000

typedef struct channel {
  peri_waitlist getters;
  peri_waitlist putters;
  uint32_t capacity, count, head;
  uint8_t closed;
} channel;

static channel *check_channel(lua_State *L) {
  return luaL_checkudata(L, 1, CHANNEL);
}

static int fail_closed(lua_State *L) {
  return peri_error_fail(L, "ECLOSED", "the channel is closed");
}

/* The first who waits, or NULL. One whose coroutine was closed by somebody
** cannot be served: it is woken, and finds that out. */
static peri_task *first_task(peri_loop *l, peri_waitlist *w) {
  peri_runnable *r;
  while ((r = peri_waitlist_first(w))) {
    peri_task *t = PERI_OF(r, peri_task, run);
    if (!peri_task_closed(t)) return t;
    peri_waitlist_wake(l, w);
  }
  return NULL;
}

/* {== The buffer ======================================================= */

static uint32_t place(const channel *c, uint32_t i) {
  return (uint32_t)(((uint64_t)c->head + i) % c->capacity + 1);
}

/*
** Making a tuple may run finalizers, which may use this very channel: so a
** tuple is made before the channel is looked at, and that is done again after
** it. The functions below run no Lua.
*/
static void push_tuple(lua_State *L, int first, int n) {
  peri_error_room(L, 4);
  lua_createtable(L, n, 0);
  for (int i = 1; i <= n; i++) {
    lua_pushvalue(L, first + i - 1);
    lua_rawseti(L, -2, i);
  }
}

/* Adds the value on top, or the tuple of `n` values, to the buffer, and pops
** it. May raise before anything changed. The channel is at 1. */
static void add(lua_State *L, channel *c, int n) {
  uint32_t at = place(c, c->count);
  peri_error_room(L, 4);
  lua_getiuservalue(L, 1, 1);
  lua_insert(L, -2);
  lua_rawseti(L, -2, at);
  lua_pop(L, 1);
  if (n != 1) {
    lua_getiuservalue(L, 1, 2);
    lua_pushinteger(L, n);
    lua_rawseti(L, -2, at);
    lua_pop(L, 1);
  }
  c->count++;
}

/* How many values the oldest in the buffer has; -1 if it is no tuple. */
static int length_at(lua_State *L, uint32_t at) {
  lua_getiuservalue(L, 1, 2);
  int n = lua_rawgeti(L, -1, at) == LUA_TNIL ? -1 : (int)lua_tointeger(L, -1);
  lua_pop(L, 2);
  return n;
}

/* Empties a place in the tables of the channel: the key exists. */
static void clear(lua_State *L, int table, uint32_t at) {
  lua_getiuservalue(L, 1, table);
  lua_pushnil(L);
  lua_rawseti(L, -2, at);
  lua_pop(L, 1);
}

/* Pushes the oldest values and takes them out; returns how many. May raise
** before anything changed. */
static int take(lua_State *L, channel *c) {
  uint32_t at = place(c, 0);
  peri_error_room(L, 6);
  int n = length_at(L, at);
  peri_error_room(L, n + 6);
  lua_getiuservalue(L, 1, 1);
  lua_rawgeti(L, -1, at);
  lua_remove(L, -2);
  clear(L, 1, at);
  c->head = at % c->capacity;
  c->count--;
  if (n < 0) return 1;
  clear(L, 2, at);
  int tuple = lua_gettop(L);
  for (int i = 1; i <= n; i++) lua_rawgeti(L, tuple, i);
  lua_remove(L, tuple);
  return n;
}

/* }===================================================================== */

/* {== Put ============================================================== */

/* Gives the values from 2 on to who waits for some, if anybody does. */
static int put_straight(lua_State *L, peri_loop *l, channel *c, int n) {
  peri_task *getter = first_task(l, &c->getters);
  if (!getter) return 0;
  lua_settop(L, n + 1);
  peri_task_give(L, l, getter, n);
  peri_waitlist_wake(l, &c->getters);
  return 1;
}

/* Room is there, or somebody waits for a value: takes the values from 2
** on. Returns 0 if neither is so. */
static int put_now(lua_State *L, peri_loop *l, channel *c) {
  int n = lua_gettop(L) - 1;
  if (n != 1 && !first_task(l, &c->getters) && c->count < c->capacity)
    push_tuple(L, 2, n);
  if (!put_straight(L, l, c, n)) {
    if (c->count >= c->capacity) {
      lua_settop(L, n + 1);
      return 0;
    }
    add(L, c, n);
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
    luaL_argerror(L, 1, "the first value must not be nil: get returns nil "
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

static void wake_putter(peri_loop *l, channel *c, peri_task *putter) {
  peri_waitlist_wake(l, &c->putters);
  putter->on = NULL;
}

/* Pushes the next values, and puts those of who waits to put, which are `n`
** above `base`, into the buffer. Returns how many. */
static int take_and_add(lua_State *L, peri_loop *l, channel *c,
                        peri_task *putter, int base, int n) {
  if (n != 1) push_tuple(L, base + 1, n);
  if (first_task(l, &c->putters) != putter) return -1; /* a finalizer's work */
  int waiting = lua_gettop(L), taken = take(L, c);
  lua_pushvalue(L, waiting);
  add(L, c, n);
  wake_putter(l, c, putter);
  return taken;
}

/* Pushes the next values; returns how many, 0 if there are none. */
static int get_now(lua_State *L, peri_loop *l, channel *c) {
  int base = lua_gettop(L), n = -1;
  while (n < 0) {
    peri_task *putter = first_task(l, &c->putters);
    lua_settop(L, base);
    if (!putter) return c->count ? take(L, c) : 0;
    n = peri_task_look(L, l, putter, 2);
    if (c->count)
      n = take_and_add(L, l, c, putter, base, n);
    else
      wake_putter(l, c, putter);
  }
  lua_rotate(L, base + 1, n); /* what lies below has been put */
  lua_settop(L, base + n);
  return n;
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

/* channel:get() -> values, or nil once it is closed and empty. Waits. Also
** `for a, b in channel do`. */
static int channel_get(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  channel *c = check_channel(L);
  peri_wait_enter(L, l);
  lua_settop(L, 1);
  peri_task_keep(L, l, 2); /* nothing is given so far */
  int n = get_now(L, l, c);
  if (!n && c->closed) {
    lua_pushnil(L);
    n = 1;
  }
  if (n) return peri_task_done(L, l, n);
  return peri_task_park_in(L, l, &getting, &c->getters);
}

/* channel:try_get() -> true, values..., or false if it is empty, or nil,
** message, "ECLOSED" if it is closed as well. Never waits. */
static int channel_try_get(lua_State *L) {
  channel *c = check_channel(L);
  lua_settop(L, 1);
  lua_pushboolean(L, 1);
  int n = get_now(L, PERI_LOOP(L), c);
  if (n) return n + 1;
  if (c->closed) return fail_closed(L);
  lua_pushboolean(L, 0);
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
  lua_pushinteger(L, check_channel(L)->count);
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
  c->getters.first = c->putters.first = NULL;
  c->capacity = capacity;
  c->count = c->head = 0;
  c->closed = 0;
  luaL_setmetatable(L, CHANNEL);
  lua_newtable(L);
  lua_setiuservalue(L, -2, 1);
  lua_newtable(L);
  lua_setiuservalue(L, -2, 2);
  return 1;
}

void peri_channel_open(lua_State *L, peri_loop *l) {
  static const luaL_Reg methods[] = {
    {"put", channel_put}, {"get", channel_get}, {"try_put", channel_try_put},
    {"try_get", channel_try_get}, {"close", channel_close},
    {"__len", channel_len}, {"__call", channel_get},
    {"__close", channel_close}, {NULL, NULL}};
  lua_pushcfunction(L, new_channel);
  lua_setfield(L, -2, "channel");
  luaL_newmetatable(L, CHANNEL);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, methods, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}
