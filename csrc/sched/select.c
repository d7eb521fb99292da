/*
** select.c - waiting for one of several operations: exactly one is done.
**
** Lua side: aio.select, of operations on channels and of awaitables.
**
** First it looks whether one can be done at once; only looking is done in
** between, so that none of those looked at before has changed. Else it waits
** in the waitlists of all of them. Whoever completes one tells its choice, in
** C, and that takes the others out of their lists before anything else can
** happen: so the others lose nothing.
**
** The choices are part of a userdata, whose user values are the operations:
** it is all that the task's frame has while it waits.
**
** SPDX-License-Identifier: MIT
*/
#include "select.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#include "channel.h"
#include "clock.h"
#include "error.h"
#include "future.h"
#include "hand.h"

#define CHOICES_MAX (USHRT_MAX - 1) /* Lua has room for so many user values */

typedef struct option {
  peri_choice choice;
  peri_op *op;           /* an operation on a channel, or NULL */
  peri_outcome *outcome; /* a future, if that is NULL */
} option;

typedef struct selection {
  peri_task *task; /* who waits; NULL if nobody does */
  uint32_t count;
  int winner;      /* the index of what was done; 0: none */
  double limit;    /* seconds */
  unsigned clock;  /* by which these go */
  option options[];
} selection;

/* {== Options ========================================================== */

static peri_waitlist *waiters_of(const option *o) {
  return o->op ? peri_op_waiters(o->op) : &o->outcome->waiters;
}

/* When it has last won; NULL if it cannot have. */
static uint32_t *won_of(const option *o) {
  if (o->op) return peri_op_won(o->op);
  if (o->outcome->state == PERI_PENDING) return NULL;
  if (o->outcome->kind != PERI_TASK) return &o->outcome->slot;
  return &((peri_task *)(void *)o->outcome)->since;
}

static int is_ready(peri_loop *l, const option *o) {
  if (o->op) return peri_op_ready(l, o->op);
  return o->outcome->state != PERI_PENDING;
}

/* The place after that of the option which has won last. */
static uint32_t turn_of(const peri_loop *l, const selection *s) {
  uint32_t turn = 0, least = UINT32_MAX;
  for (uint32_t i = 0; i < s->count; i++) {
    const uint32_t *won = won_of(&s->options[i]);
    if (!won || !*won || l->wins - *won >= least) continue;
    least = l->wins - *won;
    turn = i + 1;
  }
  return turn;
}

/* Among those that can be done now, the one after the last winner, or NULL.
** Runs no Lua. */
static option *ready_option(peri_loop *l, selection *s) {
  uint32_t turn = turn_of(l, s);
  for (uint32_t i = 0; i < s->count; i++) {
    option *o = &s->options[(turn + i) % s->count];
    if (is_ready(l, o)) return o;
  }
  return NULL;
}

static void note_win(peri_loop *l, const option *o) {
  if (!++l->wins) l->wins = 1;
  *won_of(o) = l->wins;
}

/* }===================================================================== */

/* {== At once ========================================================== */

/* Pushes the index of `o` and what it returns; returns how many values, or 0
** if it could not be done after all. Raises what a future failed with. */
static int claim(lua_State *L, peri_loop *l, const option *o) {
  peri_error_room(L, 4);
  lua_getiuservalue(L, 1, o->choice.index);
  if (!o->op) {
    note_win(l, o);
    lua_pushinteger(L, o->choice.index);
    return 1 + peri_future_push_awaited(L, o->outcome, 2);
  }
  lua_getiuservalue(L, 2, 1);
  lua_pushinteger(L, o->choice.index);
  int n = peri_op_do(L, l, o->op, 3);
  if (!n) return 0;
  note_win(l, o);
  return 1 + n;
}

/* Does one of those that can be done now. Returns how many values it has
** pushed, 0 if there is none. */
static int attempt(lua_State *L, peri_loop *l, selection *s) {
  option *o;
  while ((o = ready_option(l, s))) {
    int n = claim(L, l, o);
    if (n) return n;
    lua_settop(L, 1); /* a finalizer was faster */
  }
  return 0;
}

/* }===================================================================== */

