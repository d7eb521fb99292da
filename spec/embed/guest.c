/*
** guest.c - what a loop leaves of its host: as it was.
**
** SPDX-License-Identifier: MIT
*/
#include <dirent.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

extern char **environ;

static int entries(const char *path) {
  int n = 0;
  DIR *d = opendir(path);
  if (!d) test_skip("no /proc here");
  while (readdir(d)) n++;
  closedir(d);
  return n;
}

/* {== All that belongs to the process ================================== */

#define SIGNALS 32

typedef struct process {
  sigset_t mask;
  void (*handlers[SIGNALS])(int);
  int threads, descriptors;
  char locale[100];
  uint64_t environment;
} process;

static void hash(uint64_t *h, const char *s) {
  for (; *s; s++) *h = (*h ^ (unsigned char)*s) * 1099511628211u;
}

static void look(process *p) {
  struct sigaction sa;
  memset(p, 0, sizeof *p);
  sigprocmask(SIG_SETMASK, NULL, &p->mask);
  for (int i = 1; i < SIGNALS; i++)
    if (!sigaction(i, NULL, &sa)) p->handlers[i] = sa.sa_handler;
  p->threads = entries("/proc/self/task");
  p->descriptors = entries("/proc/self/fd");
  snprintf(p->locale, sizeof p->locale, "%s", setlocale(LC_ALL, NULL));
  for (char **e = environ; *e; e++) hash(&p->environment, *e);
}

static void compare(const process *a, const process *b) {
  for (int i = 1; i < SIGNALS; i++) {
    EQUAL(sigismember(&a->mask, i), sigismember(&b->mask, i));
    CHECK(a->handlers[i] == b->handlers[i]);
  }
  EQUAL(a->threads, b->threads);
  CHECK(!strcmp(a->locale, b->locale));
  CHECK(a->environment == b->environment);
}

/* A host of its own, with something that fails and nobody hears. */
static void be_a_guest(process *before, process *open, process *after) {
  perilune_loop *p;
  look(before);
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  int rc = perilune_open(L, NULL, &p);
  luaL_loadstring(L, "local aio = require 'perilune'\n"
                     "aio.spawn(error, 'oops')\n"
                     "aio.loop():call_soon(error, 'oops')\n"
                     "for i = 1, 100 do aio.sleep(0) end error 'oops'");
  if (!rc) rc = perilune_spawn(p, NULL, L, 0, NULL);
  for (int i = 0; !rc && i < 100; i++) perilune_step(p, NULL, NULL);
  look(open);
  if (!rc) rc = perilune_close(p, 0, 0);
  lua_close(L);
  look(after);
  EQUAL(rc, PERILUNE_OK);
}

static void a_loop_is_a_good_guest(void) {
  process before, open, after;
  be_a_guest(&before, &open, &after);
  compare(&before, &open);
  compare(&before, &after);
  EQUAL(before.descriptors, after.descriptors);
}

/* Both streams go to a file meanwhile. */
static void a_loop_prints_nothing(void) {
  process ignored[3];
  char path[] = "/tmp/perilune-XXXXXX";
  int file = mkstemp(path), out = dup(STDOUT_FILENO), err = dup(STDERR_FILENO);
  CHECK(file >= 0);
  unlink(path);
  fflush(stdout);
  dup2(file, STDOUT_FILENO);
  dup2(file, STDERR_FILENO);
  be_a_guest(&ignored[0], &ignored[1], &ignored[2]);
  fflush(stdout);
  dup2(out, STDOUT_FILENO);
  dup2(err, STDERR_FILENO);
  close(out);
  close(err);
  int64_t bytes = lseek(file, 0, SEEK_END);
  close(file);
  EQUAL(bytes, 0);
}

/* }===================================================================== */

/* {== SIGPIPE ========================================================== */

static void sigpipe_is_ignored_if_asked(void) {
  perilune_config c = {.size = sizeof c, .sigpipe = 1};
  struct sigaction was, is;
  perilune_loop *p;
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  sigaction(SIGPIPE, NULL, &was);
  EQUAL(perilune_open(L, &c, &p), PERILUNE_OK);
  int fd = perilune_fd(p);
  sigaction(SIGPIPE, NULL, &is);
  CHECK(fd < 0 || is.sa_handler == SIG_IGN);
  EQUAL(perilune_close(p, 0, 0), PERILUNE_OK);
  sigaction(SIGPIPE, NULL, &is);
  CHECK(is.sa_handler == was.sa_handler);
  lua_close(L);
}

