/*
** host.h - what the parts of the lander share.
**
** The world (world.c) and the picture (draw.c, view.c) know nothing of Lua,
** and reckon in integers only, so that a run can be repeated exactly. Scripts
** reach the world by the functions of script.c, mods by those of mods.c. The
** window (window.c) is the only part that knows SDL.
**
** SPDX-License-Identifier: MIT
*/
#ifndef HOST_H
#define HOST_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "perilune.h"

enum {
  W = 640, H = 360, /* pixels, which are the world's unit of length too */
  SECTOR = 40, SECTORS = W / SECTOR, /* how the ground is surveyed */
  FLEET = 5,
  SPARKS = 700,
  MODS = 6,
  ROWS = 8,     /* of the leaderboard */
  HISTORY = 96, /* steps that the bar shows */
  PIXEL = 1000000, /* positions are in millionths of a pixel */
  DEGREE = 1000,
  PAD = 17 /* half of what is flat */
};

#define FRAME_NS 16666667

/* {== The world ======================================================== */

enum { DOCKED, FLYING, LANDED, CRASHED };

typedef struct craft {
  const char *name;
  uint32_t colour;
  int state;
  int x0;                /* where its pad is */
  int64_t x, y, vx, vy;  /* of its centre, per second; y grows downwards */
  int64_t angle, target; /* upright is 0, leaning to the right positive */
  int64_t fuel, burn;    /* microseconds that it can burn, and is to */
  perilune_scope *scope; /* of its autopilot, or NULL */
} craft;

typedef struct spark {
  int64_t x, y, vx, vy;
  int life, lives; /* frames left, and at first; none: the place is free */
  uint32_t colour;
} spark;

typedef struct world {
  int64_t us;       /* game time */
  int ground[W];    /* y of the surface; H where nothing is known yet */
  craft fleet[FLEET];
  spark sparks[SPARKS];
  int spark;        /* the place for the next one */
  uint32_t seed;    /* of what looks random */
  int64_t orbiter;  /* its x */
  int cruising;     /* the orbiter moves */
  int cinema, bars; /* black bars are wanted; how high they are */
  char caption[80];
  int lamps[FLEET]; /* of the pads, lit by a mod: 0 to 256 */
} world;

void world_init(world *w);
void world_step(world *w, int64_t us);
void world_deploy(world *w, craft *c);
void world_spark(world *w, spark s);
void world_burst(world *w, int64_t x, int64_t y, int n, uint32_t colour);
int64_t world_altitude(const world *w, const craft *c);
int craft_burns(const craft *c);
uint64_t world_trace(const world *w, uint64_t hash, FILE *to);

uint32_t scatter(uint32_t x);
int64_t sine(int64_t angle); /* of 4096 */
uint64_t fnv(uint64_t hash, const void *from, size_t n);
#define FNV 14695981039346656037u

/* }===================================================================== */

/* {== The survey: a thread that makes the ground ======================= */

typedef struct question {
  struct question *next;
  perilune_future *f; /* NULL: was not asked */
  int y[SECTOR];
} question;

typedef struct survey {
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t asked;
  question all[SECTORS], *first, **last;
  int pace_ms, runs, stop;
} survey;

int surface(int x); /* y of the ground there; the only truth about it */
int pad_at(int i);  /* x of the i-th pad */

int survey_start(survey *s, int pace_ms);
int survey_ask(survey *s, int sector, perilune_future *f);
void survey_stop(survey *s);

/* }===================================================================== */

/* {== The leaderboard: a server in a thread and state of its own ======= */

typedef struct board board;

board *board_start(const char *folder, perilune_future *port, int pace_ms);
void board_stop(board *b);

/* }===================================================================== */

/* {== Mods ============================================================= */

typedef struct mod {
  struct game *g;
  char name[16];
  char status[24];
  perilune_mem mem;
  lua_State *L;
  perilune_loop *p;
  perilune_clock *clock;
  perilune_signal *landed;
} mod;

void mods_open(struct game *g);
void mods_step(struct game *g, int64_t ns);
void mods_landed(struct game *g, const craft *c);
void mods_close(struct game *g);

/* }===================================================================== */

/* {== The game ========================================================= */

enum { KEY_NONE, KEY_QUIT, KEY_PAUSE, KEY_SLOW, KEY_RELOAD, KEY_SKIP };
enum { STICK_LEFT = 1, STICK_RIGHT = 2, STICK_UP = 4 };

typedef struct game {
  const char *folder; /* of the scripts */
  world w;
  lua_State *L;
  perilune_loop *p;
  perilune_clock *clock;             /* the game's */
  perilune_signal *update, *paused;  /* each frame that moves; a pause begins */
  perilune_scope *mission;
  perilune_scope *scene;             /* that is played, or NULL */
  perilune_task *player;             /* its task */
  perilune_future *surveyed;         /* all of the ground is there */
  perilune_future *port;             /* of the leaderboard's server */
  perilune_future *fetched;          /* the leaderboard is there */
  perilune_future *played;           /* the scene is over */
  survey survey;
  board *board;
  mod mods[MODS];
  int nmods;
  int frame, paused_now, slow, exact, quit;
  char rows[ROWS][32];
  int nrows;
  char console[80];      /* the last failure */
  perilune_stats stats;  /* of the last step */
  int history[HISTORY];  /* what the bar shows: microseconds, or resumes */
  uint64_t total, worst; /* nanoseconds of all steps, and of one */
  uint64_t trace, pixels; /* hashes of all that happened, and was shown */
} game;

int script_open(game *g);
void script_close(game *g);
void script_reload(game *g);     /* all autopilots, with their state kept */
void script_release(craft *c); /* ends its autopilot */
void script_skip(game *g);       /* a scene that is only to be watched */
void script_pause(game *g);      /* has the leaderboard fetched */
void script_fail(game *g, const char *who, const char *what);

/* }===================================================================== */

/* {== The picture ====================================================== */

typedef struct canvas {
  uint32_t px[H][W]; /* 0xRRGGBB */
} canvas;

uint32_t mix(uint32_t a, uint32_t b, int t); /* t of 256 of b */
void put(canvas *c, int x, int y, uint32_t rgb, int alpha);
void add(canvas *c, int x, int y, uint32_t rgb, int amount);
void box(canvas *c, int x, int y, int w, int h, uint32_t rgb, int alpha);
void line(canvas *c, int x0, int y0, int x1, int y1, uint32_t rgb);
void polygon(canvas *c, const int (*at)[2], int n, uint32_t rgb);
void glow(canvas *c, int x, int y, int r, uint32_t rgb, int amount);
int text(canvas *c, int x, int y, uint32_t rgb, const char *s);
int png_write(const canvas *c, const char *path);

void view_backdrop(canvas *c);
void view_draw(canvas *c, const canvas *backdrop, const game *g);

/* }===================================================================== */

/* {== The window ======================================================= */

typedef struct window window;

window *window_open(const char **why);
int window_key(window *v);   /* the next key that was pressed, or KEY_NONE */
int window_stick(window *v); /* the arrows that are held */
void window_show(window *v, const canvas *c); /* waits for the screen */
void window_close(window *v);

/* }===================================================================== */

#endif
