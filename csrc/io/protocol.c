/*
** protocol.c - transports in callback style.
**
** Lua side: protocol, pause, resume. The methods of a protocol are called by
** the turn, as callbacks in the transport's context.
**
** The transport's runnable looks at what is due, one step after another,
** and looks again after each, for a callback may have changed everything.
** The box, which the loop keeps until connection_lost, has the protocol in
** its user value.
**
** SPDX-License-Identifier: MIT
*/
#include <lauxlib.h>

#include "sched/callback.h"
#include "sched/error.h"
#include "transport.h"

/* {== Calling ========================================================== */

typedef struct event {
  peri_transport *c;
  const char *method;
  void (*push)(lua_State *L, peri_transport *c); /* the argument, or NULL */
} event;

/* Calls the method of the transport's protocol, if it has it. Stack: the
** event, and an argument or nil. A light function: it has no upvalue. */
static int call_method(lua_State *L) {
  event *e = lua_touserdata(L, 1);
  peri_transport *c = e->c;
  peri_push_anchored(c->h.loop, L, c);
  lua_getiuservalue(L, 3, 1);
  lua_getfield(L, 4, e->method);
  if (e->push) {
    e->push(L, c); /* in any case: it may consume something */
    lua_replace(L, 2);
  }
  if (lua_isnil(L, 5)) return 0;
  lua_pushvalue(L, 4);
  lua_pushvalue(L, 2);
  lua_call(L, 2, 1);
  return 1;
}

/* Leaves the method's result, or an error, on the stack. The value on top
** is the argument, and is popped. */
static int call_with(peri_loop *l, lua_State *L, event *e) {
  lua_pushcfunction(L, call_method);
  lua_insert(L, -2);
  lua_pushlightuserdata(L, e);
  lua_insert(L, -2);
  return peri_callback_call(l, L, &e->c->frame, 2, 1);
}

/* It is over: tells the protocol, with the error on top or nil, and closes
** the descriptor. Pops the error. */
static void lose(peri_loop *l, lua_State *L, peri_transport *c) {
  event e = {c, "connection_lost", NULL};
  if (call_with(l, L, &e))
    peri_report(l, L, "callback", NULL);
  else
    lua_pop(L, 1);
  if (c->protocol) peri_transport_end(c);
}

/* A callback raised the error on top: it is reported, the connection is
** aborted, and the protocol is told what became of it. Pops the error. */
static void raised(peri_loop *l, lua_State *L, peri_transport *c) {
  lua_pushvalue(L, -1);
  peri_report(l, L, "callback", NULL);
  if (c->protocol) {
    peri_transport_abort(l, c);
    lose(l, L, c);
  } else {
    lua_pop(L, 1);
  }
}

/* Calls a method; returns its result as a boolean. */
static int call(peri_loop *l, lua_State *L, peri_transport *c,
                const char *method,
                void (*push)(lua_State *, peri_transport *)) {
  event e = {c, method, push};
  lua_pushnil(L);
  if (call_with(l, L, &e)) {
    raised(l, L, c);
    return 0;
  }
  int result = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return result;
}

/* }===================================================================== */

/* {== Steps ============================================================ */

static void push_box(lua_State *L, peri_transport *c) {
  (void)c;
  lua_pushvalue(L, 3);
}

static void push_bytes(lua_State *L, peri_transport *c) {
  peri_loop *l = c->h.loop;
  lua_pushlstring(L, peri_buf_bytes(&c->in), c->in.len);
  peri_buf_clear(l, &peri_io_of(l)->pool, &c->in);
}

static void push_error(lua_State *L, peri_transport *c) {
  const char *op = c->read_error ? "read" : "write";
  int status = c->read_error ? c->read_error : c->write_error;
  peri_status_push(L, status, "%s", peri_transport_what(L, c, op));
}

/* In protected mode, as making an error object may raise. */
static int make_error(lua_State *L) {
  push_error(L, lua_touserdata(L, 1));
  return 1;
}

static void push_why(peri_loop *l, lua_State *L, peri_transport *c) {
  if (!c->read_error && !c->write_error) {
    lua_pushnil(L);
    return;
  }
  lua_pushcfunction(L, make_error);
  lua_pushlightuserdata(L, c);
  peri_callback_call(l, L, &c->frame, 1, 1); /* an error will do as well */
}

static void step_lost(peri_loop *l, lua_State *L, peri_transport *c) {
  push_why(l, L, c);
  lose(l, L, c);
}

/* Unless eof_received says otherwise, the end of the peer's side is the end
** of ours. */
static void step_eof(peri_loop *l, lua_State *L, peri_transport *c) {
  c->eof_told = 1;
  int stays = call(l, L, c, "eof_received", NULL);
  if (!stays && c->protocol) peri_transport_close(l, c);
}

static int has_data(const peri_transport *c) {
  if (c->paused) return 0;
  return c->in.len || (c->readable && !c->eof && !c->read_error);
}

/* One read, then the others have their turn. Returns 0 if there is more. */
static int step_data(peri_loop *l, lua_State *L, peri_transport *c) {
  if (!c->in.len) peri_read_fill(l, c, 0);
  if (c->in.lost) c->read_error = UV_ENOMEM;
  if (!c->in.len) return 1;
  call(l, L, c, "data_received", push_bytes);
  if (!c->protocol || c->closed || !has_data(c)) return 1;
  peri_protocol_ready(l, c);
  return 0;
}

