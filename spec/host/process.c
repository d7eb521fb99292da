/*
** process.c - a module for specs: what a script needs of POSIX to be forked,
** and to have a signal handler of its own.
**
** Lua side: fork() -> 0 in the child, else its pid; wait(pid) -> exit
** status; exit(status), at once; handle() installs a handler for SIGINT,
** handled() -> how often it was called, handles() -> true if it is there.
**
** SPDX-License-Identifier: MIT
*/
#include <lauxlib.h>
#include <lua.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

int luaopen_process(lua_State *L);

static volatile sig_atomic_t calls;

static void on_signal(int sig) {
  (void)sig;
  calls++;
}

static int process_fork(lua_State *L) {
  lua_pushinteger(L, fork());
  return 1;
}

static int process_wait(lua_State *L) {
  int status = 0;
  pid_t pid = (pid_t)luaL_checkinteger(L, 1);
  if (waitpid(pid, &status, 0) != pid) return luaL_error(L, "no such child");
  lua_pushinteger(L, WIFEXITED(status) ? WEXITSTATUS(status)
                                       : 128 + WTERMSIG(status));
  return 1;
}

static int process_exit(lua_State *L) {
  _exit((int)luaL_checkinteger(L, 1));
}

static int process_handle(lua_State *L) {
  struct sigaction sa = {.sa_handler = on_signal};
  sigemptyset(&sa.sa_mask);
  if (sigaction(SIGINT, &sa, NULL)) return luaL_error(L, "sigaction failed");
  return 0;
}

static int process_handled(lua_State *L) {
  lua_pushinteger(L, calls);
  return 1;
}

static int process_handles(lua_State *L) {
  struct sigaction sa;
  int failed = sigaction(SIGINT, NULL, &sa);
  lua_pushboolean(L, !failed && sa.sa_handler == on_signal);
  return 1;
}

int luaopen_process(lua_State *L) {
  static const luaL_Reg functions[] = {
    {"fork", process_fork}, {"wait", process_wait}, {"exit", process_exit},
    {"handle", process_handle}, {"handled", process_handled},
    {"handles", process_handles}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
