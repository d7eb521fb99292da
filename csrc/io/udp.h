/*
** udp.h - UDP sockets.
**
** udp.c        life: box, bind, connect, close; names
** datagram.c   send, recv, callback style
** multicast.c  options
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_UDP_H
#define PERI_UDP_H

#include "addr.h"
#include "handle.h"
#include "sched/context.h"
#include "sched/task.h"
#include "status.h"

/*
** A socket of our own, watched by uv_poll_t: nothing is queued here. Who
** finds no room in the kernel waits for it, and then sends itself.
*/
typedef struct peri_udp {
  peri_handle h;
  uv_poll_t uv;
  struct peri_udp **box;  /* the userdata, which points to us; or NULL */
  peri_runnable run;      /* steps of the callback style; collection */
  peri_frame frame;       /* for life */
  peri_task *receiver;    /* while it is parked, or NULL */
  peri_waitlist senders;  /* for room; the first has the next turn */
  int fd;
  int family;
  int events;             /* those that uv watches for */
  /* The host that was last received from, without port, and as text: it is
  ** likely to be the next one as well, or to be answered. */
  peri_addr last;
  char text[PERI_ADDR_TEXT];
  peri_addr peer;         /* if connected; else AF_UNSPEC */
  unsigned receiving : 1; /* a recv is under way, parked or woken */
  unsigned readable : 1;  /* there may be something to receive */
  unsigned granted : 1;   /* a woken sender has yet to take its turn */
  unsigned closed : 1;
  unsigned collected : 1; /* nobody holds the box */
  unsigned protocol : 1;  /* callback style, as user value 1 says */
  unsigned made : 1;      /* connection_made was called */
} peri_udp;

/* Sets `udp` in the table on top. Called once. */
void peri_udp_open(lua_State *L, peri_loop *l);

/* {== Between the three files ========================================== */

/* The socket of the box at 1; NULL if it was closed. Raises "bad argument"
** for anything else. */
peri_udp *peri_udp_check(lua_State *L);

/* Its peer, or where it is bound: "127.0.0.1:53"; returns `text`. */
const char *peri_udp_text(const peri_udp *u, char text[PERI_ADDR_TEXT]);

/* Pushes nil, message, code; returns 3. `u` may be NULL. */
int peri_udp_fail(lua_State *L, const peri_udp *u, int status,
                  const char *operation);

/* Closes it as its user does. */
void peri_udp_close(peri_loop *l, peri_udp *u);

/* It is closed, and its protocol has been told. */
void peri_udp_end(peri_udp *u);

/* Has uv tell of these events, and no others: 0, or a uv status. */
int peri_udp_watch(peri_udp *u, int events);

/* As long as a protocol has it, the logical context has not ended. */
static inline void peri_udp_hand_over(peri_udp *u) {
  if (!u->protocol) peri_logical_enter(u->frame.logical);
  u->protocol = 1;
}
static inline void peri_udp_take_back(peri_loop *l, peri_udp *u) {
  if (u->protocol) peri_logical_leave(l, u->frame.logical);
  u->protocol = 0;
}

/* A callback's turn to look what there is. */
static inline void peri_udp_ready(peri_udp *u) {
  if (peri_link_alone(&u->run.link)) peri_loop_ready(u->h.loop, &u->run);
}

/* datagram.c: what uv has seen; whoever waits when it is closed; a turn's
** worth of callback style; the protocol on top of the stack takes over the
** socket at `idx`. */
void peri_udp_tell(peri_udp *u, int events);
void peri_udp_wake_all(peri_loop *l, peri_udp *u);
void peri_udp_run(peri_loop *l, peri_udp *u, lua_State *L);
void peri_udp_start(lua_State *L, peri_loop *l, int idx);

/* Methods: C functions with the loop and the metatable as upvalues. */
extern const luaL_Reg peri_datagram_methods[], peri_multicast_methods[];

/* }===================================================================== */

#endif
