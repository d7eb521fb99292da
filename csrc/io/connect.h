/*
** connect.h - connecting a transport: tcp and unix.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_CONNECT_H
#define PERI_CONNECT_H

#include "request.h"
#include "transport.h"

#define PERI_CONNECT_MS 30000u
#define PERI_NO_LIMIT UINT32_MAX

/* An attempt; one uv callback ends it. */
typedef struct peri_connecting {
  peri_request r;
  uv_connect_t uv;
  peri_transport *c; /* what shall be connected; valid until the callback */
  peri_timer timer;  /* of the attempt's time limit */
  unsigned timed_out : 1;
} peri_connecting;

/*
** How an operation goes: the stack has two values that name the peer, a
** table of options or nil at 3, and nothing else; then
**   peri_connect_prepare  enters the wait and pushes a transport,
**   uv_..._connect        with `uv` and peri_on_connected,
**   peri_connect_wait     parks, or fails at once.
*/

/* Options: timeout in seconds (30), protocol, linger, nodelay. Raises as
** peri_wait_enter does, for mistakes in the options, and out of memory. */
peri_connecting *peri_connect_prepare(lua_State *L, peri_loop *l,
                                      uv_handle_type type);

void peri_on_connected(uv_connect_t *req, int status);

/* Waits, if `status` is 0; returns the transport, or nil, message, code. To
** be returned by the C function. */
int peri_connect_wait(lua_State *L, peri_loop *l, peri_connecting *k,
                      int status);

#endif
