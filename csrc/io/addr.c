/*
** addr.c - socket addresses: parse and format.
**
** SPDX-License-Identifier: MIT
*/
#include "addr.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

#define HOST_TEXT (INET6_ADDRSTRLEN + UV_IF_NAMESIZE + 1)

int peri_addr_parse(peri_addr *a, const char *host, int port) {
  memset(a, 0, sizeof *a);
  if (!uv_ip4_addr(host, port, &a->in)) return 0;
  return uv_ip6_addr(host, port, &a->in6) ? UV_EINVAL : 0;
}

void peri_addr_set(peri_addr *a, const struct sockaddr *sa) {
  memset(a, 0, sizeof *a);
  if (sa->sa_family == AF_INET) memcpy(&a->in, sa, sizeof a->in);
  if (sa->sa_family == AF_INET6) memcpy(&a->in6, sa, sizeof a->in6);
  if (!a->any.sa_family) a->any.sa_family = AF_UNSPEC;
}

/* A link-local address means nothing without its interface. */
static void add_zone(char *text, unsigned index) {
  size_t n = strlen(text), room = HOST_TEXT - n - 1;
  if (index && !uv_if_indextoname(index, text + n + 1, &room)) text[n] = '%';
}

static void host_text(const peri_addr *a, char text[HOST_TEXT]) {
  if (a->any.sa_family == AF_INET) {
    uv_ip4_name(&a->in, text, HOST_TEXT);
  } else if (a->any.sa_family == AF_INET6) {
    uv_ip6_name(&a->in6, text, HOST_TEXT);
    add_zone(text, a->in6.sin6_scope_id);
  } else {
    strcpy(text, "?");
  }
}

/* Both families have the port in the same place. */
static int port_of(const peri_addr *a) {
  return ntohs(a->in.sin_port);
}

const char *peri_addr_text(const peri_addr *a, char text[PERI_ADDR_TEXT]) {
  char host[HOST_TEXT];
  host_text(a, host);
  if (a->any.sa_family == AF_INET6)
    snprintf(text, PERI_ADDR_TEXT, "[%s]:%d", host, port_of(a));
  else if (a->any.sa_family == AF_INET)
    snprintf(text, PERI_ADDR_TEXT, "%s:%d", host, port_of(a));
  else
    strcpy(text, host);
  return text;
}

int peri_addr_push(lua_State *L, const peri_addr *a) {
  char host[HOST_TEXT];
  host_text(a, host);
  lua_pushstring(L, host);
  lua_pushinteger(L, port_of(a));
  return 2;
}

int peri_addr_check_port(lua_State *L, int idx) {
  lua_Integer port = luaL_checkinteger(L, idx);
  luaL_argcheck(L, port >= 0 && port <= 65535, idx,
                "port from 0 to 65535 expected");
  return (int)port;
}
