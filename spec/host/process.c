/*
** process.c - a module for specs: what a script needs of POSIX to be forked,
** to have a signal handler of its own, and to have other Lua states.
**
** Lua side: fork() -> 0 in the child, else its pid; wait(pid) -> exit
** status; exit(status), at once; handle([n]) installs a handler for signal
** n (SIGINT), handled() -> how often it was called, handles([n]) -> true if it is
** there; CHLD and USR1 are numbers of signals;
** raise(n) has this process get signal n, from itself; storm(microseconds)
** has it interrupted by SIGALRM so often, until storm(0), and returns how often
** it was;
** pipe(), pair() and pty() make two descriptors, replace(new, old) puts one
** in the place of another -> a copy of that; read(fd, n), write(fd, s),
** close(fd), blocks(fd);
** thread(code) runs Lua code in a state and a thread of its own, join(thread)
** waits for its end, when that state was closed -> its result or its error,
** as a string.
**
** SPDX-License-Identifier: MIT
*/
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
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

static int signal_of(lua_State *L) {
  return (int)luaL_optinteger(L, 1, SIGINT);
}

static int process_handle(lua_State *L) {
  struct sigaction sa = {.sa_handler = on_signal};
  sigemptyset(&sa.sa_mask);
  if (sigaction(signal_of(L), &sa, NULL))
    return luaL_error(L, "sigaction failed");
  return 0;
}

static int process_handled(lua_State *L) {
  lua_pushinteger(L, calls);
  return 1;
}

static int process_handles(lua_State *L) {
  struct sigaction sa;
  int failed = sigaction(signal_of(L), NULL, &sa);
  lua_pushboolean(L, !failed && sa.sa_handler == on_signal);
  return 1;
}

static int process_raise(lua_State *L) {
  kill(getpid(), (int)luaL_checkinteger(L, 1));
  return 0;
}

/* Without SA_RESTART, so that system calls fail with EINTR. */
static int process_storm(lua_State *L) {
  suseconds_t us = (suseconds_t)luaL_checkinteger(L, 1);
  struct itimerval t = {{0, us}, {0, us}};
  struct sigaction sa = {.sa_handler = us ? on_signal : SIG_IGN};
  sigemptyset(&sa.sa_mask);
  if (sigaction(SIGALRM, &sa, NULL) || setitimer(ITIMER_REAL, &t, NULL))
    return luaL_error(L, "no storm");
  lua_pushinteger(L, calls);
  return 1;
}

typedef struct job {
  pthread_t thread;
  char *code;
  char result[1000];
} job;

static void *run(void *arg) {
  job *j = arg;
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  (void)luaL_dostring(L, j->code);
  snprintf(j->result, sizeof j->result, "%s", luaL_tolstring(L, -1, NULL));
  lua_close(L);
  free(j->code);
  return NULL;
}

static int process_thread(lua_State *L) {
  const char *code = luaL_checkstring(L, 1);
  job *j = lua_newuserdatauv(L, sizeof *j, 0);
  j->code = strdup(code);
  if (!j->code || pthread_create(&j->thread, NULL, run, j))
    return luaL_error(L, "cannot create a thread");
  return 1;
}

static int process_join(lua_State *L) {
  job *j = lua_touserdata(L, 1);
  pthread_join(j->thread, NULL);
  lua_pushstring(L, j->result);
  return 1;
}

static int check(lua_State *L, int result) {
  if (result < 0) luaL_error(L, "%s", strerror(errno));
  return result;
}

static int push_two(lua_State *L, int status, const int fds[2]) {
  check(L, status);
  lua_pushinteger(L, fds[0]);
  lua_pushinteger(L, fds[1]);
  return 2;
}

static int process_pipe(lua_State *L) {
  int fds[2];
  return push_two(L, pipe2(fds, O_CLOEXEC), fds);
}

static int process_pair(lua_State *L) {
  int fds[2], type = SOCK_STREAM | SOCK_CLOEXEC;
  return push_two(L, socketpair(AF_UNIX, type, 0, fds), fds);
}

/* The terminal, which is raw, and its other side. */
static int process_pty(lua_State *L) {
  struct termios mode;
  int other = check(L, posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  check(L, grantpt(other));
  check(L, unlockpt(other));
  int fd = check(L, open(ptsname(other), O_RDWR | O_NOCTTY | O_CLOEXEC));
  check(L, tcgetattr(fd, &mode));
  cfmakeraw(&mode);
  check(L, tcsetattr(fd, TCSANOW, &mode));
  return push_two(L, 0, (int[]){fd, other});
}

static int process_replace(lua_State *L) {
  int from = (int)luaL_checkinteger(L, 1), to = (int)luaL_checkinteger(L, 2);
  int copy = check(L, fcntl(to, F_DUPFD_CLOEXEC, 3));
  check(L, dup2(from, to));
  lua_pushinteger(L, copy);
  return 1;
}

static int process_read(lua_State *L) {
  int fd = (int)luaL_checkinteger(L, 1);
  size_t n = (size_t)luaL_checkinteger(L, 2);
  luaL_Buffer b;
  char *to = luaL_buffinitsize(L, &b, n);
  luaL_pushresultsize(&b, (size_t)check(L, (int)read(fd, to, n)));
  return 1;
}

static int process_write(lua_State *L) {
  size_t n;
  int fd = (int)luaL_checkinteger(L, 1);
  const char *s = luaL_checklstring(L, 2, &n);
  lua_pushinteger(L, check(L, (int)write(fd, s, n)));
  return 1;
}

static int process_close(lua_State *L) {
  check(L, close((int)luaL_checkinteger(L, 1)));
  return 0;
}

static int process_blocks(lua_State *L) {
  int flags = check(L, fcntl((int)luaL_checkinteger(L, 1), F_GETFL));
  lua_pushboolean(L, !(flags & O_NONBLOCK));
  return 1;
}

int luaopen_process(lua_State *L) {
  static const luaL_Reg functions[] = {
    {"fork", process_fork}, {"wait", process_wait}, {"exit", process_exit},
    {"handle", process_handle}, {"handled", process_handled},
    {"handles", process_handles}, {"raise", process_raise},
    {"storm", process_storm}, {"thread", process_thread}, {"join",
    process_join}, {"pipe", process_pipe},
    {"pair", process_pair}, {"pty", process_pty},
    {"replace", process_replace}, {"read", process_read},
    {"write", process_write}, {"close", process_close},
    {"blocks", process_blocks}, {NULL, NULL}};
  luaL_newlib(L, functions);
  lua_pushinteger(L, SIGCHLD);
  lua_setfield(L, -2, "CHLD");
  lua_pushinteger(L, SIGUSR1);
  lua_setfield(L, -2, "USR1");
  return 1;
}
