/*
** board.c - the leaderboard's server: a thread with a Lua state and a loop of
** its own, which talks to the game by TCP only.
**
** SPDX-License-Identifier: MIT
*/
#include <semaphore.h>

#include "host.h"

struct board {
  pthread_t thread;
  const char *folder;
  int pace_ms;
  sem_t ready;           /* `quit` is there, or will never be */
  perilune_loop *p;
  perilune_future *port; /* of the game's loop; ours until it is posted */
  perilune_future *quit; /* of the server's */
};

/* announce(port): tells the game. */
static int announce(lua_State *L) {
  board *b = perilune_ud(perilune_get(L));
  perilune_value v = {PERILUNE_INT, {.i = luaL_checkinteger(L, 1)}};
  if (b->port) perilune_post_value(b->port, &v);
  b->port = NULL;
  return 0;
}

/* Begins server.lua as a task, with what it ends by, and its pace. */
static int begin(lua_State *L) {
  board *b = lua_touserdata(L, 1);
  char path[512];
  luaL_openlibs(L);
  perilune_config c = {.size = sizeof c, .ud = b, .sigpipe = 1};
  if (perilune_open(L, &c, &b->p) ||
      perilune_openlibs(b->p, PERILUNE_LIB_NET) ||
      perilune_future_new(b->p, &b->quit))
    return luaL_error(L, "no loop");
  lua_register(L, "announce", announce);
  snprintf(path, sizeof path, "%s/server.lua", b->folder);
  if (luaL_loadfile(L, path)) return lua_error(L);
  perilune_future_push(L, b->quit);
  lua_pushnumber(L, b->pace_ms / 1000.0);
  if (perilune_spawn(b->p, NULL, L, 2, NULL)) return luaL_error(L, "no task");
  return 0;
}

static void *serve(void *ud) {
  board *b = ud;
  lua_State *L = luaL_newstate();
  lua_pushcfunction(L, begin);
  lua_pushlightuserdata(L, b);
  int failed = lua_pcall(L, 1, 0, 0);
  if (failed) fprintf(stderr, "leaderboard: %s\n", lua_tostring(L, -1));
  sem_post(&b->ready);
  if (!failed) perilune_run(b->p, NULL, -1);
  perilune_future_release(b->port);
  while (b->p && perilune_close(b->p, 0, 1) == PERILUNE_BUSY) continue;
  lua_close(L);
  return NULL;
}

/* `port` is settled with its number. */
board *board_start(const char *folder, perilune_future *port, int pace_ms) {
  board *b = calloc(1, sizeof *b);
  if (!b) return NULL;
  b->folder = folder;
  b->pace_ms = pace_ms;
  b->port = perilune_future_retain(port);
  sem_init(&b->ready, 0, 0);
  if (pthread_create(&b->thread, NULL, serve, b)) {
    perilune_future_release(b->port);
    free(b);
    return NULL;
  }
  while (sem_wait(&b->ready)) continue;
  return b;
}

void board_stop(board *b) {
  perilune_value yes = {PERILUNE_BOOL, {.i = 1}};
  if (!b) return;
  if (b->quit) perilune_post_value(b->quit, &yes);
  pthread_join(b->thread, NULL);
  sem_destroy(&b->ready);
  free(b);
}
