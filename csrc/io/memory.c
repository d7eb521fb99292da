/*
** memory.c - transports without a descriptor: pairs in memory, for tests.
**
** Lua side: core.memory(room, chunks) -> two transports.
**
** They are unix transports with a medium. Each end holds what was sent to it: up to `room` bytes, which a kernel
** would have taken, and behind these what its peer has queued. The end is made
** along with its transport, and freed when uv has closed that one's handle,
** which is there to be closed and never has a descriptor.
**
** SPDX-License-Identifier: MIT
*/
#include "memory.h"

#include <lauxlib.h>
#include <stdint.h>
#include <string.h>

typedef struct peri_memory peri_memory;
struct peri_memory {
  peri_medium base;
  peri_runnable run;   /* its next step, which tells its own transport */
  peri_transport *c;
  peri_memory *peer;   /* NULL once that is closed */
  peri_buf in;         /* sent to it, and not yet read */
  size_t queued;       /* of these, the last ones count as not yet sent */
  size_t sent;         /* bytes its transport is to learn were sent */
  size_t room;         /* bytes that count as sent, at most */
  unsigned ended : 1;  /* the peer sends no more */
  unsigned reset : 1;  /* ... and has lost what we sent */
  uint32_t next, count; /* which chunk is next, of how many; 0: any size */
  uint32_t chunks[];   /* so many bytes does a read get, at most */
};

static peri_memory *memory_of(const peri_transport *c) {
  return PERI_OF(c->medium, peri_memory, base);
}

static peri_pool *pool_of(const peri_transport *c) {
  return &peri_io_of(c->h.loop)->pool;
}

static size_t available(const peri_memory *m) {
  return m->in.len - m->queued;
}

static void poke(peri_memory *m) {
  if (peri_link_alone(&m->run.link)) peri_loop_ready(m->c->h.loop, &m->run);
}

static size_t least(size_t a, size_t b) {
  return a < b ? a : b;
}

/* Where there is room, what the peer has queued counts as sent. */
static void take_queued(peri_memory *m) {
  size_t n = least(m->queued, m->room - available(m));
  if (!n) return;
  m->queued -= n;
  m->peer->sent += n; /* it is there as long as it has queued bytes */
  poke(m->peer);
  poke(m);
}

/* {== Steps ============================================================ */

/* Bytes have come, or the end: watching would tell. */
static int has_arrived(const peri_memory *m) {
  return available(m) || m->ended;
}

static void tell_writer(peri_loop *l, peri_memory *m) {
  peri_transport *c = m->c;
  size_t n = m->sent;
  m->sent = 0;
  if (!m->peer && c->handed != c->sent) {
    c->sent = c->handed;
    peri_write_fail(l, c, UV_EPIPE);
  } else if (n) {
    peri_write_sent(l, c, n);
  }
}

static void step(peri_loop *l, peri_runnable *r, lua_State *L) {
  peri_memory *m = PERI_OF(r, peri_memory, run);
  (void)L;
  if (m->c->finished) return;
  tell_writer(l, m);
  if (m->c->watching && has_arrived(m)) peri_read_tell(m->c);
}

/* }===================================================================== */

/* {== Reading ========================================================== */

static size_t next_chunk(peri_memory *m) {
  if (!m->count) return SIZE_MAX;
  size_t n = m->chunks[m->next];
  m->next = (m->next + 1) % m->count;
  return n;
}

/* What is left is told of again, as by a descriptor that is readable. */
static ssize_t memory_recv(peri_transport *c, const peri_room *room,
                           int rooms) {
  peri_memory *m = memory_of(c);
  size_t n = available(m), first, second = 0;
  if (!n && !m->ended) return UV_EAGAIN;
  if (!n) return m->reset ? UV_ECONNRESET : 0;
  n = least(n, next_chunk(m));
  first = least(n, room[0].size);
  memcpy(room[0].at, peri_buf_bytes(&m->in), first);
  if (rooms == 2) second = least(n - first, room[1].size);
  if (second)
    memcpy(room[1].at, peri_buf_bytes(&m->in) + first, second);
  peri_buf_take(c->h.loop, pool_of(c), &m->in, first + second);
  take_queued(m);
  if (has_arrived(m)) poke(m);
  return (ssize_t)(first + second);
}

static int memory_watch(peri_transport *c) {
  if (has_arrived(memory_of(c))) poke(memory_of(c));
  return 0;
}

static void memory_unwatch(peri_transport *c) {
  (void)c;
}

/* }===================================================================== */

/* {== Writing ========================================================== */

