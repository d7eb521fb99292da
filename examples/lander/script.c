/*
** script.c - the game's Lua state: what scripts may do, and who runs them.
**
** A mission owns scenes and autopilots, each in a scope of its own, on the
** game's clock. The leaderboard's client is in none of them, and on the real
** one. Functions that wait look like any other to the scripts.
**
** SPDX-License-Identifier: MIT
*/
#include "host.h"

/* {== Loading ========================================================== */

void script_fail(game *g, const char *who, const char *what) {
  const char *file = strrchr(what, '/'); /* the folder says little */
  snprintf(g->console, sizeof g->console, "%s: %s", who,
           file ? file + 1 : what);
  fprintf(stderr, "%s: %s\n", who, what);
}

static craft *as_craft(game *g, void *ud) {
  craft *c = ud;
  return c >= g->w.fleet && c < g->w.fleet + FLEET ? c : NULL;
}

static void on_error(perilune_loop *p, const perilune_error *e) {
  game *g = perilune_ud(p);
  craft *c = as_craft(g, e->ud);
  script_fail(g, c ? c->name : e->kind, e->message);
}

/* Pushes a chunk; if there is none, says so on the console. */
static int load(game *g, lua_State *L, const char *name) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s", g->folder, name);
  if (!luaL_loadfile(L, path)) return 1;
  script_fail(g, "load", lua_tostring(L, -1));
  lua_pop(L, 1);
  return 0;
}

/* }===================================================================== */

/* {== Autopilots ======================================================= */

/* Begins one, with the table that it was deployed with. */
static int fly(game *g, lua_State *L, craft *c) {
  if (!load(g, L, "autopilot.lua")) return 0;
  lua_rawgetp(L, LUA_REGISTRYINDEX, c);
  if (perilune_scope_new(g->p, g->mission, g->clock, c, &c->scope)) return 0;
  return !perilune_spawn(g->p, c->scope, L, 1, NULL);
}

/* Afterwards nothing will ask for this lander again. */
void script_release(craft *c) {
  if (!c->scope) return;
  perilune_scope_kill(c->scope, PERILUNE_KILL_CLOSE);
  perilune_scope_release(c->scope);
  c->scope = NULL;
  c->burn = 0;
}

void script_reload(game *g) {
  if (!load(g, g->L, "autopilot.lua")) return; /* the old ones fly on */
  lua_pop(g->L, 1);
  g->console[0] = '\0';
  for (craft *c = g->w.fleet; c < g->w.fleet + FLEET; c++) {
    if (!c->scope || c->state != FLYING) continue;
    script_release(c);
    fly(g, g->L, c);
  }
}

static game *here(lua_State *L) { return perilune_ud(perilune_get(L)); }

/* The lander whose autopilot calls. */
static craft *self(lua_State *L) {
  craft *c = as_craft(here(L), perilune_self(L));
  if (!c) luaL_error(L, "only an autopilot may call this");
  return c;
}

static int number(lua_State *L, int64_t millionths) {
  lua_pushnumber(L, (lua_Number)millionths / PIXEL);
  return 1;
}

/* altitude() -> pixels below the feet */
static int altitude(lua_State *L) {
  return number(L, world_altitude(&here(L)->w, self(L)));
}

/* falling() -> pixels a second, downwards */
static int falling(lua_State *L) { return number(L, self(L)->vy); }

/* drift() -> pixels a second, to the right */
static int drift(lua_State *L) { return number(L, self(L)->vx); }

/* offset() -> pixels to the right to its pad */
static int offset(lua_State *L) {
  craft *c = self(L);
  return number(L, (int64_t)c->x0 * PIXEL - c->x);
}

/* landed() -> whether it stands */
static int landed(lua_State *L) {
  lua_pushboolean(L, self(L)->state != FLYING);
  return 1;
}

/* turn(degrees): leans to the right, in its own time */
static int turn(lua_State *L) {
  self(L)->target = (int64_t)(luaL_checknumber(L, 1) * DEGREE);
  return 0;
}

/* thrust(on) */
static int thrust(lua_State *L) {
  self(L)->burn = lua_toboolean(L, 1) ? INT64_MAX : 0;
  return 0;
}

/* burn(seconds): an engine that was told to burn does so to the end, also if
** who waits for that is cancelled. Waits. */
static int burn(lua_State *L) {
  craft *c = self(L);
  lua_Number s = luaL_checknumber(L, 1);
  luaL_argcheck(L, s >= 0 && s < 60, 1, "a few seconds");
  c->burn = (int64_t)(s * 1e6);
  return perilune_sleep(L, here(L)->clock, (int64_t)(s * 1e9), NULL, 0);
}

/* }===================================================================== */

/* {== Scenes =========================================================== */

