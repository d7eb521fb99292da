/*
** limit.c - what no runtime on Lua's coroutines can go below, as a module
** for the very interpreter that runs the library; and a counter of what
** that interpreter allocates.
**
** SPDX-License-Identifier: MIT
*/
#include <lauxlib.h>
#include <lua.h>
#include <time.h>

__attribute__((visibility("default"))) int luaopen_limit(lua_State *L);

static double cpu_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* {== A resume and a yield ============================================= */

static int yield(lua_State *L) {
  return lua_yield(L, 0);
}

/* Pushes a coroutine that has reached its first yield. */
static lua_State *new_yielding(lua_State *L) {
  int nres;
  lua_State *co = lua_newthread(L);
  luaL_loadstring(co, "local yield = ... while true do yield() end");
  lua_pushcfunction(co, yield);
  if (lua_resume(co, L, 1, &nres) != LUA_YIELD)
    luaL_error(L, "the coroutine did not yield");
  return co;
}

/* pair(n, coroutines) -> seconds of CPU time that n bare pairs took, in
** turn over so many coroutines. */
static int pair(lua_State *L) {
  lua_Integer n = luaL_checkinteger(L, 1);
  int count = (int)luaL_checkinteger(L, 2);
  luaL_argcheck(L, count > 0, 2, "positive number expected");
  lua_State **cos = lua_newuserdatauv(L, sizeof *cos * (size_t)count, 0);
  lua_createtable(L, count, 0);
  for (int i = 0; i < count; i++) {
    cos[i] = new_yielding(L);
    lua_rawseti(L, -2, i + 1);
  }
  double begun = cpu_seconds();
  int at = 0, nres;
  for (lua_Integer i = 0; i < n; i++) {
    lua_resume(cos[at], L, 0, &nres);
    if (++at == count) at = 0;
  }
  lua_pushnumber(L, cpu_seconds() - begun);
  return 1;
}

/* }===================================================================== */

/* {== Counting allocations ============================================= */

/* The allocator of the state that `count` was first called in. */
static struct {
  lua_Alloc alloc;
  void *ud;
  lua_Integer calls; /* for a new block, or a bigger one */
} counted;

static void *count_alloc(void *ud, void *p, size_t old, size_t size) {
  if (size > (p ? old : 0)) counted.calls++;
  return counted.alloc(ud, p, old, size);
}

/* The state frees its memory after it has unloaded this module. */
static int uncount(lua_State *L) {
  lua_setallocf(L, counted.alloc, counted.ud);
  return 0;
}

static void start_counting(lua_State *L) {
  lua_newuserdatauv(L, 0, 0);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, uncount);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &counted);
  counted.alloc = lua_getallocf(L, &counted.ud);
  lua_setallocf(L, count_alloc, counted.ud);
}

/* count() -> how often memory was asked for since the first call of it.
** To be called before what is to be counted takes over the allocator. */
static int count(lua_State *L) {
  if (!counted.alloc) start_counting(L);
  lua_pushinteger(L, counted.calls);
  return 1;
}

/* }===================================================================== */

static const luaL_Reg functions[] = {
  {"pair", pair}, {"count", count}, {NULL, NULL}};

int luaopen_limit(lua_State *L) {
  luaL_newlib(L, functions);
  return 1;
}
