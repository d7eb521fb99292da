/*
** multicast.c - UDP sockets: broadcast and multicast.
**
** Lua side: broadcast, join, leave, multicast. Interfaces are given by name
** ("eth0"), and groups joined by the calls of RFC 3678, which are the same
** for both families.
**
** SPDX-License-Identifier: MIT
*/
#include "udp.h"

#ifndef _WIN32

#include <errno.h>
#include <lauxlib.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "sched/error.h"

static int level_of(int family) {
  return family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
}

static int set(const peri_udp *u, int level, int name, const void *value,
               socklen_t n) {
  return setsockopt(u->fd, level, name, value, n) ? -errno : 0;
}

/* Returns the socket if the status is good. */
static int chain(lua_State *L, const peri_udp *u, int status,
                 const char *operation) {
  if (status) return peri_udp_fail(L, u, status, operation);
  lua_settop(L, 1);
  return 1;
}

/* The index of the interface with the name at `idx`, 0 for none given; or a
** uv status. */
static int interface_at(lua_State *L, int idx) {
  const char *name = luaL_optstring(L, idx, NULL);
  if (!name) return 0;
  unsigned index = if_nametoindex(name);
  return index ? (int)index : UV_ENODEV;
}

/* {== broadcast ======================================================== */

/* udp:broadcast([on = true]) -> udp, or nil, message, code. Whether it may
** send to broadcast addresses. Never waits. */
static int udp_broadcast(lua_State *L) {
  peri_udp *u = peri_udp_check(L);
  int on = lua_isnoneornil(L, 2) || lua_toboolean(L, 2);
  int status = PERI_ECLOSED;
  if (u) status = set(u, SOL_SOCKET, SO_BROADCAST, &on, sizeof on);
  return chain(L, u, status, "broadcast");
}

/* }===================================================================== */

/* {== join, leave ====================================================== */

typedef struct membership {
  peri_addr group, source; /* source: AF_UNSPEC for any */
  int index;               /* of the interface; or a uv status */
} membership;

static void check_numeric(lua_State *L, int idx, peri_addr *a) {
  luaL_argcheck(L, !peri_addr_parse(a, luaL_checkstring(L, idx), 0), idx,
                "numeric address expected");
}

static void check_membership(lua_State *L, membership *m) {
  check_numeric(L, 2, &m->group);
  m->index = interface_at(L, 3);
  m->source.any.sa_family = AF_UNSPEC;
  if (!lua_isnoneornil(L, 4)) check_numeric(L, 4, &m->source);
}

static int change_any(const peri_udp *u, const membership *m, int name) {
  struct group_req r = {.gr_interface = (uint32_t)m->index};
  memcpy(&r.gr_group, &m->group, peri_addr_size(&m->group));
  return set(u, level_of(m->group.any.sa_family), name, &r, sizeof r);
}

static int change_source(const peri_udp *u, const membership *m, int name) {
  struct group_source_req r = {.gsr_interface = (uint32_t)m->index};
  memcpy(&r.gsr_group, &m->group, peri_addr_size(&m->group));
  memcpy(&r.gsr_source, &m->source, peri_addr_size(&m->source));
  return set(u, level_of(m->group.any.sa_family), name, &r, sizeof r);
}

static int change(lua_State *L, int any, int source, const char *operation) {
  membership m;
  peri_udp *u = peri_udp_check(L);
  check_membership(L, &m);
  int status = u ? 0 : PERI_ECLOSED;
  if (!status && m.index < 0) status = m.index;
  if (!status)
    status = m.source.any.sa_family == AF_UNSPEC ? change_any(u, &m, any)
                                                 : change_source(u, &m, source);
  return chain(L, u, status, operation);
}

/*
** udp:join(group [, interface [, source]]) -> udp, or nil, message, code.
** Receives what is sent to the multicast group, an address, from now on; by
** the interface of this name, or the system's choice; from any source, or
** this one only. Never waits.
*/
static int udp_join(lua_State *L) {
  return change(L, MCAST_JOIN_GROUP, MCAST_JOIN_SOURCE_GROUP, "join");
}

/* udp:leave(group [, interface [, source]]) -> udp, or nil, message, code.
** Undoes a join with the same arguments. Never waits. */
static int udp_leave(lua_State *L) {
  return change(L, MCAST_LEAVE_GROUP, MCAST_LEAVE_SOURCE_GROUP, "leave");
}

/* }===================================================================== */

/* {== multicast ======================================================== */

static int set_hops(const peri_udp *u, int family, int n) {
  unsigned char byte = (unsigned char)n;
  if (family == AF_INET6)
    return set(u, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &n, sizeof n);
  return set(u, IPPROTO_IP, IP_MULTICAST_TTL, &byte, sizeof byte);
}

static int set_loop(const peri_udp *u, int family, int on) {
  unsigned char byte = (unsigned char)on;
  unsigned number = (unsigned)on;
  if (family == AF_INET6)
    return set(u, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, &number, sizeof number);
  return set(u, IPPROTO_IP, IP_MULTICAST_LOOP, &byte, sizeof byte);
}

static int set_interface(const peri_udp *u, int family, int index) {
  struct ip_mreqn m = {.imr_ifindex = index};
  if (index < 0) return index;
  if (family == AF_INET6)
    return set(u, IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof index);
  return set(u, IPPROTO_IP, IP_MULTICAST_IF, &m, sizeof m);
}

/* Options, with -1 for what was not given. */
typedef struct options {
  int ttl, loop, by_name, index;
} options;

static int ttl_field(lua_State *L) {
  int good;
  lua_Integer n = lua_tointegerx(L, -1, &good);
  luaL_argcheck(L, good && n >= 0 && n <= 255, 2,
                "option 'ttl' must be an integer from 0 to 255");
  return (int)n;
}

static void read_options(lua_State *L, options *o) {
  static const char *const names[] = {"ttl", "loop", "interface", NULL};
  luaL_checktype(L, 2, LUA_TTABLE);
  peri_error_check_options(L, 2, names);
  int type = lua_getfield(L, 2, "ttl");
  o->ttl = type == LUA_TNIL ? -1 : ttl_field(L);
  type = lua_getfield(L, 2, "loop");
  o->loop = type == LUA_TNIL ? -1 : lua_toboolean(L, -1);
  type = lua_getfield(L, 2, "interface");
  luaL_argcheck(L, type == LUA_TNIL || type == LUA_TSTRING, 2,
                "option 'interface' must be a name");
  o->by_name = type == LUA_TSTRING;
  o->index = interface_at(L, -1);
}

static int apply(const peri_udp *u, const options *o) {
  int family = u->family, status = 0;
  if (o->ttl >= 0) status = set_hops(u, family, o->ttl);
  if (!status && o->loop >= 0) status = set_loop(u, family, o->loop);
  if (!status && o->by_name) status = set_interface(u, family, o->index);
  return status;
}

/*
** udp:multicast(opts) -> udp, or nil, message, code. How it sends to groups;
** of the table's fields those that are there: `ttl` (how many routers a
** datagram may pass; the system's is 1), `loop` (whether this machine gets
** it as well; the system's is true), `interface` (a name). Never waits.
*/
static int udp_multicast(lua_State *L) {
  options o;
  peri_udp *u = peri_udp_check(L);
  read_options(L, &o);
  return chain(L, u, u ? apply(u, &o) : PERI_ECLOSED, "multicast");
}

/* }===================================================================== */

const luaL_Reg peri_multicast_methods[] = {
  {"broadcast", udp_broadcast}, {"join", udp_join}, {"leave", udp_leave},
  {"multicast", udp_multicast}, {NULL, NULL}};

#endif
