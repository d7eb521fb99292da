/*
** transport.h - open byte streams: tcp and unix sockets, and others.
**
** transport.c  life: box, close, linger, abort; names and options
** read.c       the reading side
** write.c      the writing side
** protocol.c   callback style
** memory.c     a medium for tests: pairs in memory
** stream.c     a medium for descriptors that are no sockets of ours
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_TRANSPORT_H
#define PERI_TRANSPORT_H

#include "addr.h"
#include "buf.h"
#include "framing.h"
#include "handle.h"
#include "sched/context.h"
#include "sched/hand.h"
#include "sched/task.h"
#include "status.h"

/*
** Where descriptors cannot be read by hand, libuv reads and accepts. That
** way works everywhere, so that it can be tested where it is not needed.
*/
#if defined(_WIN32) && !defined(PERI_BY_UV)
#define PERI_BY_UV 1
#endif
#ifndef PERI_BY_UV
#define PERI_BY_UV 0
#endif

#define PERI_WRITE_HIGH 65536u /* unsent bytes above which writers wait */
#define PERI_WRITE_LOW 16384u  /* a protocol resumes writing at this */
#define PERI_LINGER 5000u      /* milliseconds */

typedef struct peri_transport peri_transport;
typedef struct peri_medium peri_medium;

/* The userdata. A look at `type` tells it from those of others at a fraction
** of what comparing metatables costs, for each call of a method. */
typedef struct peri_box {
  peri_transport *c; /* NULL once it was closed */
  const char *type;  /* peri_tcp_type, or another of these */
} peri_box;

extern const char peri_tcp_type[], peri_unix_type[], peri_stream_type[];

static inline peri_transport *peri_box_at(lua_State *L, int idx) {
  return ((peri_box *)lua_touserdata(L, idx))->c;
}

/* What every message touches comes first. */
struct peri_transport {
  peri_handle h;
  union {
    uv_handle_t any;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
    uv_poll_t poll;
  } uv;
  unsigned readable : 1;  /* there may be something to read */
  unsigned reading : 1;   /* a read is under way, parked or woken */
  unsigned taking : 1;    /* strings are being made of what is in `in` */
  unsigned watching : 1;  /* uv tells when there is */
  unsigned eof : 1;       /* the peer has ended its side */
  unsigned granted : 1;   /* a woken writer has yet to take its turn */
  unsigned shut : 2;      /* our side: 1 to be ended once sent, 2 ended */
  unsigned closed : 1;    /* its user is done with it */
  unsigned lingering : 1; /* closed, but still sends */
  unsigned resetting : 1; /* the peer is to get a reset */
  unsigned finished : 1;  /* closed, and nothing more to send */
  unsigned collected : 1; /* nobody holds the box */
  unsigned asked : 1;     /* the kernel, since the last one was done */
  unsigned cheap : 2;     /* done without it since then, modulo */
  unsigned standing : 1;  /* is the Lua state's, and outlives runs */
  /* Callback style (protocol.c). */
  unsigned protocol : 1;
  unsigned made : 1;      /* connection_made was called */
  unsigned paused : 1;    /* by its user */
  unsigned choked : 1;    /* pause_writing was called */
  unsigned eof_told : 1;  /* eof_received was called */
  int read_error, write_error; /* uv status, for good */
  uv_os_sock_t fd;        /* kept here: reading it from uv's struct would
                             fetch three more lines of memory */
  peri_medium *medium;    /* what it has instead of one, or NULL */
  /* Reading. */
  peri_task *reader;      /* while it is parked, or NULL */
  peri_buf in;
  peri_marks marks;       /* in the bytes of `in` */
  /* Writing. `out` gathers what leaves when the activation ends. `handed`
  ** and `sent` count bytes that uv queues and has sent, modulo. */
  char *out;
  uint32_t outlen, outmax; /* bytes gathered; at most, 0: none */
  size_t handed, sent;
  peri_waitlist writers;  /* for room; the first has the next turn */
  peri_waitlist flushers; /* for bytes to be sent */
  peri_leaving leaving;
  peri_box *box;          /* which points to us; or NULL */
  peri_runnable run;      /* steps of the callback style; collection */
  peri_frame frame;       /* for life; `logical` is NULL while that is one
                             of a server's and nobody asks for it */
  peri_timer linger;
  uint32_t linger_ms;
  peri_addr peer;         /* tcp only */
};