/* A peer goes away in the middle of a write, of which libuv has the rest. */
static int write_to_nobody(void) {
  perilune_config c = {.size = sizeof c, .sigpipe = 1};
  perilune_loop *p;
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  signal(SIGPIPE, SIG_DFL);
  if (perilune_open(L, &c, &p)) return 1;
  perilune_openlibs(p, PERILUNE_LIB_ALL);
  luaL_loadstring(L, "local aio = require 'perilune'\n"
                     "local a, b = aio.unix.pair()\n"
                     "aio.spawn(function() b:read_some() b:close() end)\n"
                     "local ok, _, code = a:write(('x'):rep(1 << 22))\n"
                     "if ok then ok, _, code = a:flush() end\n"
                     "result = code");
  perilune_spawn(p, NULL, L, 0, NULL);
  if (perilune_run(p, NULL, 20)) return 2;
  lua_getglobal(L, "result");
  const char *code = lua_tostring(L, -1);
  return code && !strcmp(code, "EPIPE") ? 0 : 3;
}

static void a_peer_that_goes_away_is_an_error(void) {
  int status;
  world w;
  world_open(&w);
  int has_sockets = perilune_fd(w.p) >= 0;
  world_close(&w);
  if (!has_sockets) test_skip("a build without sockets");
  pid_t pid = fork();
  if (!pid) _exit(write_to_nobody());
  waitpid(pid, &status, 0);
  EQUAL(status, 0);
}

/* }===================================================================== */

/* {== Scenes =========================================================== */

typedef struct scenes {
  perilune_mem mem;
  perilune_loop *p;
  lua_State *L;
} scenes;

/* What one scene has: tasks in several waits, a socket, a future. */
static const char *const scene[] = {
  "aio.timeout(10, aio.sleep, 20)",
  "local f = aio.future() aio.group(nil, function(g)\n"
  "  g:spawn(f.await, f) aio.sleep(100) end)",
  "if not aio.unix then aio.sleep(1) end\n"
  "local a <close>, b = aio.unix.pair() a:read_some() b:close()",
  "local c = aio.channel() aio.spawn(c.get, c) c:get()", NULL};

static void load_scene(scenes *s, int mode) {
  perilune_scope *scope;
  EQUAL(perilune_scope_new(s->p, NULL, NULL, NULL, &scope), PERILUNE_OK);
  for (int i = 0; scene[i]; i++) {
    luaL_loadstring(s->L, scene[i]);
    EQUAL(perilune_spawn(s->p, scope, s->L, 0, NULL), PERILUNE_OK);
  }
  perilune_step(s->p, NULL, NULL);
  EQUAL(perilune_scope_kill(scope, mode), PERILUNE_OK);
  perilune_scope_release(scope);
  perilune_step(s->p, NULL, NULL);
}

typedef struct numbers {
  size_t bytes, used;
  int descriptors, threads;
} numbers;

/* When all that scenes have left is collected, and closed. */
static numbers count(scenes *s) {
  for (int i = 0; i < 3; i++) {
    lua_gc(s->L, LUA_GCCOLLECT, 0);
    perilune_step(s->p, NULL, NULL);
    perilune_step(s->p, NULL, NULL);
  }
  size_t bytes = (size_t)lua_gc(s->L, LUA_GCCOUNT, 0) * 1024 +
                 (size_t)lua_gc(s->L, LUA_GCCOUNTB, 0);
  return (numbers){bytes, s->mem.used, entries("/proc/self/fd"),
                   entries("/proc/self/task")};
}

#define SCENES 1000

/* Not a byte each; tables of the library may have another size by chance. */
static void scenes_leave_nothing(void) {
  scenes s = {.mem = {0, 0, 0, 0}};
  s.L = lua_newstate(perilune_alloc, &s.mem);
  luaL_openlibs(s.L);
  EQUAL(perilune_open(s.L, NULL, &s.p), PERILUNE_OK);
  perilune_openlibs(s.p, PERILUNE_LIB_ALL);
  EQUAL(luaL_dostring(s.L, "aio = require 'perilune'"), LUA_OK);
  for (int i = 0; i < 200; i++) {
    load_scene(&s, i % 2);
    if (i % 50 == 0) lua_gc(s.L, LUA_GCCOLLECT, 0);
  }
  numbers before = count(&s);
  for (int i = 0; i < SCENES; i++) {
    load_scene(&s, i % 2);
    if (i % 50 == 0) lua_gc(s.L, LUA_GCCOLLECT, 0);
  }
  numbers after = count(&s);
  CHECK(after.bytes < before.bytes + SCENES);
  CHECK(after.used < before.used + SCENES);
  EQUAL(after.descriptors, before.descriptors);
  EQUAL(after.threads, before.threads);
  EQUAL(perilune_close(s.p, 0, 0), PERILUNE_OK);
  lua_close(s.L);
  EQUAL((int64_t)s.mem.used, 0);
  printf("    1000 scenes: %zu bytes of Lua before, %zu after; %d descriptors, "
         "%d threads before and after\n", before.bytes, after.bytes,
         after.descriptors - 3, after.threads - 2);
}

/* }===================================================================== */

const test_case guest_cases[] = {
  CASE(a_loop_is_a_good_guest), CASE(a_loop_prints_nothing),
  CASE(sigpipe_is_ignored_if_asked), CASE(a_peer_that_goes_away_is_an_error),
  CASE(scenes_leave_nothing), END};
