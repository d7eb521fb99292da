/*
** mods.c - code of strangers: each file of mods/ has a Lua state and a loop of
** its own, some memory, some instructions a step, and no way out of it but the
** functions below. One that fails, or takes too much, is closed. What it finds
** is the environment of examples/sandbox.
**
** SPDX-License-Identifier: MIT
*/
#include <dirent.h>

#include "host.h"

enum { MEMORY = 1 << 20, SLICE = 100000 };

/* {== What a mod may do ================================================ */

static mod *here(lua_State *L) { return perilune_ud(perilune_get(L)); }

/* lamp(pad, light): light from 0 to 1 */
static int lamp(lua_State *L) {
  lua_Integer i = luaL_checkinteger(L, 1);
  lua_Number light = luaL_checknumber(L, 2);
  luaL_argcheck(L, i >= 1 && i <= FLEET, 1, "no such pad");
  luaL_argcheck(L, light >= 0 && light <= 1, 2, "0 to 1 expected");
  here(L)->g->w.lamps[i - 1] = (int)(light * 256);
  return 0;
}

/* burst(x, y, n, colour): sparks */
static int burst(lua_State *L) {
  lua_Integer x = luaL_checkinteger(L, 1), y = luaL_checkinteger(L, 2);
  lua_Integer n = luaL_checkinteger(L, 3);
  luaL_argcheck(L, x >= 0 && x < W, 1, "out of the picture");
  luaL_argcheck(L, y >= 0 && y < H, 2, "out of the picture");
  luaL_argcheck(L, n >= 0 && n <= 100, 3, "at most 100");
  world_burst(&here(L)->g->w, x * PIXEL, y * PIXEL, (int)n,
              (uint32_t)luaL_checkinteger(L, 4));
  return 0;
}

/* }===================================================================== */

/* print(text): on the console */
static int say(lua_State *L) {
  mod *m = here(L);
  snprintf(m->g->console, sizeof m->g->console, "%s: %s", m->name,
           luaL_tolstring(L, 1, NULL));
  return 0;
}

/* }===================================================================== */

/* {== Its state ======================================================== */

static void end(mod *m, const char *why) {
  if (!strcmp(m->status, "RUNS"))
    snprintf(m->status, sizeof m->status, "%s", why);
}

static void on_error(perilune_loop *p, const perilune_error *e) {
  int memory = strstr(e->message, "not enough memory") != NULL;
  end(perilune_ud(p), memory ? "NO MEMORY" : "FAILED");
}

/* A task that has used up its slice without waiting once. */
static int on_overrun(perilune_loop *p, perilune_task *t, uint64_t ns) {
  (void)t, (void)ns;
  end(perilune_ud(p), "TOO SLOW");
  return PERILUNE_KILL;
}

static void push_aio(lua_State *L) {
  lua_getglobal(L, "require");
  lua_pushliteral(L, "perilune");
  lua_call(L, 1, 1);
}

/* Pushes what it finds as its globals: the recipe of docs/sandbox.md, the
** functions above, and the signal `landed`. */
static void push_environment(lua_State *L, mod *m) {
  static const luaL_Reg functions[] = {
    {"lamp", lamp}, {"burst", burst}, {NULL, NULL}};
  char path[512];
  snprintf(path, sizeof path, "%s/../sandbox/guest.lua", m->g->folder);
  if (luaL_loadfile(L, path)) lua_error(L);
  push_aio(L);
  lua_pushcfunction(L, say);
  lua_call(L, 2, 1);
  luaL_setfuncs(L, functions, 0);
  push_aio(L);
  lua_getfield(L, -1, "signal");
  lua_pushliteral(L, "landed");
  lua_call(L, 1, 1);
  lua_setfield(L, -3, "landed");
  lua_pop(L, 1);
}

/* Its chunk: text only, as bytecode can do anything. */
static void push_chunk(lua_State *L, mod *m) {
  char path[512];
  snprintf(path, sizeof path, "%s/mods/%s.lua", m->g->folder, m->name);
  if (luaL_loadfilex(L, path, "t")) lua_error(L);
  push_environment(L, m);
  lua_setupvalue(L, -2, 1);
}

static int begin(lua_State *L) {
  mod *m = lua_touserdata(L, 1);
  perilune_config c = {.size = sizeof c, .ud = m, .slice = SLICE,
                       .on_error = on_error, .on_overrun = on_overrun};
  perilune_scope *s;
  luaL_openlibs(L);
  if (perilune_open(L, &c, &m->p)) return luaL_error(L, "no loop");
  m->clock = perilune_clock_new(m->p, "game");
  m->landed = perilune_signal_new(m->p, "landed");
  if (!m->clock || !m->landed) return luaL_error(L, "no memory");
  push_chunk(L, m);
  if (perilune_scope_new(m->p, NULL, m->clock, m, &s))
    return luaL_error(L, "no memory");
  perilune_spawn(m->p, s, L, 0, NULL);
  perilune_scope_release(s);
  return 0;
}

/* }===================================================================== */

static void mod_close(mod *m) {
  while (m->p && perilune_close(m->p, 0, 1) == PERILUNE_BUSY) continue;
  m->p = NULL;
  if (m->L) lua_close(m->L);
  m->L = NULL;
}

static void mod_open(mod *m) {
  m->L = lua_newstate(perilune_alloc, &m->mem);
  m->mem.limit = MEMORY;
  snprintf(m->status, sizeof m->status, "RUNS");
  if (!m->L) return;
  lua_pushcfunction(m->L, begin);
  lua_pushlightuserdata(m->L, m);
  if (!lua_pcall(m->L, 1, 0, 0)) return;
  script_fail(m->g, m->name, lua_tostring(m->L, -1));
  end(m, "FAILED");
}

static int is_mod(const struct dirent *e) {
  size_t n = strlen(e->d_name);
  return n > 4 && n < 16 && !strcmp(e->d_name + n - 4, ".lua");
}

/* In the order of their names. */
void mods_open(game *g) {
  struct dirent **found;
  char path[512];
  snprintf(path, sizeof path, "%s/mods", g->folder);
  int n = scandir(path, &found, is_mod, alphasort);
  for (int i = 0; i < n; i++) {
    if (i < MODS) {
      mod *m = &g->mods[g->nmods++];
      m->g = g;
      snprintf(m->name, sizeof m->name, "%.*s",
               (int)strlen(found[i]->d_name) - 4, found[i]->d_name);
      mod_open(m);
    }
    free(found[i]);
  }
  if (n >= 0) free(found);
}

static void mod_step(mod *m, int64_t ns) {
  perilune_budget b = {.size = sizeof b, .resumes = 50};
  perilune_clock_advance(m->clock, ns);
  perilune_step(m->p, &b, NULL);
}

/* Mods are on the game's clock. */
void mods_step(game *g, int64_t ns) {
  for (mod *m = g->mods; m < g->mods + g->nmods; m++) {
    if (m->p) mod_step(m, ns);
    if (m->p && strcmp(m->status, "RUNS")) mod_close(m);
  }
}

/* Gives them x, y and colour of a lander that stands. */
void mods_landed(game *g, const craft *c) {
  if (c->state != LANDED) return;
  for (mod *m = g->mods; m < g->mods + g->nmods; m++) {
    if (!m->p) continue;
    lua_pushinteger(m->L, c->x / PIXEL);
    lua_pushinteger(m->L, c->y / PIXEL);
    lua_pushinteger(m->L, c->colour);
    perilune_emit(m->landed, m->L, 3);
  }
}

void mods_close(game *g) {
  for (mod *m = g->mods; m < g->mods + g->nmods; m++) mod_close(m);
}
