/*
** addr.h - socket addresses: parse and format.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_ADDR_H
#define PERI_ADDR_H

#include <lua.h>
#include <uv.h>

/* The address of an IPv4 or IPv6 socket; family AF_UNSPEC if unknown. */
typedef union peri_addr {
  struct sockaddr any;
  struct sockaddr_in in;
  struct sockaddr_in6 in6;
} peri_addr;

#define PERI_ADDR_TEXT 96 /* room for "[host%interface]:port" */

static inline unsigned peri_addr_size(const peri_addr *a) {
  return a->any.sa_family == AF_INET6 ? sizeof a->in6 : sizeof a->in;
}

/* Parses a numeric host, "::1" or "fe80::1%eth0" for instance: 0, or
** UV_EINVAL if that is a name. */
int peri_addr_parse(peri_addr *a, const char *host, int port);

/* Takes over what the system says; other families become AF_UNSPEC. */
void peri_addr_set(peri_addr *a, const struct sockaddr *sa);

/* Formats as "127.0.0.1:80", "[::1]:80", or "?"; returns `text`. */
const char *peri_addr_text(const peri_addr *a, char text[PERI_ADDR_TEXT]);

/* Pushes host and port; returns 2. */
int peri_addr_push(lua_State *L, const peri_addr *a);

/* A port number from 0 to 65535; raises "bad argument". */
int peri_addr_check_port(lua_State *L, int idx);

#endif
