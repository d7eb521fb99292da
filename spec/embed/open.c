/*
** open.c - opening and closing a loop.
**
** SPDX-License-Identifier: MIT
*/
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

static void open_says_what_it_opened(void) {
  world w;
  world_open(&w);
  CHECK(perilune_get(w.L) == w.p);
  CHECK(perilune_ud(w.p) == &w);
  world_close(&w);
}

static void open_makes_require_work(void) {
  world w;
  world_open(&w);
  world_do(&w, "package.path, package.cpath = '', ''\n"
               "assert(require 'perilune' == aio)\n"
               "assert(aio.group and aio.all and aio.tree)");
  world_close(&w);
}

static void open_needs_no_package_library(void) {
  perilune_loop *p;
  lua_State *L = luaL_newstate();
  luaL_requiref(L, LUA_GNAME, luaopen_base, 1);
  luaL_requiref(L, LUA_COLIBNAME, luaopen_coroutine, 1);
  luaL_requiref(L, LUA_TABLIBNAME, luaopen_table, 1);
  luaL_requiref(L, LUA_STRLIBNAME, luaopen_string, 1);
  luaL_requiref(L, LUA_MATHLIBNAME, luaopen_math, 1);
  luaL_requiref(L, LUA_DBLIBNAME, luaopen_debug, 0);
  lua_settop(L, 0);
  EQUAL(perilune_open(L, NULL, &p), PERILUNE_OK);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  EQUAL(lua_getfield(L, -1, "perilune"), LUA_TTABLE);
  EQUAL(perilune_close(p, 0, 0), PERILUNE_OK);
  lua_close(L);
}

static void open_without_coroutines_fails(void) {
  perilune_loop *p = (perilune_loop *)(void *)&p;
  lua_State *L = luaL_newstate();
  EQUAL(perilune_open(L, NULL, &p), PERILUNE_ELUA);
  CHECK(!p);
  EQUAL(lua_gettop(L), 0);
  lua_close(L);
}

static void open_twice_is_refused(void) {
  world w;
  perilune_loop *other;
  world_open(&w);
  EQUAL(perilune_open(w.L, NULL, &other), PERILUNE_EARG);
  CHECK(!other);
  CHECK(perilune_get(w.L) == w.p);
  world_close(&w);
}

static void open_after_close_is_refused(void) {
  world w;
  world_open(&w);
  EQUAL(perilune_close(w.p, 0, 0), PERILUNE_OK);
  CHECK(!perilune_get(w.L));
  EQUAL(perilune_open(w.L, NULL, &w.p), PERILUNE_ECLOSED);
  world_close(&w);
}

static void open_takes_a_config_of_its_size_only(void) {
  perilune_config c = {.size = 1};
  perilune_loop *p;
  lua_State *L = luaL_newstate();
  EQUAL(perilune_open(L, &c, &p), PERILUNE_EARG);
  lua_close(L);
}

/* Each allocation of Lua's fails in turn. */
static void open_without_memory(void) {
  int rc = PERILUNE_ENOMEM;
  for (size_t n = 1; rc; n++) {
    world w;
    world_state(&w);
    w.refuse_at = n;
    rc = perilune_open(w.L, NULL, &w.p);
    CHECK(rc == PERILUNE_OK || (rc == PERILUNE_ENOMEM && !w.p));
    w.refuse_at = 0;
    world_close(&w);
  }
}

static void open_hosts_a_loop_that_refuses_to_drive(void) {
  world w;
  world_open(&w);
  world_do(&w, "assert(not pcall(aio.sleep, 1))\n"
               "assert(not pcall(aio.run, print))\n"
               "assert(not pcall(aio.loop().step, aio.loop()))");
  world_close(&w);
}

static void lua_close_first(void) {
  world w;
  world_open(&w);
  perilune_task_release(world_spawn(&w, NULL, "aio.sleep(100)"));
  world_settle(&w);
  lua_close(w.L);
  EQUAL(w.bytes, 0);
  EQUAL(perilune_step(w.p, NULL, NULL), PERILUNE_ECLOSED);
  EQUAL(perilune_timeout(w.p), -1);
  EQUAL(perilune_fd(w.p), -1);
  perilune_wake(w.p);
  EQUAL(perilune_close(w.p, 0, 0), PERILUNE_OK);
}

static void *call_elsewhere(void *arg) {
  world *w = arg;
  perilune_future *f;
  perilune_scope *s;
  int *ok = malloc(sizeof *ok);
  *ok = perilune_step(w->p, NULL, NULL) == PERILUNE_ETHREAD &&
        perilune_run(w->p, NULL, 0) == PERILUNE_ETHREAD &&
        perilune_timeout(w->p) == 0 && perilune_fd(w->p) == -1 &&
        perilune_close(w->p, 0, 0) == PERILUNE_ETHREAD &&
        perilune_future_new(w->p, &f) == PERILUNE_ETHREAD &&
        perilune_scope_new(w->p, NULL, NULL, NULL, &s) == PERILUNE_ETHREAD &&
        perilune_spawn(w->p, NULL, w->L, 0, NULL) == PERILUNE_ETHREAD;
  return ok;
}

static void another_thread_is_refused(void) {
  world w;
  pthread_t t;
  void *ok;
  world_open(&w);
  pthread_create(&t, NULL, call_elsewhere, &w);
  pthread_join(t, &ok);
  EQUAL(*(int *)ok, 1);
  free(ok);
  EQUAL(lua_gettop(w.L), 0);
  world_close(&w);
}

static void a_forked_child_is_refused(void) {
  world w;
  int status;
  world_open(&w);
  if (perilune_fd(w.p) < 0) test_skip("a build without libuv");
  perilune_task_release(world_spawn(&w, NULL, "say 'ran'"));
  pid_t pid = fork();
  if (!pid) {
    int rc = perilune_step(w.p, NULL, NULL);
    _exit(rc == PERILUNE_ETHREAD ? 0 : 1);
  }
  waitpid(pid, &status, 0);
  EQUAL(status, 0);
  world_settle(&w);
  world_said(&w, "ran");
  world_close(&w);
}

static void every_code_has_a_text(void) {
  for (int rc = -20; rc < 20; rc++) CHECK(*perilune_strerror(rc));
  EQUAL(perilune_version(), PERILUNE_VERSION);
}

const test_case open_cases[] = {
  CASE(open_says_what_it_opened), CASE(open_makes_require_work),
  CASE(open_needs_no_package_library), CASE(open_without_coroutines_fails),
  CASE(open_twice_is_refused), CASE(open_after_close_is_refused),
  CASE(open_takes_a_config_of_its_size_only), CASE(open_without_memory),
  CASE(open_hosts_a_loop_that_refuses_to_drive), CASE(lua_close_first),
  CASE(another_thread_is_refused), CASE(a_forked_child_is_refused),
  CASE(every_code_has_a_text), END};