/* Is a protocol to be told that writing has become slow, or is not any
** more? */
static int choke_changes(const peri_transport *c) {
  size_t n = peri_write_unsent(c);
  return c->choked ? n <= PERI_WRITE_LOW
                   : c->handed - c->sent > PERI_WRITE_HIGH;
}

static void step_choke(peri_loop *l, lua_State *L, peri_transport *c) {
  c->choked = !c->choked;
  call(l, L, c, c->choked ? "pause_writing" : "resume_writing", NULL);
}

/* Waits for more: nothing else is due. Returns 1 if that is impossible. */
static int rest(peri_transport *c) {
  if (c->eof || c->paused || c->read_error) return 0;
  c->read_error = peri_read_watch(c);
  return c->read_error != 0;
}

static void step_made(peri_loop *l, lua_State *L, peri_transport *c) {
  c->made = 1;
  call(l, L, c, "connection_made", push_box);
}

/* While it is paused it is not told how reading ended either. */
static int is_at_end(const peri_transport *c) {
  return c->eof && !c->in.len && !c->paused && !c->eof_told;
}

/* Nothing more can come or go. */
static int is_broken(const peri_transport *c) {
  return c->write_error || (c->read_error && !c->in.len && !c->paused);
}

/* One step: returns 1 if there may be another one now. */
static int step(peri_loop *l, lua_State *L, peri_transport *c) {
  if (c->closed) {
    if (c->finished) step_lost(l, L, c);
    return 0;
  }
  if (!c->made)
    step_made(l, L, c);
  else if (choke_changes(c))
    step_choke(l, L, c);
  else if (is_broken(c))
    peri_transport_abort(l, c);
  else if (has_data(c))
    return step_data(l, L, c);
  else if (is_at_end(c))
    step_eof(l, L, c);
  else
    return rest(c);
  return 1;
}

void peri_protocol_run(peri_loop *l, peri_transport *c, lua_State *L) {
  int top = lua_gettop(L);
  if (!lua_checkstack(L, LUA_MINSTACK)) return;
  while (c->protocol && step(l, L, c)) lua_settop(L, top);
  lua_settop(L, top);
}

/* }===================================================================== */

/* {== Lua side ========================================================= */

/* Ends the callback style; what was read ahead stays. */
static void give_back(lua_State *L, peri_loop *l, peri_transport *c) {
  if (!c->protocol) return;
  peri_protocol_take_back(l, c);
  peri_link_out(&c->run.link);
  peri_unanchor(l, c);
  lua_pushnil(L);
  lua_setiuservalue(L, 1, 1);
}

void peri_protocol_start(lua_State *L, peri_loop *l, int idx) {
  idx = lua_absindex(L, idx);
  peri_transport *c = peri_box_at(L, idx);
  if (!c->frame.logical)
    c->frame.logical = peri_logical_retain(peri_task_logical(L, l));
  if (lua_isfunction(L, -1)) {
    lua_pushvalue(L, idx);
    lua_call(L, 1, 1);
  }
  if (!peri_box_at(L, idx)) { /* the factory did it */
    lua_pop(L, 1);
    return;
  }
  if (!lua_istable(L, -1) && !lua_isuserdata(L, -1))
    peri_error_raise(L, "EINVAL", "a protocol must be a table, got %s",
                     luaL_typename(L, -1));
  peri_anchor(L, l, idx, c);
  lua_setiuservalue(L, idx, 1);
  peri_protocol_hand_over(c);
  c->made = c->choked = c->eof_told = 0;
  peri_protocol_ready(l, c);
}

/*
** conn:protocol(p) -> conn. From the next turn on, hands what comes to p: a
** table with any of connection_made(p, conn), data_received(p, data),
** eof_received(p), pause_writing(p), resume_writing(p), connection_lost(p,
** err); or a function that makes one for conn. With nil one can read again,
** and nothing is lost. Never waits.
*/
static int conn_protocol(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_transport *c = peri_transport_check(L);
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  if (!c) return peri_transport_fail(L, c, PERI_ECLOSED, "protocol");
  if (c->reading)
    return peri_error_raise(L, "EBUSY",
                            "a task is reading from this transport");
  if (lua_isnil(L, 2)) {
    give_back(L, l, c);
  } else {
    luaL_argexpected(L, !lua_isstring(L, 2) && !lua_isboolean(L, 2), 2,
                     "table");
    peri_protocol_start(L, l, 1);
  }
  lua_settop(L, 1);
  return 1;
}

/* conn:pause() -> conn. data_received is not called until resume, and the
** peer is slowed down. Never waits. */
static int conn_pause(lua_State *L) {
  peri_transport *c = peri_transport_check(L);
  if (!c) return peri_transport_fail(L, c, PERI_ECLOSED, "pause");
  c->paused = 1;
  lua_settop(L, 1);
  return 1;
}

/* conn:resume() -> conn. Ends a pause. Never waits. */
static int conn_resume(lua_State *L) {
  peri_transport *c = peri_transport_check(L);
  if (!c) return peri_transport_fail(L, c, PERI_ECLOSED, "resume");
  if (c->paused && c->protocol) peri_protocol_ready(PERI_LOOP(L), c);
  c->paused = 0;
  lua_settop(L, 1);
  return 1;
}

const luaL_Reg peri_protocol_methods[] = {
  {"protocol", conn_protocol}, {"pause", conn_pause},
  {"resume", conn_resume}, {NULL, NULL}};

/* }===================================================================== */
