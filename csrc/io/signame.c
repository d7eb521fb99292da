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

#include "sched/error.h"

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

int peri_signal_check(lua_State *L, int idx, int arg, const char *fname) {
  int is_name = lua_type(L, idx) == LUA_TSTRING;
  lua_Integer n = lua_tointeger(L, idx);
  if (is_name) n = by_name(lua_tostring(L, idx));
  if (n > 0 && n < 128) return (int)n;
  const char *got = lua_tostring(L, idx); /* what it is, if no number */
  return peri_error_bad(L, arg, fname, lua_pushfstring(L,
           is_name ? "no signal is called '%s'"
                   : "name or number of a signal expected, got %s",
           got ? got : luaL_typename(L, idx)));
}

void peri_signal_push(lua_State *L, int signum) {
  for (size_t i = 0; i < COUNT; i++) {
    if (names[i].signum != signum) continue;
    lua_pushstring(L, names[i].name);
    return;
  }
  lua_pushinteger(L, signum);
}
