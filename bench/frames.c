/*
** frames.c - a host's frames, with many scripts and one that never waits.
**
**   frames TASKS FRAMES
**
** Prints, in microseconds of CPU: the 99th percentile of a step, with a runaway
** that is put off, and in which share of the frames all tasks went on.
**
** SPDX-License-Identifier: MIT
*/
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "perilune.h"

#define BUDGET 2000000
#define SLICE 10000

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void run(lua_State *L, const char *code, int n) {
  if (luaL_loadstring(L, code)) abort();
  lua_pushinteger(L, n);
  if (lua_pcall(L, 1, 0, 0)) abort();
}

static int64_t count(lua_State *L) {
  lua_getglobal(L, "count");
  int64_t n = lua_tointeger(L, -1);
  lua_pop(L, 1);
  return n;
}

/* Sorts what the frames took; returns in how many all tasks went on. */
static int frames(int tasks, int n, double *took) {
  perilune_config c = {.size = sizeof c, .slice = SLICE};
  perilune_budget b = {.size = sizeof b, .ns = BUDGET};
  perilune_loop *p;
  int whole = 0;
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  if (perilune_open(L, &c, &p)) abort();
  run(L, "local aio = require 'perilune'\n"
         "local frame = aio.next_frame\n"
         "count = 0\n"
         "for i = 1, ... do aio.spawn(function()\n"
         "  while true do frame() count = count + 1 end end) end", tasks);
  while (perilune_step(p, NULL, NULL) == PERILUNE_MORE) continue;
  run(L, "require 'perilune'.spawn(function()\n"
         "  local n = 0 while true do n = n + 1 end end)", 0);
  for (int i = 0; i < n; i++) {
    int64_t before = count(L);
    double begun = now();
    perilune_step(p, &b, NULL);
    took[i] = now() - begun;
    whole += count(L) - before >= tasks;
  }
  while (perilune_close(p, 0, 0) == PERILUNE_BUSY) continue;
  lua_close(L);
  qsort(took, (size_t)n, sizeof *took, by_size);
  return whole;
}

int main(int argc, char **argv) {
  int tasks = argc > 1 ? atoi(argv[1]) : 10000;
  int n = argc > 2 ? atoi(argv[2]) : 300;
  double *took = calloc((size_t)n, sizeof *took);
  if (!took) return 1;
  int whole = frames(tasks, n, took);
  printf("%.1f %.4f\n", took[n * 99 / 100], (double)whole / n);
  free(took);
  return 0;
}