/*
** What carries the bytes of a transport that has no socket. Its uv handle is
** there to be closed. No function touches Lua, but for `push_name`. As with
** uv, nobody is told of anything before the next turn.
*/
typedef struct peri_medium_type {
  /* Takes what is there: bytes, 0 at the end, or a uv status. */
  ssize_t (*recv)(peri_transport *c, const peri_room *room, int rooms);
  /* Tells of what arrives, by peri_read_tell: 0, or a uv status; no more. */
  int (*watch)(peri_transport *c);
  void (*unwatch)(peri_transport *c);
  /* Sends without waiting: bytes, or a uv status. */
  ssize_t (*send)(peri_transport *c, const uv_buf_t *b, unsigned n);
  /* Keeps a copy, to be sent later: 0, or a uv status. */
  int (*queue)(peri_transport *c, const char *bytes, size_t n);
  /* Ends our side behind what was sent: 0, or a uv status. */
  int (*shut)(peri_transport *c);
  /* The transport is about to be closed: what was queued is lost. */
  void (*end)(peri_transport *c);
  /* It has been closed: frees the medium. */
  void (*free)(peri_loop *l, peri_transport *c);
  /* What messages call the other side. */
  void (*push_name)(lua_State *L, const peri_transport *c);
  /* Something is about to be written; or NULL. */
  void (*before)(peri_transport *c);
} peri_medium_type;

/* The beginning of a medium. */
struct peri_medium {
  const peri_medium_type *type;
};

/* The loop, in a C function that has just looked at its box. */
static inline peri_loop *peri_loop_of(lua_State *L, const peri_transport *c) {
  return c ? c->h.loop : PERI_LOOP(L);
}

/* {== transport.c ====================================================== */

/* Makes the metatables, and sets core functions in the table on top. Called
** once. */
void peri_transport_open(lua_State *L, peri_loop *l);

/*
** Pushes a box with a new transport of type UV_TCP or UV_NAMED_PIPE that
** has no descriptor yet, in the current context. Raises out of memory.
*/
peri_transport *peri_transport_new(lua_State *L, peri_loop *l,
                                   uv_handle_type type);

/*
** The same in two steps. The first pushes an empty box, and may raise. The
** second makes its transport, or returns NULL when out of memory; one of type
** UV_POLL is for a descriptor, which stays the caller's: if uv cannot watch
** it, or it is negative, there is an unused UV_NAMED_PIPE instead.
*/
peri_box *peri_transport_box(lua_State *L, peri_loop *l,
                             uv_handle_type type);
peri_transport *peri_transport_begin(peri_loop *l, peri_box *box,
                                     uv_handle_type type, int fd);

/* True while one that outlives runs has bytes to send. */
int peri_transport_owes(const peri_loop *l);

/* Gives it a connected socket, which it owns then: 0, or a uv status. */
int peri_transport_adopt(peri_transport *c, uv_os_sock_t fd);

/* uv has given it a connected socket: 0, or a uv status. */
int peri_transport_connected(peri_transport *c);

/* The transport of the box at 1; NULL if it was closed. Raises "bad
** argument" for anything else. */
peri_transport *peri_transport_check(lua_State *L);

/* Closes it as conn:close() does. */
void peri_transport_close(peri_loop *l, peri_transport *c);

/* Closes it without sending what is queued; the peer gets a reset. */
void peri_transport_abort(peri_loop *l, peri_transport *c);

