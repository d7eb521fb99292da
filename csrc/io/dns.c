/*
** dns.c - host names to addresses, and back.
**
** uv side: none in the loop; a thread of the resolver's asks the system by
** uv_getaddrinfo and uv_getnameinfo, which wait there.
** Lua side: core.dns.getaddrinfo, core.dns.getnameinfo.
**
** A box on the stack of the task that waits owns the request. What a thread
** works on is a job of its own. Once the request has dropped it, it is
** nobody's, and the resolver's to free.
**
** SPDX-License-Identifier: MIT
*/
#include "dns.h"

#include <stdlib.h>
#include <string.h>

#include "addr.h"
#include "request.h"
#include "resolver.h"
#include "sched/error.h"
#include "status.h"

#define BOX "perilune.lookup"

typedef struct lookup lookup;

/* The text of host and service follows the struct. */
typedef struct job {
  peri_job base;
  lookup *of;
  int status; /* UV_ECANCELED until a thread has had it */
  union {
    uv_getaddrinfo_t info;
    uv_getnameinfo_t name;
  } req;
  struct addrinfo hints;
  peri_addr addr; /* of a reverse look-up */
  const char *host, *service;
} job;

/* To request.c it is never pending: it can be freed at any time. */
struct lookup {
  peri_request base;
  job *job; /* or NULL: there was no thread for it */
  int done; /* then the job is ours */
};

/* {== In a thread ====================================================== */

static void find_addresses(peri_job *base, uv_loop_t *uv, int bad) {
  job *j = PERI_OF(base, job, base);
  j->status = bad;
  if (!bad)
    j->status = uv_getaddrinfo(uv, &j->req.info, NULL, j->host, j->service,
                               &j->hints);
}

static void find_name(peri_job *base, uv_loop_t *uv, int bad) {
  job *j = PERI_OF(base, job, base);
  j->status = bad;
  if (!bad)
    j->status = uv_getnameinfo(uv, &j->req.name, NULL, &j->addr.any,
                               NI_NAMEREQD);
}

static void free_job(peri_job *base) {
  job *j = PERI_OF(base, job, base);
  if (!j->status && base->work == find_addresses)
    uv_freeaddrinfo(j->req.info.addrinfo);
  free(j);
}

/* }===================================================================== */

/* {== The request ====================================================== */

static void on_done(peri_job *base) {
  job *j = PERI_OF(base, job, base);
  j->of->done = 1;
  peri_request_done(&j->of->base, j->status);
}

static void dispose(peri_loop *l, peri_request *base) {
  lookup *r = PERI_OF(base, lookup, base);
  (void)l;
  if (!r->job) return;
  if (r->done)
    free_job(&r->job->base);
  else
    peri_resolver_drop(&r->job->base);
}

static void drop(lookup **box) {
  if (*box) peri_request_drop(&(*box)->base);
  *box = NULL;
}

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

/* The answer is nobody's. */
static void lookup_drop(peri_loop *l, peri_task *t) {
  (void)l;
  drop(t->on);
}

/* Pushes a box with a request that has a job to be filled in, with room for
** `size` bytes of text. Raises out of memory. */
static job *push_lookup(lua_State *L, peri_loop *l, size_t size) {
  lookup **box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = NULL;
  luaL_setmetatable(L, BOX);
  peri_resolver_of(L, l); /* makes it, if need be */
  job *j = calloc(1, sizeof *j + size);
  lookup *r = j ? peri_request_new(l, sizeof *r, dispose) : NULL;
  if (!r) {
    free(j);
    luaL_error(L, "not enough memory");
    return NULL;
  }
  j->status = UV_ECANCELED;
  j->of = r;
  j->base.done = on_done;
  j->base.discard = free_job;
  *box = r;
  return j;
}

/* Puts it in line: 0, or a uv status, and all is undone. The box is on
** top. */
static int begin(lua_State *L, peri_loop *l, job *j, peri_task *t) {
  lookup **box = lua_touserdata(L, -1);
  int status = peri_resolver_submit(peri_resolver_of(L, l), &j->base);
  if (!status) {
    j->of->job = j;
    j->of->base.task = t;
    return 0;
  }
  drop(box);
  free_job(&j->base);
  return status;
}

/* }===================================================================== */

/* {== getaddrinfo ====================================================== */

enum { HOST = 1, FAMILY, SERVICE, CANONICAL, LOOKUP }; /* on the stack */

/* Appends {address=, family= [, port=]} to the list on top, unless the table
** above it, which is keyed by address, has it. */
static void add_address(lua_State *L, int list, const struct sockaddr *sa) {
  peri_addr a;
  peri_addr_set(&a, sa);
  peri_addr_push(L, &a);
  lua_insert(L, -2); /* the port */
  lua_pushvalue(L, -1);
  if (lua_rawget(L, list + 1) != LUA_TNIL) {
    lua_pop(L, 3);
    return;
  }
  lua_pop(L, 1);
  lua_createtable(L, 0, 3);
  lua_pushstring(L, a.any.sa_family == AF_INET ? "inet" : "inet6");
  lua_setfield(L, -2, "family");
  lua_pushvalue(L, -2);
  lua_setfield(L, -2, "address");
  lua_rotate(L, -3, -1); /* the port to the top */
  if (lua_isnil(L, SERVICE))
    lua_pop(L, 1);
  else
    lua_setfield(L, -2, "port");
  lua_pushvalue(L, -1);
  lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1);
  lua_rawset(L, list + 1);
}

