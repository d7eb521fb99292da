/*
** process.c - child processes: begin, end, kill.
**
** uv side: on_exit, when the child has ended and was reaped.
** Lua side: core.process: spawn, descriptor; wait, kill, as methods of
** "perilune.child". What users see is made of these in
** lua/perilune/process.lua.
**
** A userdata is the child as Lua knows it, and keeps how it has ended. It is
** anchored until then: so the child is reaped though nobody holds it, and can
** be killed by tasks that are unwound while the Lua state is closed, after
** all finalizers of what is younger than the loop. The uv handle is in a
** struct of its own, which is freed when uv has closed it, after the end of
** the child.
**
** SPDX-License-Identifier: MIT
*/
#include "process.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "caught.h"
#include "file.h"
#include "handle.h"
#include "poller.h"
#include "sched/error.h"
#include "sched/task.h"
#include "signame.h"
#include "status.h"
#include "transport.h"

#ifdef _WIN32
#include <io.h>
#define close _close
#define fileno _fileno
#define lseek _lseeki64
#else
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#define REAPER_STACK 65536
#define TYPE "perilune.child"
#define SIGNALLED 128 /* and the signal's number is the code, as in shells */

typedef struct child {
  struct running *of;   /* NULL once it has ended */
  peri_waitlist waiters;
  int ended;
  lua_Integer code;
  int signal;           /* that ended it, or 0 */
} child;

typedef struct running {
  peri_handle h;
  uv_process_t uv;
  child *as; /* NULL once it has ended */
} running;

static running *running_of(peri_handle *h) {
  return PERI_OF(h, running, h);
}

static child *check_child(lua_State *L) {
  return luaL_checkudata(L, 1, TYPE);
}

/* {== uv side ========================================================== */

static void on_exit_of(uv_process_t *uv, int64_t code, int signum) {
  running *r = running_of(peri_handle_of((uv_handle_t *)uv));
  child *c = r->as;
  c->ended = 1;
  c->code = signum ? SIGNALLED + signum : (lua_Integer)code;
  c->signal = signum;
  c->of = NULL;
  r->as = NULL;
  peri_waitlist_wake_all(r->h.loop, &c->waiters);
  peri_unanchor(r->h.loop, c);
  peri_handle_close(&r->h);
}

/* A child outlives the run that has begun it; it is reaped all the same. */
static void running_shut(peri_loop *l, peri_handle *h) {
  (void)l;
  (void)h;
}

/* libuv has a handler for SIGCHLD as long as there is a child, and puts
** SIG_DFL there afterwards, whatever the program had. */
#ifdef _WIN32

static void watch(void) {}

static void unwatch(void) {}

static void let_go(int pid) {
  (void)pid;
}

#else

static void watch(void) {
  peri_caught_begin(SIGCHLD);
}

static void unwatch(void) {
  peri_caught_end(SIGCHLD);
}

static void reap(void *pid) {
  while (waitpid((pid_t)(intptr_t)pid, NULL, 0) < 0 && errno == EINTR)
    continue;
}

/* A program may go on for long when a Lua state of its has been closed: a
** thread waits for the child that this has left. */
static void let_go(pid_t pid) {
  const uv_thread_options_t small = {UV_THREAD_HAS_STACK_SIZE, REAPER_STACK};
  uv_thread_t thread;
  if (waitpid(pid, NULL, WNOHANG)) return; /* it is a parent's, or has ended */
  if (!uv_thread_create_ex(&thread, &small, reap, (void *)(intptr_t)pid))
    pthread_detach(thread);
}

#endif

static void running_closed(peri_loop *l, peri_handle *h) {
  running *r = running_of(h);
  if (r->as) { /* at the end of the Lua state */
    r->as->of = NULL;
    let_go(uv_process_get_pid(&r->uv));
  }
  unwatch();
  peri_free(l, r, sizeof *r);
}

static const peri_handle_type running_type = {
  "process", 0, running_shut, running_closed};

/* }===================================================================== */

/* {== wait, kill ======================================================= */

/* The child keeps the loop alive as long as somebody waits for it. */
static void hold(const child *c) {
  if (!c->of) return;
  if (peri_waitlist_empty(&c->waiters))
    uv_unref((uv_handle_t *)&c->of->uv);
  else
    uv_ref((uv_handle_t *)&c->of->uv);
}

static int push_end(lua_State *L, const child *c) {
  if (!c->ended)
    return peri_error_fail(L, "ECLOSED", "closed (wait)"); /* state closes */
  lua_pushinteger(L, c->code);
  if (!c->signal) return 1;
  peri_signal_push(L, c->signal);
  return 2;
}

static int wait_abort(peri_loop *l, peri_task *t, int why) {
  child *c = t->on;
  (void)l;
  (void)why;
  peri_waitlist_remove(&c->waiters, &t->run);
  hold(c);
  return 1;
}

static int wait_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  return push_end(L, lua_touserdata(L, 1));
}

static const peri_wait waiting = {"end of a process", wait_abort, wait_k};

