/*
** edhost.c - a host with a poll(2) loop of its own, as an editor has one: each
** line that it reads is Lua code, and run as a task. Tasks go on while it waits
** for the next line; without any it sleeps until there is one.
**
**   make library
**   cc -Icsrc examples/edhost/edhost.c build/libperilune.a \
**     $(pkg-config --cflags --libs lua5.4 libuv) -pthread -o edhost
**   printf 'aio.sleep(0.1) print "later"\nprint "now"\n' | ./edhost
**
** SPDX-License-Identifier: MIT
*/
#include <lauxlib.h>
#include <lualib.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "perilune.h"

typedef struct editor {
  lua_State *L;
  perilune_loop *p;
  char text[4096]; /* what was read and is no whole line yet */
  size_t n;
  int eof;
} editor;

static void on_error(perilune_loop *p, const perilune_error *e) {
  (void)p;
  printf("%s failed: %s\n", e->kind, e->message);
}

static void run_line(editor *e, const char *line, size_t n) {
  if (luaL_loadbuffer(e->L, line, n, "=line")) {
    printf("%s\n", lua_tostring(e->L, -1));
    lua_pop(e->L, 1);
    return;
  }
  perilune_spawn(e->p, NULL, e->L, 0, NULL);
}

static void run_lines(editor *e) {
  char *end;
  while ((end = memchr(e->text, '\n', e->n)) != NULL) {
    size_t n = (size_t)(end - e->text);
    run_line(e, e->text, n);
    e->n -= n + 1;
    memmove(e->text, end + 1, e->n);
  }
}

static void read_input(editor *e) {
  ssize_t n = read(STDIN_FILENO, e->text + e->n, sizeof e->text - e->n);
  if (n <= 0) {
    e->eof = 1;
    return;
  }
  e->n += (size_t)n;
  run_lines(e);
}

/* Sleeps until there is input, or the loop wants to be stepped. */
static void wait(editor *e) {
  struct pollfd fds[] = {{perilune_fd(e->p), POLLIN, 0},
                         {e->eof ? -1 : STDIN_FILENO, POLLIN, 0}};
  int64_t ns = perilune_timeout(e->p);
  poll(fds, 2, ns < 0 ? -1 : (int)((ns + 999999) / 1000000));
  if (fds[1].revents) read_input(e);
}

int main(void) {
  perilune_config c = {.size = sizeof c, .on_error = on_error, .sigpipe = 1};
  perilune_budget b = {.size = sizeof b, .ns = 5000000};
  editor e = {.L = luaL_newstate()};
  luaL_openlibs(e.L);
  int rc = perilune_open(e.L, &c, &e.p);
  if (!rc) rc = perilune_openlibs(e.p, PERILUNE_LIB_ALL);
  if (rc) return fprintf(stderr, "%s\n", perilune_strerror(rc)), 1;
  if (luaL_dostring(e.L, "aio = require 'perilune'")) return 1;
  while (perilune_step(e.p, &b, NULL) != PERILUNE_IDLE || !e.eof) wait(&e);
  while (perilune_close(e.p, 0, 1) == PERILUNE_BUSY) continue;
  lua_close(e.L);
  return 0;
}