/* Lets go of the scene; returns its future, which is the caller's. */
static perilune_future *scene_end(game *g) {
  perilune_future *f = g->played;
  perilune_task_release(g->player);
  perilune_scope_release(g->scene);
  g->player = NULL;
  g->scene = NULL;
  g->played = NULL;
  return f;
}

static void scene_over(perilune_task *t, lua_State *co, int how, void *ud) {
  perilune_future *f = scene_end(ud);
  (void)t;
  if (how == PERILUNE_FAILED) {
    perilune_future_fail(f, co);
  } else {
    lua_pushboolean(co, how == PERILUNE_DONE);
    perilune_future_done(f, co, 1);
  }
  perilune_future_release(f);
}

/* scene(fn) -> whether it was played to its end. Waits. */
static int scene(lua_State *L) {
  game *g = here(L);
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  if (g->played) return luaL_error(L, "a scene is played already");
  if (perilune_future_new(g->p, &g->played) ||
      perilune_scope_new(g->p, g->mission, g->clock, g, &g->scene) ||
      perilune_spawn(g->p, g->scene, L, 0, &g->player)) {
    perilune_future_release(scene_end(g));
    return luaL_error(L, "no memory for a scene");
  }
  perilune_task_then(g->player, scene_over, g);
  return perilune_await(L, g->played, NULL, 0);
}

void script_skip(game *g) {
  if (!g->scene || !g->w.cinema) return;
  perilune_scope_kill(g->scene, PERILUNE_KILL_CLOSE);
}

/* caption(text): at the foot of the picture */
static int caption(lua_State *L) {
  game *g = here(L);
  snprintf(g->w.caption, sizeof g->w.caption, "%s", luaL_checkstring(L, 1));
  return 0;
}

/* cinema(on): black bars, and no instruments */
static int cinema(lua_State *L) {
  here(L)->w.cinema = lua_toboolean(L, 1);
  return 0;
}

/* cruise(): the orbiter begins to cross the sky */
static int cruise(lua_State *L) {
  here(L)->w.cruising = 1;
  return 0;
}

static craft *nth(lua_State *L) {
  lua_Integer i = luaL_checkinteger(L, 1);
  luaL_argcheck(L, i >= 1 && i <= FLEET, 1, "no such lander");
  return &here(L)->w.fleet[i - 1];
}

/* ahead(i) -> pixels from the orbiter to the i-th lander's pad */
static int ahead(lua_State *L) {
  return number(L, nth(L)->x0 * (int64_t)PIXEL - here(L)->w.orbiter);
}

/* deploy(i, state): lets go of a lander; `state` is its autopilot's, and
** survives when that is loaded again */
static int deploy(lua_State *L) {
  game *g = here(L);
  craft *c = nth(L);
  luaL_checktype(L, 2, LUA_TTABLE);
  luaL_argcheck(L, c->state == DOCKED, 1, "it is on its way");
  lua_settop(L, 2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, c);
  world_deploy(&g->w, c);
  fly(g, L, c);
  return 0;
}

/* flying() -> how many landers are on their way; the names of those that
** have landed */
static int flying(lua_State *L) {
  const craft *fleet = here(L)->w.fleet;
  int n = 0;
  for (int i = 0; i < FLEET; i++) n += fleet[i].state < LANDED;
  lua_pushinteger(L, n);
  for (int i = 0; i < FLEET; i++)
    if (fleet[i].state == LANDED) lua_pushstring(L, fleet[i].name);
  return lua_gettop(L);
}

/* }===================================================================== */

/* {== The survey, and the leaderboard ================================== */

/* survey(sector) -> the heights in it, made by a thread. Waits. */
static int survey_lua(lua_State *L) {
  game *g = here(L);
  lua_Integer i = luaL_checkinteger(L, 1);
  perilune_future *f;
  luaL_argcheck(L, i >= 1 && i <= SECTORS, 1, "no such sector");
  if (perilune_future_new(g->p, &f)) return luaL_error(L, "no future");
  if (!survey_ask(&g->survey, (int)i - 1, f)) {
    perilune_future_release(f);
    return luaL_error(L, "that sector was asked for");
  }
  return perilune_await(L, f, NULL, 0);
}

/* ground(sector, heights): puts them into the world */
static int ground(lua_State *L) {
  lua_Integer from = (luaL_checkinteger(L, 1) - 1) * SECTOR;
  luaL_argcheck(L, from >= 0 && from < W, 1, "no such sector");
  luaL_checktype(L, 2, LUA_TTABLE);
  for (int i = 0; i < SECTOR; i++) {
    lua_rawgeti(L, 2, i + 1);
    here(L)->w.ground[from + i] = (int)luaL_checkinteger(L, -1);
    lua_pop(L, 1);
  }
  return 0;
}

