/*
** lander.c - a game that owns its main loop, and perilune inside it: a fleet
** of landers flown by scripts. See README.md.
**
**   lander [--headless] [--exact] [--frames N] [--trace] [--shot N FILE]
**          [--folder SCRIPTS]
**
** SPDX-License-Identifier: MIT
*/
#include <time.h>

#include "host.h"

typedef struct options {
  int headless, trace;
  long frames;      /* 0: until the player quits */
  long at;          /* the frame of which a picture is wanted */
  const char *shot; /* where to; or NULL */
} options;

/* {== Keys ============================================================= */

/* What the player does in an exact run. */
static const struct {
  int frame, key;
} tape[] = {{170, KEY_SLOW},  {210, KEY_SLOW},   {262, KEY_PAUSE},
            {292, KEY_PAUSE}, {330, KEY_RELOAD}, {0, KEY_NONE}};

static void pause_or_go(game *g) {
  g->paused_now = !g->paused_now;
  if (!g->paused_now) return;
  script_pause(g);
  /* An exact run is not to depend on when lines arrive: it waits for all of
  ** them here, where the game's clock stands still. */
  if (g->exact) perilune_run(g->p, g->fetched, 10);
}

static void press(game *g, int key) {
  switch (key) {
    case KEY_QUIT: g->quit = 1; break;
    case KEY_PAUSE: pause_or_go(g); break;
    case KEY_SLOW: g->slow = !g->slow; break;
    case KEY_RELOAD: script_reload(g); break;
    case KEY_SKIP: script_skip(g); break;
    default: break;
  }
}

/* The arrows fly the first lander; its autopilot is sent home. */
static void steer(game *g, int stick) {
  craft *c = &g->w.fleet[0];
  if (c->state != FLYING || g->paused_now || (!stick && c->scope)) return;
  script_release(c);
  c->burn = stick & STICK_UP ? FRAME_NS / 1000 : 0;
  c->target = (stick & STICK_RIGHT ? 25 : 0) * DEGREE -
              (stick & STICK_LEFT ? 25 : 0) * DEGREE;
}

static void play_keys(game *g, window *v) {
  int key;
  while (v && (key = window_key(v)) != KEY_NONE)
    if (!g->exact || key == KEY_QUIT) press(g, key);
  if (!g->exact) {
    steer(g, window_stick(v));
    return;
  }
  for (int i = 0; tape[i].frame; i++)
    if (tape[i].frame == g->frame) press(g, tape[i].key);
}

/* }===================================================================== */

/* {== Frames =========================================================== */

/* Those that came down: their autopilots end, and mods hear of it. */
static void came_down(game *g, const int *before) {
  for (int i = 0; i < FLEET; i++) {
    craft *c = &g->w.fleet[i];
    if (before[i] != FLYING || c->state == FLYING) continue;
    if (c->state == CRASHED) script_release(c);
    mods_landed(g, c);
  }
}

static void count(game *g) {
  perilune_stats *s = &g->stats;
  g->history[g->frame % HISTORY] =
    (int)(g->exact ? s->resumes : s->ns / 1000);
  g->total += s->ns;
  if (s->ns > g->worst) g->worst = s->ns;
}

static void frame(game *g) {
  int64_t dt = g->paused_now ? 0 : FRAME_NS / (g->slow ? 4 : 1);
  perilune_budget b = {.size = sizeof b, .ns = g->exact ? 0 : 2000000};
  int before[FLEET];
  for (int i = 0; i < FLEET; i++) before[i] = g->w.fleet[i].state;
  perilune_clock_advance(g->clock, dt);
  world_step(&g->w, dt / 1000);
  came_down(g, before);
  if (dt) perilune_emit(g->update, g->L, 0);
  g->stats.size = sizeof g->stats;
  perilune_step(g->p, &b, &g->stats);
  mods_step(g, dt);
  count(g);
  g->frame++;
}

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * (int64_t)1000000000 + t.tv_nsec;
}

/* Sleeps until the next frame is due. */
static void keep_pace(int64_t *due) {
  int64_t left = (*due += FRAME_NS) - now_ns();
  struct timespec t = {0, left > 0 ? left : 0};
  if (left > -FRAME_NS) nanosleep(&t, NULL);
  else *due = now_ns();
}

static void show(game *g, const options *o, canvas *c) {
  view_draw(c, c + 1, g);
  if (g->exact && g->frame % 20 == 0)
    g->pixels = fnv(g->pixels, c->px, sizeof c->px);
  if (o->shot && g->frame == o->at && png_write(c, o->shot)) perror(o->shot);
}

static void play(game *g, const options *o, window *v, canvas *c) {
  int64_t due = now_ns();
  g->trace = g->pixels = FNV;
  while (!g->quit && (!o->frames || g->frame < o->frames)) {
    play_keys(g, v);
    frame(g);
    g->trace = world_trace(&g->w, g->trace, o->trace ? stdout : NULL);
    show(g, o, c);
    if (v) window_show(v, c);
    if (!g->exact) keep_pace(&due);
  }
}

/* }===================================================================== */

static int options_read(options *o, game *g, char **argv) {
  for (; *argv; argv++) {
    if (!strcmp(*argv, "--headless")) o->headless = g->exact = 1;
    else if (!strcmp(*argv, "--exact")) g->exact = 1;
    else if (!strcmp(*argv, "--trace")) o->trace = 1;
    else if (!strcmp(*argv, "--frames") && argv[1]) o->frames = atol(*++argv);
    else if (!strcmp(*argv, "--shot") && argv[1] && argv[2]) {
      o->at = atol(*++argv);
      o->shot = *++argv;
    }
    else if (!strcmp(*argv, "--folder") && argv[1]) g->folder = *++argv;
    else return 0;
  }
  return 1;
}

static void report(const game *g) {
  printf("trace %016llx\n", (unsigned long long)g->trace);
  printf("pixels %016llx\n", (unsigned long long)g->pixels);
  printf("leaderboard %d rows\n", g->nrows);
  for (const mod *m = g->mods; m < g->mods + g->nmods; m++)
    printf("mod %s %s\n", m->name, m->status);
  printf("step %.1f us, worst %.1f us, %d frames\n",
         (double)g->total / 1e3 / (g->frame ? g->frame : 1),
         (double)g->worst / 1e3, g->frame);
}

static int game_run(game *g, const options *o, window *v, canvas *c) {
  if (!script_open(g)) return 1;
  mods_open(g);
  /* A loading screen, so to say; else one watches the ground grow. */
  if (g->exact) perilune_run(g->p, g->surveyed, 10);
  view_backdrop(&c[1]);
  play(g, o, v, c);
  if (g->exact) report(g);
  return 0;
}

int main(int argc, char **argv) {
  static game g;
  static canvas c[2]; /* the picture, and what of it does not change */
  options o = {0};
  const char *why = "";
  (void)argc;
  g.folder = "examples/lander";
  if (!options_read(&o, &g, argv + 1))
    return fprintf(stderr, "lander: see examples/lander/README.md\n"), 2;
  window *v = o.headless ? NULL : window_open(&why);
  if (!o.headless && !v) return fprintf(stderr, "no window: %s\n", why), 1;
  world_init(&g.w);
  int status = game_run(&g, &o, v, c);
  mods_close(&g);
  script_close(&g);
  window_close(v);
  return status;
}