/* child:wait() -> code [, signal]. Waits. */
static int child_wait(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  child *c = check_child(L);
  lua_settop(L, 1);
  peri_task *t = peri_wait_enter(L, l);
  if (!c->of) return peri_task_done(L, l, push_end(L, c));
  peri_waitlist_add(&c->waiters, &t->run);
  hold(c);
  return peri_task_park(L, l, &waiting, c, 0);
}

/* child:kill(signal) -> true, or nil, message, code. Never waits. */
static int child_kill(lua_State *L) {
  child *c = check_child(L);
  int signum = peri_signal_check(L, 2, 1, "kill");
  int status = c->of ? uv_process_kill(&c->of->uv, signum) : UV_ESRCH;
  if (status) return peri_status_fail(L, status, "kill");
  lua_pushboolean(L, 1);
  return 1;
}

/* }===================================================================== */

/* {== Descriptors ====================================================== */

static const peri_box *test_transport(lua_State *L, int idx) {
  const void *box = luaL_testudata(L, idx, peri_unix_type);
  return box ? box : luaL_testudata(L, idx, peri_tcp_type);
}

static int refuse(lua_State *L, const char *why) {
  lua_pushnil(L);
  lua_pushstring(L, why);
  return 2;
}

/* What was read ahead, or is to be sent, the child would miss. */
static int transport_fd(lua_State *L, peri_loop *l, peri_transport *c) {
  if (!c) return refuse(L, "a closed transport");
  peri_write_flush(l, c);
  if (c->reading || c->protocol || c->in.len || peri_write_unsent(c))
    return refuse(L, "a transport that is in use");
  lua_pushinteger(L, (lua_Integer)c->fd);
  lua_pushboolean(L, 1);
  return 2;
}

/* The child goes on where we are; the system's own position is not used. */
static int file_fd(lua_State *L, const peri_file *f) {
  if (!f) return refuse(L, "a closed file");
  if (f->busy) return refuse(L, "a file that is in use");
  if (peri_file_writes(f)) return refuse(L, "a file that was not flushed");
  if (f->plain) lseek(f->fd, f->pos, SEEK_SET);
  lua_pushinteger(L, f->fd);
  return 1;
}

/* core.process.descriptor(x) -> number of the descriptor of a file or a
** transport, and true if that is a transport; or nil, and what is wrong with
** it. Never waits. */
static int descriptor(lua_State *L) {
  const peri_box *box = test_transport(L, 1);
  const peri_file_box *open = luaL_testudata(L, 1, peri_file_type);
  luaL_Stream *file = luaL_testudata(L, 1, LUA_FILEHANDLE);
  if (box) return transport_fd(L, PERI_LOOP(L), box->c);
  if (open) return file_fd(L, open->f);
  if (!file) return refuse(L, luaL_typename(L, 1));
  if (!file->closef) return refuse(L, "a closed file");
  fflush(file->f);
  lua_pushinteger(L, fileno(file->f));
  return 1;
}

/* }===================================================================== */

/* {== spawn ============================================================ */

enum { ARGS = 1, ENV, CWD, STDIN, STDOUT, STDERR, OPTIONS };

/* What is to be begun. Of each pipe, `c` is our end, and `theirs` is the
** child's, or -1. */
typedef struct plan {
  uv_process_options_t o;
  uv_stdio_container_t io[3];
  peri_transport *c[3];
  uv_os_sock_t theirs[3];
} plan;

/* Pushes an array of the strings in the list at `idx`, NULL at its end. */
static char **push_vector(lua_State *L, int idx) {
  size_t n = lua_rawlen(L, idx);
  const char **v = lua_newuserdatauv(L, (n + 1) * sizeof *v, 0);
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, idx, (lua_Integer)i + 1);
    v[i] = lua_tostring(L, -1); /* the list keeps it */
    lua_pop(L, 1);
  }
  v[n] = NULL;
  return (char **)(uintptr_t)v;
}

static lua_Integer number_option(lua_State *L, const char *name) {
  lua_getfield(L, OPTIONS, name);
  lua_Integer n = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : -1;
  lua_pop(L, 1);
  return n;
}

static void read_options(lua_State *L, uv_process_options_t *o) {
  lua_Integer uid = number_option(L, "uid"), gid = number_option(L, "gid");
  o->cwd = lua_tostring(L, CWD);
  if (uid >= 0) o->flags |= UV_PROCESS_SETUID;
  if (gid >= 0) o->flags |= UV_PROCESS_SETGID;
  o->uid = (uv_uid_t)uid;
  o->gid = (uv_gid_t)gid;
  lua_getfield(L, OPTIONS, "detached");
  if (lua_toboolean(L, -1)) o->flags |= UV_PROCESS_DETACHED;
  lua_pop(L, 1);
}

/* Pushes a transport for each pipe, or nil. */
static void push_transports(lua_State *L, peri_loop *l, plan *p) {
  for (int i = 0; i < 3; i++) {
    p->theirs[i] = (uv_os_sock_t)-1;
    if (lua_isboolean(L, STDIN + i) && lua_toboolean(L, STDIN + i))
      p->c[i] = peri_transport_new(L, l, UV_NAMED_PIPE);
    else
      lua_pushnil(L);
  }
}