/* {== Later ============================================================ */

/* Takes those that were not told out of their lists, and the timer. */
static void withdraw(peri_loop *l, selection *s) {
  for (uint32_t i = 0; i < s->count; i++) {
    option *o = &s->options[i];
    if (o->choice.index == s->winner) continue;
    peri_waitlist_remove(waiters_of(o), &o->choice.notice.run);
  }
  if (s->limit < HUGE_VAL) peri_task_disarm(l, s->task, s->clock);
  s->task = NULL;
}

static void on_told(peri_loop *l, peri_notice *n) {
  peri_choice *c = PERI_OF(n, peri_choice, notice);
  option *o = PERI_OF(c, option, choice);
  selection *s = PERI_OF(o - (c->index - 1), selection, options);
  s->winner = c->index;
  withdraw(l, s);
  peri_task_wake(l, c->task);
}

static int select_abort(peri_loop *l, peri_task *t, int why) {
  selection *s = t->on;
  (void)why;
  if (s->task) withdraw(l, s);
  return 1;
}

/* Somebody has closed the coroutine that waits here, or the state ends. */
static int select_gc(lua_State *L) {
  selection *s = lua_touserdata(L, 1);
  peri_loop *l = PERI_LOOP(L);
  if (s->task && !l->dead) peri_task_leave(l, s->task, PERI_ABORTED);
  return 0;
}

static int push_late(lua_State *L, double limit) {
  return peri_error_fail(L, "ETIMEDOUT", "timed out after %f s (select)",
                         (LUAI_UACNUMBER)(limit > 0 ? limit : 0));
}

static int select_k(lua_State *L, int status, lua_KContext ctx) {
  peri_loop *l = PERI_LOOP(L);
  selection *s = lua_touserdata(L, 1);
  (void)status;
  (void)ctx;
  int n = peri_task_given(L, l, 1); /* with the main chunk's own, if none */
  if (!s->winner) return push_late(L, s->limit);
  option *o = &s->options[s->winner - 1];
  note_win(l, o);
  peri_error_room(L, 4);
  if (o->op) {
    if (!o->choice.served) n = 0;
    n = peri_op_done(L, o->op, o->choice.served, n);
  } else {
    lua_settop(L, 1);
    lua_getiuservalue(L, 1, s->winner);
    n = peri_future_push_awaited(L, o->outcome, 2);
  }
  lua_pushinteger(L, s->winner);
  lua_insert(L, -(n + 1));
  return n + 1;
}

static const peri_wait selecting = {"select", select_abort, select_k};

/* From here on nothing may raise or run Lua, until the task is parked. */
static int park(lua_State *L, peri_loop *l, selection *s) {
  peri_task *t = s->task = l->current;
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_setmetatable(L, 1);
  for (uint32_t i = 0; i < s->count; i++) {
    option *o = &s->options[i];
    o->choice.task = t;
    peri_waitlist_add(waiters_of(o), &o->choice.notice.run);
  }
  s->clock = t->inner->clock;
  if (s->limit < HUGE_VAL)
    peri_task_arm(l, t, s->clock, peri_clock_after(l, s->clock, s->limit));
  return peri_task_park(L, l, &selecting, s, 0);
}

/* }===================================================================== */

/* {== The call ========================================================= */

static const char *type_name(lua_State *L, int idx) {
  if (luaL_getmetafield(L, idx, "__name") == LUA_TSTRING)
    return lua_tostring(L, -1);
  return luaL_typename(L, idx);
}

/* Reads the option at `index` of the table at 1, into the one whose userdata
** is on top. Its awaitables become their futures. */
static void read_option(lua_State *L, peri_loop *l, option *o, int index) {
  int top = lua_gettop(L);
  peri_link_init(&o->choice.notice.run.link);
  o->choice.notice.run.run = NULL;
  o->choice.notice.notice = on_told;
  o->choice.index = index;
  o->choice.served = 0;
  lua_rawgeti(L, 1, index);
  o->op = peri_op_test(L, -1);
  o->outcome = NULL;
  if (!o->op && !(o->outcome = peri_future_of(L, l, top + 1)))
    luaL_argerror(L, 1, lua_pushfstring(L,
                  "item %d is no operation and not awaitable (%s)", index,
                  type_name(L, top + 1)));
  lua_setiuservalue(L, top, index);
}

