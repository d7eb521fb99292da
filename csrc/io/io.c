/*
** io.c - the outside, opened to Lua.
**
** Lua side: core.tcp, unix, udp, dns, fs, signals, subscribe, poll_fd, process,
** stdio, tty, as far as they are opened; is_address; and what a run needs for
** its end: lingering, mark_handles, close_handles.
**
** SPDX-License-Identifier: MIT
*/
#include "io.h"

#include <lauxlib.h>

#include "addr.h"
#include "dns.h"
#include "foreign.h"
#include "fs.h"
#include "handle.h"
#include "memory.h"
#include "pipe.h"
#include "process.h"
#include "resolver.h"
#include "sched/callback.h"
#include "server.h"
#include "signal.h"
#include "slow.h"
#include "stdio.h"
#include "tcp.h"
#include "transport.h"
#include "tty.h"
#include "udp.h"

#define ROUNDS 100 /* turns in which everything that is closing is closed */

/* core.lingering() -> how many closed transports still send. */
static int lingering(lua_State *L) {
  lua_pushinteger(L, peri_io_of(PERI_LOOP(L))->nlingering);
  return 1;
}

/* core.mark_handles() -> a mark for close_handles. */
static int mark_handles(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)peri_io_of(PERI_LOOP(L))->opened);
  return 1;
}

/* core.close_handles(mark): closes what was opened since, and sees to it
** that nothing is half closed; protocols are told in the turn. To be called
** where the loop does not run. */
static int close_handles(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  uint64_t mark = (uint64_t)luaL_checkinteger(L, 1);
  l->poller->drive(l, 1);
  peri_handle_shut_since(l, mark);
  for (int i = 0; i < ROUNDS; i++) {
    if (!peri_handle_closing(l) && !peri_loop_busy(l)) break;
    peri_loop_turn(l, L, 0);
  }
  l->poller->drive(l, 0);
  return 0;
}

/* core.stop_servers(mark): closes what listens and was opened since. */
static int stop_servers(lua_State *L) {
  uint64_t mark = (uint64_t)luaL_checkinteger(L, 1);
  peri_handle_shut_listening(PERI_LOOP(L), mark);
  return 0;
}

/* core.is_address(host) -> true if it is numeric. */
static int is_address(lua_State *L) {
  peri_addr a;
  lua_pushboolean(L, !peri_addr_parse(&a, luaL_checkstring(L, 1), 0));
  return 1;
}

void peri_io_shut(peri_loop *l) {
  if (!l->io) return;
  peri_handle_shut_since(l, 0);
  peri_resolver_close(l);
}

static void set_count(lua_State *L, const char *name, lua_Integer n) {
  lua_pushinteger(L, n);
  lua_setfield(L, -2, name);
}

void peri_io_stats(lua_State *L, peri_loop *l) {
  set_count(L, "handles", peri_handle_count(l));
  set_count(L, "requests", peri_io_of(l)->nrequests);
}

/* What is not in this table is reached by nobody for whom it was not opened. */
static const struct {
  unsigned lib;
  void (*open)(lua_State *L, peri_loop *l);
} parts[] = {
  {PERI_LIB_FS, peri_fs_open}, {PERI_LIB_NET, peri_tcp_open},
  {PERI_LIB_NET, peri_pipe_open}, {PERI_LIB_NET, peri_memory_open},
  {PERI_LIB_NET, peri_udp_open}, {PERI_LIB_NET, peri_foreign_open},
  {PERI_LIB_DNS, peri_dns_open}, {PERI_LIB_PROCESS, peri_process_open},
  {PERI_LIB_SIGNAL, peri_signal_open},
  {PERI_LIB_SIGNAL, peri_subscribe_open}, {PERI_LIB_STDIO, peri_stdio_open},
  {PERI_LIB_STDIO, peri_tty_open}};

void peri_io_open_libs(lua_State *L, peri_loop *l, unsigned libs) {
  peri_io *io = peri_io_of(l);
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    if (parts[i].lib & libs & ~io->libs) parts[i].open(L, l);
  io->libs |= libs;
}

void peri_io_open(lua_State *L, peri_loop *l) {
  static const luaL_Reg functions[] = {
    {"lingering", lingering}, {"mark_handles", mark_handles},
    {"close_handles", close_handles}, {"stop_servers", stop_servers},
    {"is_address", is_address}, {NULL, NULL}};
  peri_io_new(L, l);
  peri_transport_open(L, l);
  peri_server_open(L, l);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, functions, 1);
  peri_slow_open(L);
}