/* row(i, text): a line of the leaderboard, which ends there so far */
static int row(lua_State *L) {
  game *g = here(L);
  lua_Integer i = luaL_checkinteger(L, 1);
  luaL_argcheck(L, i >= 1 && i <= ROWS, 1, "no such row");
  g->nrows = (int)i;
  snprintf(g->rows[i - 1], sizeof g->rows[0], "%s", luaL_checkstring(L, 2));
  return 0;
}

/* reload(): begins all autopilots anew */
static int reload(lua_State *L) {
  script_reload(here(L));
  return 0;
}

/* Emits "paused" with a future that network.lua settles. */
static int pause_lua(lua_State *L) {
  game *g = lua_touserdata(L, 1);
  perilune_future_push(L, g->fetched);
  perilune_emit(g->paused, L, 1);
  return 0;
}

void script_pause(game *g) {
  perilune_future_release(g->fetched);
  g->fetched = NULL;
  if (perilune_future_new(g->p, &g->fetched)) return;
  lua_pushcfunction(g->L, pause_lua);
  lua_pushlightuserdata(g->L, g);
  if (lua_pcall(g->L, 1, 0, 0)) lua_pop(g->L, 1);
}

/* }===================================================================== */

static const luaL_Reg functions[] = {
  {"altitude", altitude}, {"falling", falling}, {"drift", drift},
  {"offset", offset}, {"landed", landed}, {"turn", turn}, {"thrust", thrust},
  {"burn", burn}, {"scene", scene}, {"caption", caption}, {"cinema", cinema},
  {"cruise", cruise}, {"ahead", ahead}, {"deploy", deploy},
  {"flying", flying}, {"survey", survey_lua}, {"ground", ground},
  {"row", row}, {"reload", reload}, {NULL, NULL}};

static int begin(lua_State *L) {
  game *g = lua_touserdata(L, 1);
  luaL_openlibs(L);
  perilune_config c = {.size = sizeof c, .ud = g, .sigpipe = 1,
                       .on_error = on_error};
  if (perilune_open(L, &c, &g->p) ||
      perilune_openlibs(g->p, PERILUNE_LIB_NET | PERILUNE_LIB_FS))
    return luaL_error(L, "no loop");
  g->clock = perilune_clock_new(g->p, "game");
  g->update = perilune_signal_new(g->p, "update");
  g->paused = perilune_signal_new(g->p, "paused");
  if (!g->clock || !g->update || !g->paused ||
      perilune_future_new(g->p, &g->surveyed) ||
      perilune_future_new(g->p, &g->port) ||
      perilune_scope_new(g->p, NULL, g->clock, g, &g->mission))
    return luaL_error(L, "no memory");
  lua_pushglobaltable(L);
  luaL_setfuncs(L, functions, 0);
  if (!load(g, L, "prelude.lua")) return luaL_error(L, "no scripts");
  lua_call(L, 0, 0);
  return 0;
}

/* Spawns the mission, on its clock, and what talks to the outside. */
static int play(lua_State *L) {
  game *g = lua_touserdata(L, 1);
  if (!load(g, L, "network.lua")) return luaL_error(L, "no scripts");
  perilune_future_push(L, g->port);
  lua_pushstring(L, g->folder);
  lua_pushboolean(L, !g->exact);
  perilune_spawn(g->p, NULL, L, 3, NULL);
  if (!load(g, L, "mission.lua")) return luaL_error(L, "no scripts");
  perilune_future_push(L, g->surveyed);
  perilune_spawn(g->p, g->mission, L, 1, NULL);
  return 0;
}

static int call(game *g, lua_CFunction f) {
  lua_pushcfunction(g->L, f);
  lua_pushlightuserdata(g->L, g);
  if (!lua_pcall(g->L, 1, 0, 0)) return 1;
  script_fail(g, "start", lua_tostring(g->L, -1));
  return 0;
}

int script_open(game *g) {
  g->L = luaL_newstate();
  if (!g->L || !call(g, begin)) return 0;
  g->board = board_start(g->folder, g->port, g->exact ? 0 : 150);
  return g->board && survey_start(&g->survey, g->exact ? 0 : 70) &&
         call(g, play);
}

void script_close(game *g) {
  for (int i = 0; i < FLEET; i++) script_release(&g->w.fleet[i]);
  survey_stop(&g->survey);
  board_stop(g->board);
  perilune_future *owned[] = {scene_end(g), g->surveyed, g->port,
                              g->fetched};
  for (int i = 0; i < 4; i++) perilune_future_release(owned[i]);
  perilune_scope_release(g->mission);
  while (g->p && perilune_close(g->p, 0, 1) == PERILUNE_BUSY) continue;
  if (g->L) lua_close(g->L);
}