/* Goes on with closing once nothing is left to be sent. */
void peri_transport_drained(peri_loop *l, peri_transport *c);

/* Nobody is told any more: the descriptor is closed. */
void peri_transport_end(peri_transport *c);

/*
** Ends an operation of the transport at 1 that completed at once, with the
** `n` values on top. Four that needed no system call count as one.
*/
int peri_transport_done(lua_State *L, peri_loop *l, int n);

/* Pushes "read 127.0.0.1:80" for messages. `c` may be NULL. */
const char *peri_transport_what(lua_State *L, const peri_transport *c,
                                const char *operation);

/* Pushes nil, message, code; returns 3. */
int peri_transport_fail(lua_State *L, const peri_transport *c, int status,
                        const char *operation);

/* Options common to what makes transports, from the table at `idx`. */
typedef struct peri_options {
  uint32_t linger_ms;
  int nodelay;
} peri_options;

void peri_options_read(lua_State *L, int idx, peri_options *o);

/* A field of the table at `idx` in seconds, as milliseconds; `none` if it
** is nil. Raises "bad argument". */
uint32_t peri_option_ms(lua_State *L, int idx, const char *name,
                        uint32_t none);

/* }===================================================================== */

/* {== read.c =========================================================== */

extern const luaL_Reg peri_read_methods[];

/* Reads what is there into `in`: 0 (also at the end and for an error, which
** are noted), or UV_EAGAIN. `want` bytes in all are asked for, if known. */
int peri_read_fill(peri_loop *l, peri_transport *c, size_t want);

/* Has uv tell when something can be read: 0, or a uv status. */
int peri_read_watch(peri_transport *c);

/* There is something to read: whoever reads, or the protocol, is told. */
void peri_read_tell(peri_transport *c);

/* Wakes the reader, stops watching, drops what was read ahead. */
void peri_read_close(peri_loop *l, peri_transport *c);

/* }===================================================================== */

/* {== write.c ========================================================== */

extern const luaL_Reg peri_write_methods[];

void peri_write_init(peri_transport *c);

/* Bytes that the kernel does not have yet. */
static inline size_t peri_write_unsent(const peri_transport *c) {
  return c->outlen + (c->handed - c->sent);
}

/* Sends what was gathered. */
void peri_write_flush(peri_loop *l, peri_transport *c);

/* `n` of the bytes handed over were sent; or nothing can be, any more. */
void peri_write_sent(peri_loop *l, peri_transport *c, size_t n);
void peri_write_fail(peri_loop *l, peri_transport *c, int status);

/* Wakes all who wait to write. */
void peri_write_close(peri_loop *l, peri_transport *c);

/* Drops what was gathered. */
void peri_write_drop(peri_loop *l, peri_transport *c);

/* }===================================================================== */

/* {== protocol.c ======================================================= */

extern const luaL_Reg peri_protocol_methods[];

/* A turn's worth of steps in callback style. */
void peri_protocol_run(peri_loop *l, peri_transport *c, lua_State *L);

/* Hands the transport over to a protocol, or takes it back: as long as one
** is told, the logical context has not ended. */
static inline void peri_protocol_hand_over(peri_transport *c) {
  if (!c->protocol) peri_logical_enter(c->frame.logical);
  c->protocol = 1;
}
static inline void peri_protocol_take_back(peri_loop *l, peri_transport *c) {
  if (c->protocol) peri_logical_leave(l, c->frame.logical);
  c->protocol = 0;
}

/* Something has happened that a protocol is to be told of. */
static inline void peri_protocol_ready(peri_loop *l, peri_transport *c) {
  if (peri_link_alone(&c->run.link)) peri_loop_ready(l, &c->run);
}

/* Hands the transport at `idx` over to the protocol on top of the stack (a
** table or a function that makes one), which is popped. May raise. */
void peri_protocol_start(lua_State *L, peri_loop *l, int idx);

/* }===================================================================== */

#endif