/* Pushes the list of what was found, without duplicates. */
static void push_list(lua_State *L, const struct addrinfo *ai) {
  peri_error_room(L, 10);
  lua_newtable(L);
  if (ai->ai_canonname) {
    lua_pushstring(L, ai->ai_canonname);
    lua_setfield(L, -2, "canonical");
  }
  lua_newtable(L);
  for (int list = lua_gettop(L) - 1; ai; ai = ai->ai_next)
    if (ai->ai_family == AF_INET || ai->ai_family == AF_INET6)
      add_address(L, list, ai->ai_addr);
  lua_pop(L, 1);
}

static int fail(lua_State *L, int status) {
  if (!lua_isnil(L, SERVICE))
    return peri_status_fail(L, status, "look-up of %s, service %s",
                            lua_tostring(L, HOST), lua_tostring(L, SERVICE));
  return peri_status_fail(L, status, "look-up of %s", lua_tostring(L, HOST));
}

static int addresses_k(lua_State *L, int uv_status, lua_KContext ctx) {
  lookup **box = lua_touserdata(L, LOOKUP);
  lookup *r = *box;
  (void)uv_status;
  (void)ctx;
  int status = r->base.status;
  if (!status) push_list(L, r->job->req.info.addrinfo);
  drop(box);
  return status ? fail(L, status) : 1;
}

static const peri_wait looking_up = {"look-up of a name", lookup_abort,
                                     addresses_k, lookup_drop};

/* What needs no asking: the address, and a port that is a number. */
static int answer(lua_State *L, peri_loop *l, int family, peri_addr *a) {
  struct addrinfo ai = {.ai_family = a->any.sa_family, .ai_addr = &a->any};
  a->in.sin_port = htons((uint16_t)lua_tointeger(L, SERVICE));
  if (lua_toboolean(L, CANONICAL))
    ai.ai_canonname = (char *)(uintptr_t)lua_tostring(L, HOST);
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

static const char *check_text(lua_State *L, int idx, const char *none) {
  size_t n;
  const char *text = luaL_optlstring(L, idx, none, &n);
  luaL_argcheck(L, !text || strlen(text) == n, idx, "name with a zero byte");
  return text;
}

/* Fills in the job: one answer for each address is enough, not one for each
** type of socket. */
static void fill(job *j, const char *host, const char *service) {
  char *text = (char *)(j + 1);
  j->base.work = find_addresses;
  j->hints.ai_socktype = SOCK_STREAM;
  j->host = strcpy(text, host);
  if (service) j->service = strcpy(text + strlen(host) + 1, service);
}

/* core.dns.getaddrinfo(host [, "inet" | "inet6" | "any" [, service [,
** canonical]]]) -> list of {address=, family= [, port=]}, with `canonical`
** if that is true; or nil, message, code. Waits, unless the host is an
** address, and the service a number. */
static int dns_getaddrinfo(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_addr a;
  luaL_checkstring(L, HOST);
  const char *host = check_text(L, HOST, NULL);
  int family = check_family(L, FAMILY);
  lua_settop(L, CANONICAL);
  int literal = lua_isnil(L, SERVICE) || lua_isinteger(L, SERVICE);
  if (literal) literal = !peri_addr_parse(&a, host, 0);
  const char *service = literal ? NULL : check_text(L, SERVICE, NULL);
  peri_task *t = peri_wait_enter(L, l);
  if (literal) return answer(L, l, family, &a);
  size_t room = strlen(host) + 1 + (service ? strlen(service) + 1 : 0);
  job *j = push_lookup(L, l, room);
  fill(j, host, service);
  j->hints.ai_family = family;
  if (lua_toboolean(L, CANONICAL)) j->hints.ai_flags = AI_CANONNAME;
  int status = begin(L, l, j, t);
  if (status) return fail(L, status);
  return peri_task_park(L, l, &looking_up, lua_touserdata(L, LOOKUP), 0);
}

/* }===================================================================== */

/* {== getnameinfo ====================================================== */

static int reverse_fail(lua_State *L, int status) {
  return peri_status_fail(L, status, "reverse look-up of %s",
                          lua_tostring(L, 1));
}

static int name_k(lua_State *L, int uv_status, lua_KContext ctx) {
  lookup **box = lua_touserdata(L, 2);
  lookup *r = *box;
  (void)uv_status;
  (void)ctx;
  int status = r->base.status;
  if (!status) lua_pushstring(L, r->job->req.name.host);
  drop(box);
  return status ? reverse_fail(L, status) : 1;
}

static const peri_wait reversing = {"reverse look-up", lookup_abort, name_k,
                                    lookup_drop};

/* core.dns.getnameinfo(address) -> name, or nil, message, code. Waits. */
static int dns_getnameinfo(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  peri_addr a;
  luaL_argcheck(L, !peri_addr_parse(&a, luaL_checkstring(L, 1), 0), 1,
                "numeric address expected");
  lua_settop(L, 1);
  peri_task *t = peri_wait_enter(L, l);
  job *j = push_lookup(L, l, 0);
  j->base.work = find_name;
  j->addr = a;
  int status = begin(L, l, j, t);
  if (status) return reverse_fail(L, status);
  return peri_task_park(L, l, &reversing, lua_touserdata(L, 2), 0);
}

/* }===================================================================== */

void peri_dns_open(lua_State *L, peri_loop *l) {
  static const luaL_Reg functions[] = {
    {"getaddrinfo", dns_getaddrinfo}, {"getnameinfo", dns_getnameinfo},
    {NULL, NULL}};
  peri_resolver_open(L);
  luaL_newmetatable(L, BOX);
  lua_pushcfunction(L, box_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  luaL_newlibtable(L, functions);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, functions, 1);
  lua_setfield(L, -2, "dns");
}