/* A socket pair serves as a pipe: the system's own know no recv(2). Nothing
** can be read before the child has begun. */
static int make_pipe(plan *p, int i) {
  uv_os_sock_t fds[2];
  int status = uv_socketpair(SOCK_STREAM, 0, fds, 0, 0);
  if (status) return status;
  peri_transport_adopt(p->c[i], fds[0]); /* a new descriptor: cannot fail */
  p->c[i]->readable = 0;
  p->theirs[i] = fds[1];
  return 0;
}

/* Stdin, stdout or stderr: a number, true for a pipe, false for nothing; -1
** is the pipe of stdout. */
static int set_stdio(lua_State *L, plan *p, int i) {
  int status = p->c[i] ? make_pipe(p, i) : 0;
  p->io[i].flags = UV_INHERIT_FD;
  if (p->c[i])
    p->io[i].data.fd = (int)p->theirs[i];
  else if (lua_isboolean(L, STDIN + i))
    p->io[i].flags = UV_IGNORE;
  else
    p->io[i].data.fd = (int)lua_tointeger(L, STDIN + i);
  if (p->io[i].flags != UV_IGNORE && p->io[i].data.fd < 0 && !status)
    p->io[i].data.fd = (int)p->theirs[1];
  return status;
}

static int begin(lua_State *L, peri_loop *l, plan *p, running *r) {
  int status = 0;
  for (int i = 0; i < 3 && !status; i++) status = set_stdio(L, p, i);
  if (status) {
    peri_free(l, r, sizeof *r);
  } else {
    watch();
    status = uv_spawn(peri_poller_uv(l), &r->uv, &p->o);
    peri_handle_open(l, &r->h, &running_type, (uv_handle_t *)&r->uv);
    uv_unref((uv_handle_t *)&r->uv);
    if (status) peri_handle_close(&r->h);
  }
  for (int i = 0; i < 3; i++) {
    if (p->theirs[i] != (uv_os_sock_t)-1) close((int)p->theirs[i]);
    if (status && p->c[i]) peri_transport_close(l, p->c[i]);
  }
  return status;
}

static int is_directory(const char *path) {
  struct stat st;
  return !stat(path, &st) && (st.st_mode & S_IFMT) == S_IFDIR;
}

/* The system says ENOENT for the program and for the directory alike. */
static int fail(lua_State *L, const plan *p, int status) {
  if (p->o.cwd && !is_directory(p->o.cwd))
    return peri_status_fail(L, status, "spawn %s: cwd %s", p->o.file,
                            p->o.cwd);
  return peri_status_fail(L, status, "spawn %s", p->o.file);
}

static child *push_child(lua_State *L) {
  child *c = lua_newuserdatauv(L, sizeof *c, 0);
  memset(c, 0, sizeof *c);
  luaL_setmetatable(L, TYPE);
  return c;
}

/* Of the child at `idx`, which is anchored from now on. */
static running *new_running(lua_State *L, peri_loop *l, int idx, child *c) {
  peri_anchor(L, l, idx, c);
  running *r = peri_alloc(l, sizeof *r);
  if (!r) {
    peri_unanchor(l, c);
    luaL_error(L, "not enough memory");
    return NULL;
  }
  memset(r, 0, sizeof *r);
  return r;
}

static void prepare(lua_State *L, plan *p) {
  memset(p, 0, sizeof *p);
  lua_settop(L, OPTIONS);
  read_options(L, &p->o);
  p->o.args = push_vector(L, ARGS);
  p->o.file = p->o.args[0];
  if (!lua_isnil(L, ENV)) p->o.env = push_vector(L, ENV);
  p->o.stdio = p->io;
  p->o.stdio_count = 3;
  p->o.exit_cb = on_exit_of;
}

/*
** core.process.spawn(args, env, cwd, stdin, stdout, stderr, {uid=, gid=,
** detached=}) -> child, pid, and our ends of pipes, or nil; or nil, message,
** code. Arguments are good: process.lua has checked them. Never waits.
*/
static int spawn(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  plan p;
  prepare(L, &p);
  child *c = push_child(L);
  int at = lua_gettop(L);
  lua_pushnil(L); /* for the pid */
  push_transports(L, l, &p);
  running *r = new_running(L, l, at, c);
  int status = begin(L, l, &p, r);
  if (status) {
    peri_unanchor(l, c);
    return fail(L, &p, status);
  }
  r->as = c;
  c->of = r;
  lua_pushinteger(L, uv_process_get_pid(&r->uv));
  lua_replace(L, -5);
  return 5;
}

/* }===================================================================== */

void peri_process_open(lua_State *L, peri_loop *l) {
  static const luaL_Reg functions[] = {
    {"spawn", spawn}, {"descriptor", descriptor}, {NULL, NULL}};
  static const luaL_Reg methods[] = {
    {"wait", child_wait}, {"kill", child_kill}, {NULL, NULL}};
  luaL_newmetatable(L, TYPE);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, methods, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  luaL_newlibtable(L, functions);
  peri_stash_push(l, L, PERI_STASH_LOOP);
  luaL_setfuncs(L, functions, 1);
  lua_setfield(L, -2, "process");
}
