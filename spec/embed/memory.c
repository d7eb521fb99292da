/*
** memory.c - a limit for all that a state and its loop allocate.
**
** SPDX-License-Identifier: MIT
*/
#include "test.h"

static lua_State *limited(perilune_mem *m, perilune_loop **p) {
  lua_State *L = lua_newstate(perilune_alloc, m);
  CHECK(L);
  luaL_openlibs(L);
  EQUAL(perilune_open(L, NULL, p), PERILUNE_OK);
  return L;
}

static void memory_is_counted(void) {
  perilune_mem m = {0, 0, 0, 0};
  perilune_loop *p;
  lua_State *L = limited(&m, &p);
  CHECK(m.used > 10000 && m.peak >= m.used && m.fails == 0);
  EQUAL(perilune_close(p, 0, 0), PERILUNE_OK);
  lua_close(L);
  EQUAL((int64_t)m.used, 0);
}

static void memory_has_a_limit(void) {
  perilune_mem m = {0, 0, 0, 0};
  perilune_loop *p;
  lua_State *L = limited(&m, &p);
  size_t limit = m.limit = m.used + 1000000;
  CHECK(luaL_dostring(L, "return string.rep('x', 2000000)"));
  lua_settop(L, 0);
  CHECK(m.fails > 0);
  CHECK(luaL_dostring(L, "local t = {} while true do t[#t + 1] = {} end"));
  lua_settop(L, 0);
  CHECK(m.peak <= limit);
  EQUAL(luaL_dostring(L, "return #string.rep('x', 1000)"), LUA_OK);
  lua_settop(L, 0);
  EQUAL(perilune_close(p, 0, 0), PERILUNE_OK);
  lua_close(L);
  EQUAL((int64_t)m.used, 0);
}

static void tasks_that_want_too_much_fail(void) {
  perilune_mem m = {0, 0, 0, 0};
  perilune_loop *p;
  perilune_stats s = {.size = sizeof s};
  lua_State *L = limited(&m, &p);
  m.limit = m.used + 1000000;
  luaL_loadstring(L, "local t = {} while true do t[#t + 1] = {} end");
  EQUAL(perilune_spawn(p, NULL, L, 0, NULL), PERILUNE_OK);
  EQUAL(perilune_step(p, NULL, &s), PERILUNE_IDLE);
  EQUAL(s.failed, 1);
  EQUAL(perilune_close(p, 0, 0), PERILUNE_OK);
  lua_close(L);
}

const test_case memory_cases[] = {
  CASE(memory_is_counted), CASE(memory_has_a_limit),
  CASE(tasks_that_want_too_much_fail), END};