static void check_duplicate(lua_State *L, const selection *s, int index) {
  const option *o = &s->options[index - 1];
  for (const option *p = s->options; p < o; p++)
    if (p->op == o->op && p->outcome == o->outcome)
      luaL_argerror(L, 1, lua_pushfstring(L, "item %d is there twice",
                                          index));
}

/* Reads the field `timeout` of the table at 1. */
static double check_limit(lua_State *L) {
  lua_getfield(L, 1, "timeout");
  lua_Number s = HUGE_VAL;
  if (lua_type(L, -1) == LUA_TNUMBER)
    s = lua_tonumber(L, -1);
  else if (!lua_isnil(L, -1))
    luaL_argerror(L, 1, "option 'timeout' must be a number of seconds");
  luaL_argcheck(L, !isnan(s), 1, "option 'timeout' is NaN");
  lua_pop(L, 1);
  return s;
}

/* Raises unless the table at 1 has a list of at least one item, and nothing
** else but a timeout. Returns how many. */
static int check_list(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_Integer n = (lua_Integer)lua_rawlen(L, 1), i;
  luaL_argcheck(L, n > 0, 1, "there is no operation");
  luaL_argcheck(L, n <= CHOICES_MAX, 1, "too many operations");
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
    if (lua_isinteger(L, -2) && (i = lua_tointeger(L, -2)) > 0 && i <= n)
      continue;
    if (lua_type(L, -2) == LUA_TSTRING &&
        !strcmp(lua_tostring(L, -2), "timeout"))
      continue;
    luaL_argerror(L, 1, lua_pushfstring(L, "unknown option '%s'",
                                        luaL_tolstring(L, -2, NULL)));
  }
  return (int)n;
}

/* Replaces the table at 1 by the selection made of it. */
static selection *read_list(lua_State *L, peri_loop *l) {
  int n = check_list(L);
  double limit = check_limit(L);
  lua_settop(L, 1);
  selection *s = lua_newuserdatauv(
    L, sizeof *s + (size_t)n * sizeof *s->options, n);
  s->task = NULL;
  s->count = (uint32_t)n;
  s->winner = 0;
  s->limit = limit;
  for (int i = 1; i <= n; i++) {
    read_option(L, l, &s->options[i - 1], i);
    check_duplicate(L, s, i);
  }
  lua_replace(L, 1);
  return s;
}

/* aio.select(list) -> index in the list, values..., or nil, message,
** "ETIMEDOUT". Does exactly one of the operations of the list: those made by
** channel:get_op(...) and channel:put_op(...), and awaitables, which are
** awaited. Returns what that one returns, as soon as one can be done; the
** others lose nothing. If it is an awaitable that failed or was cancelled, its
** error is raised, as awaiting it does. Of those that can be done at once, the
** one after the last winner is done. The field timeout of the list is in
** seconds (none); 0 and less: it only looks. Raises if the list is empty, or
** an item is there twice. Waits. */
static int select(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  selection *s = read_list(L, l);
  peri_wait_enter(L, l);
  for (uint32_t i = 0; i < s->count; i++)
    if (!s->options[i].op) s->options[i].outcome->flags |= PERI_TAKEN;
  peri_task_keep(L, l, 1); /* may run finalizers: before looking */
  int n = attempt(L, l, s);
  if (!n && s->limit <= 0) n = push_late(L, s->limit);
  return n ? peri_task_done(L, l, n) : park(L, l, s);
}

void peri_select_open(lua_State *L, peri_loop *l) {
  luaL_newmetatable(L, "perilune.select");
  peri_stash_push(l, L, PERI_STASH_LOOP);
  lua_pushcclosure(L, select_gc, 1);
  lua_setfield(L, -2, "__gc");
  peri_stash_push(l, L, PERI_STASH_LOOP);
  lua_insert(L, -2);
  lua_pushcclosure(L, select, 2);
  lua_setfield(L, -2, "select");
}

/* }===================================================================== */
