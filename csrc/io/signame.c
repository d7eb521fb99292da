/*
** signame.c - signals by name.
**
** SPDX-License-Identifier: MIT
*/
#include "signame.h"

#include <lauxlib.h>
#include <signal.h>
#include <string.h>
#include <uv.h> /* names some that a system may lack */

static const struct {
  const char *name;
  int signum;
} names[] = {
#define SIGNAL(name) {#name, SIG##name}
  SIGNAL(INT), SIGNAL(TERM), SIGNAL(HUP), SIGNAL(KILL), SIGNAL(ABRT),
  SIGNAL(FPE), SIGNAL(ILL), SIGNAL(SEGV), SIGNAL(WINCH),
#ifndef _WIN32
  SIGNAL(QUIT), SIGNAL(USR1), SIGNAL(USR2), SIGNAL(PIPE), SIGNAL(ALRM),
  SIGNAL(CHLD), SIGNAL(CONT), SIGNAL(STOP), SIGNAL(TSTP), SIGNAL(TTIN),
  SIGNAL(TTOU), SIGNAL(BUS), SIGNAL(TRAP), SIGNAL(URG), SIGNAL(XCPU),
  SIGNAL(XFSZ), SIGNAL(VTALRM), SIGNAL(PROF), SIGNAL(SYS),
#endif
#ifdef SIGIO
  SIGNAL(IO),
#endif
#ifdef SIGPWR
  SIGNAL(PWR),
#endif
#ifdef SIGINFO
  SIGNAL(INFO),
#endif
#undef SIGNAL
};

#define COUNT (sizeof names / sizeof *names)

static int by_name(const char *name) {
  if (!strncmp(name, "SIG", 3)) name += 3;
  for (size_t i = 0; i < COUNT; i++)
    if (!strcmp(names[i].name, name)) return names[i].signum;
  return 0;
}

int peri_signal_check(lua_State *L, int idx) {
  if (lua_type(L, idx) == LUA_TSTRING) {
    int signum = by_name(lua_tostring(L, idx));
    if (!signum)
      luaL_argerror(L, idx, lua_pushfstring(L, "no signal is called '%s'",
                                            lua_tostring(L, idx)));
    return signum;
  }
  lua_Integer n = luaL_checkinteger(L, idx);
  luaL_argcheck(L, n > 0 && n < 128, idx, "signal expected");
  return (int)n;
}

void peri_signal_push(lua_State *L, int signum) {
  for (size_t i = 0; i < COUNT; i++) {
    if (names[i].signum != signum) continue;
    lua_pushstring(L, names[i].name);
    return;
  }
  lua_pushinteger(L, signum);
}
