/*
** server.h - sockets that listen: tcp and unix.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_SERVER_H
#define PERI_SERVER_H

#include "bound.h"
#include "transport.h"

typedef struct peri_server peri_server;
struct peri_server {
  peri_handle h;
  union {
    uv_handle_t any;
    uv_poll_t poll;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  } uv;
  peri_server **box;      /* the userdata, which points to us; or NULL */
  peri_runnable run;      /* accepts for a protocol; collection */
  peri_frame frame;       /* for what it accepts by itself */
  peri_waitlist acceptors;
  peri_timer backoff;     /* armed: out of descriptors, try later */
  peri_options options;   /* of its connections */
  uv_handle_type type;    /* of its connections */
  uv_os_sock_t fd;        /* -1: none */
  uv_os_sock_t accepted;  /* by accept(2), without a transport yet; or -1 */
  peri_addr peer;         /* of `accepted` */
  peri_bound bound;       /* unix: the file */
  unsigned ready : 1;     /* there may be somebody to accept */
  unsigned watching : 1;
  unsigned granted : 1;   /* a woken acceptor has yet to take its turn */
  unsigned closed : 1;
  unsigned collected : 1; /* nobody holds the box */
  unsigned protocol : 1;  /* accepts by itself, as user value 1 says */
};

/* Makes the metatables. Called once. */
void peri_server_open(lua_State *L, peri_loop *l);

/* {== Between server.c and listen.c ==================================== */

#define PERI_NO_SOCKET ((uv_os_sock_t)-1)

const char *peri_server_type_name(uv_handle_type type);

/* Makes a server that uv does not know of yet. Raises out of memory. */
peri_server *peri_server_new(lua_State *L, peri_loop *l, uv_handle_type type);

/* uv has just initialized its handle. */
void peri_server_enter(peri_loop *l, peri_server *s);

/* It did not get to listen: frees it, now or when uv has closed it. */
void peri_server_discard(peri_loop *l, peri_server *s);

/* It listens. On the stack are the box, which adopts it, and a protocol or
** nil, which is popped. */
void peri_server_start(lua_State *L, peri_loop *l, peri_server **box,
                       peri_server *s);

#if PERI_BY_UV
int peri_server_uv_listen(peri_server *s, int backlog);
#endif

/* }===================================================================== */

/*
** Pushes a box with a server of connections of type UV_TCP or UV_NAMED_PIPE
** that listens at this address, in the current context. Options at `idx` (a
** table, or none): backlog, reuseport, protocol, linger, nodelay. Returns 0,
** or a uv status, and has pushed nothing of use then. Raises for a mistake
** in the options, and out of memory.
*/
int peri_server_listen(lua_State *L, peri_loop *l, uv_handle_type type,
                       const struct sockaddr *sa, unsigned size, int idx);

#endif
