/*
** dns.c - host names to addresses.
**
** uv side: on_found, when a thread of uv's pool has asked the system.
** Lua side: core.dns.getaddrinfo(host [, family]).
**
** A box on the stack of the task that waits owns the request. What uv works
** on is a job of its own, which on_found frees; it comes from malloc, for a
** look-up that hangs outlives the Lua state. Once the box has dropped its
** request, the job is nobody's, and frees its late result as well.
**
** SPDX-License-Identifier: MIT
*/
#include "dns.h"

#include <stdlib.h>
#include <string.h>

#include "addr.h"
#include "poller.h"
#include "request.h"
#include "sched/error.h"
#include "status.h"

#define BOX "perilune.lookup"

typedef struct lookup lookup;

typedef struct job {
  uv_getaddrinfo_t req;
  lookup *of; /* who wants the result, or NULL */
} job;

/* To request.c it is never pending: it can be freed at any time. */
struct lookup {
  peri_request base;
  job *job;               /* until it is done */
  struct addrinfo *found; /* from then on */
};

/* {== uv side ========================================================== */

static void on_found(uv_getaddrinfo_t *req, int status,
                     struct addrinfo *found) {
  job *j = PERI_OF(req, job, req);
  lookup *r = j->of;
  free(j);
  if (!r) {
    uv_freeaddrinfo(found);
    return;
  }
  r->job = NULL;
  r->found = found;
  peri_request_done(&r->base, status);
}

/* A job that no thread has begun never will be. */
static void dispose(peri_loop *l, peri_request *base) {
  lookup *r = PERI_OF(base, lookup, base);
  (void)l;
  uv_freeaddrinfo(r->found);
  if (!r->job) return;
  r->job->of = NULL;
  uv_cancel((uv_req_t *)&r->job->req);
}

static void drop(lookup **box) {
  if (*box) peri_request_drop(&(*box)->base);
  *box = NULL;
}

/* }===================================================================== */

/* {== Results ========================================================== */

/* Appends {address=, family=} to the list on top, unless the table above it,
** which is keyed by address, has it. */
static void add_address(lua_State *L, int list, const struct sockaddr *sa) {
  peri_addr a;
  peri_addr_set(&a, sa);
  peri_addr_push(L, &a);
  lua_pop(L, 1); /* the port */
  lua_pushvalue(L, -1);
  if (lua_rawget(L, list + 1) != LUA_TNIL) {
    lua_pop(L, 2);
    return;
  }
  lua_pop(L, 1);
  lua_createtable(L, 0, 2);
  lua_pushstring(L, a.any.sa_family == AF_INET ? "inet" : "inet6");
  lua_setfield(L, -2, "family");
  lua_pushvalue(L, -2);
  lua_setfield(L, -2, "address");
  lua_pushvalue(L, -1);
  lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1);
  lua_rawset(L, list + 1);
}

/* Pushes the list of what was found, without duplicates. */
static void push_list(lua_State *L, const struct addrinfo *ai) {
  peri_error_room(L, 8);
  lua_newtable(L);
  lua_newtable(L);
  for (int list = lua_gettop(L) - 1; ai; ai = ai->ai_next)
    if (ai->ai_family == AF_INET || ai->ai_family == AF_INET6)
      add_address(L, list, ai->ai_addr);
  lua_pop(L, 1);
}

static int fail(lua_State *L, int status) {
  return peri_status_fail(L, status, "look-up of %s", lua_tostring(L, 1));
}

/* }===================================================================== */

/* {== Lua side ========================================================= */

static int box_gc(lua_State *L) {
  drop(lua_touserdata(L, 1));
  return 0;
}

static int lookup_abort(peri_loop *l, peri_task *t, int why) {
  (void)l;
  (void)why;
  drop(t->on);
  return 1;
}

/* The stack: host, family, box. */
static int lookup_k(lua_State *L, int status, lua_KContext ctx) {
  lookup **box = lua_touserdata(L, 3);
  lookup *r = *box;
  (void)status;
  (void)ctx;
  int bad = r->base.status;
  if (!bad) push_list(L, r->found);
  drop(box);
  return bad ? fail(L, bad) : 1;
}

static const peri_wait looking_up = {"look-up of a name", lookup_abort,
                                     lookup_k};

/* Pushes an empty box. */
static lookup **new_box(lua_State *L) {
  lookup **box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = NULL;
  luaL_setmetatable(L, BOX);
  return box;
}

/* Gives the request a job: 0, or a uv status. One answer for each address is
** enough, not one for each type of socket. */
static int give_job(peri_loop *l, lookup *r, const char *host, int family) {
  struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM};
  job *j = calloc(1, sizeof *j);
  if (!j) return UV_ENOMEM;
  int status = uv_getaddrinfo(peri_poller_uv(l), &j->req, on_found, host,
                              NULL, &hints);
  if (status) {
    free(j);
    return status;
  }
  j->of = r;
  r->job = j;
  return 0;
}

/* Puts a look-up that has begun into the box: 0, or a uv status. */
static int begin(peri_loop *l, lookup **box, const char *host, int family) {
  lookup *r = peri_request_new(l, sizeof *r, dispose);
  if (!r) return UV_ENOMEM;
  *box = r;
  int status = give_job(l, r, host, family);
  if (status) drop(box);
  return status;
}

static int answer(lua_State *L, peri_loop *l, int family, peri_addr *a) {
  struct addrinfo ai = {.ai_family = a->any.sa_family, .ai_addr = &a->any};
  if (family != AF_UNSPEC && family != ai.ai_family)
    return peri_task_done(L, l, fail(L, UV_EAI_ADDRFAMILY));
  push_list(L, &ai);
  return peri_task_done(L, l, 1);
}

static int check_family(lua_State *L, int idx) {
  static const char *const names[] = {"any", "inet", "inet6", NULL};
  static const int families[] = {AF_UNSPEC, AF_INET, AF_INET6};
  return families[luaL_checkoption(L, idx, "any", names)];
}

static const char *check_host(lua_State *L, int idx) {
  size_t n;
  const char *host = luaL_checklstring(L, idx, &n);
  luaL_argcheck(L, strlen(host) == n, idx, "host name with a zero byte");
  return host;
}

/* core.dns.getaddrinfo(host [, "inet" | "inet6" | "any"]) -> list of {address=,
** family=}, or nil, message, code. Waits, unless the host is an address. */
static int dns_getaddrinfo(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_addr a;
  const char *host = check_host(L, 1);
  int family = check_family(L, 2);
  lua_settop(L, 2);
  peri_task *t = peri_wait_enter(L, l);
  if (!peri_addr_parse(&a, host, 0)) return answer(L, l, family, &a);
  lookup **box = new_box(L);
  int status = begin(l, box, host, family);
  if (status) return fail(L, status);
  (*box)->base.task = t;
  return peri_task_park(L, l, &looking_up, box, 0);
}

/* }===================================================================== */

void peri_dns_open(lua_State *L, peri_loop *l) {
  luaL_newmetatable(L, BOX);
  lua_pushcfunction(L, box_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  lua_createtable(L, 0, 1);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  lua_pushcclosure(L, dns_getaddrinfo, 1);
  lua_setfield(L, -2, "getaddrinfo");
  lua_setfield(L, -2, "dns");
}