/* Appends to what the peer has: 0, or a uv status. */
static int append(peri_memory *to, const char *bytes, size_t n) {
  peri_transport *c = to->c;
  if (!peri_buf_add(c->h.loop, pool_of(c), &to->in, bytes, n)) return 0;
  to->in.lost = 0; /* what was there before is there still */
  return UV_ENOMEM;
}

/* Nothing is queued, or this would be. */
static ssize_t memory_send(peri_transport *c, const uv_buf_t *b,
                           unsigned n) {
  peri_memory *to = memory_of(c)->peer;
  size_t sent = 0;
  if (!to) return UV_EPIPE;
  for (unsigned i = 0; i < n; i++) {
    size_t now = least(b[i].len, to->room - available(to));
    if (!now) continue;
    if (append(to, b[i].base, now)) return sent ? (ssize_t)sent : UV_ENOMEM;
    sent += now;
  }
  if (!sent) return UV_EAGAIN;
  poke(to);
  return (ssize_t)sent;
}

static int memory_queue(peri_transport *c, const char *bytes, size_t n) {
  peri_memory *to = memory_of(c)->peer;
  if (!to) return UV_EPIPE;
  int status = append(to, bytes, n);
  if (status) return status;
  to->queued += n;
  take_queued(to);
  return 0;
}

static int memory_shut(peri_transport *c) {
  peri_memory *to = memory_of(c)->peer;
  if (!to) return 0;
  to->ended = 1;
  poke(to);
  return 0;
}

/* }===================================================================== */

/* {== The end ========================================================== */

/* What was queued is lost, what was sent is not. */
static void part(peri_memory *m, peri_memory *peer) {
  peri_transport *c = peer->c;
  size_t left = available(peer);
  peer->in.len = left;
  peer->queued = 0;
  if (!left) peri_buf_clear(c->h.loop, pool_of(c), &peer->in);
  peer->ended = 1;
  peer->reset = m->in.len > 0;
  peer->peer = m->peer = NULL;
  poke(peer);
}

/* Twice is fine. */
static void memory_end(peri_transport *c) {
  peri_memory *m = memory_of(c);
  if (m->peer) part(m, m->peer);
  peri_link_out(&m->run.link);
  m->queued = 0;
  peri_buf_clear(c->h.loop, pool_of(c), &m->in);
}

static size_t size_of(uint32_t count) {
  return sizeof(peri_memory) + count * sizeof(uint32_t);
}

static void memory_free(peri_loop *l, peri_transport *c) {
  peri_memory *m = memory_of(c);
  memory_end(c);
  c->medium = NULL;
  peri_free(l, m, size_of(m->count));
}

static void memory_name(lua_State *L, const peri_transport *c) {
  (void)c;
  lua_pushliteral(L, "memory");
}

static const peri_medium_type memory_type = {
  memory_recv, memory_watch, memory_unwatch, memory_send, memory_queue,
  memory_shut, memory_end, memory_free, memory_name};

/* }===================================================================== */

/* {== Lua side ========================================================= */

/* The end of a transport; reads the sizes of chunks from the list at 2. NULL
** when out of memory. */
static peri_memory *new_end(lua_State *L, peri_loop *l, peri_transport *c) {
  uint32_t count = (uint32_t)lua_rawlen(L, 2);
  peri_memory *m = peri_alloc(l, size_of(count));
  if (!m) return NULL;
  memset(m, 0, sizeof *m);
  peri_link_init(&m->run.link);
  m->base.type = &memory_type;
  m->run.run = step;
  m->c = c;
  m->room = (size_t)lua_tointeger(L, 1);
  m->count = count;
  for (uint32_t i = 0; i < count; i++) {
    lua_rawgeti(L, 2, (lua_Integer)i + 1);
    m->chunks[i] = (uint32_t)lua_tointeger(L, -1);
    lua_pop(L, 1);
  }
  c->medium = &m->base;
  return m;
}

/* core.memory(room, chunks) -> two transports that are connected with each
** other. */
static int memory(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  luaL_checkinteger(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  peri_transport *a = peri_transport_new(L, l, UV_NAMED_PIPE);
  peri_transport *b = peri_transport_new(L, l, UV_NAMED_PIPE);
  peri_memory *to_a = new_end(L, l, a), *to_b = new_end(L, l, b);
  if (!to_a || !to_b) {
    peri_transport_close(l, a);
    peri_transport_close(l, b);
    return luaL_error(L, "not enough memory");
  }
  to_a->peer = to_b;
  to_b->peer = to_a;
  return 2;
}

/* }===================================================================== */

void peri_memory_open(lua_State *L, peri_loop *l) {
  peri_stash_push(l, L, PERI_STASH_LOOP);
  lua_pushcclosure(L, memory, 1);
  lua_setfield(L, -2, "memory");
}
