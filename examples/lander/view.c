/*
** view.c - the picture of a game. The sky, which does not change, is drawn
** once; the rest in each frame, from the world's numbers alone.
**
** SPDX-License-Identifier: MIT
*/
#include "host.h"

enum { INK = 0xdfe9ff, DIM = 0x7f8db8, PANEL = 0x0a1026 };

/* {== The sky ========================================================== */

/* Less than a step between two colours is done by a pattern. */
static int dither(int x, int y) {
  static const signed char bayer[4][4] = {
    {0, 8, 2, 10}, {12, 4, 14, 6}, {3, 11, 1, 9}, {15, 7, 13, 5}};
  return bayer[y & 3][x & 3];
}

static uint32_t sky(int x, int y) {
  static const uint32_t stops[] = {0x05060f, 0x0b1030, 0x231a4d, 0x4a2a66,
                                   0x8c4a6e};
  int t = y * 16 + dither(x, y) * 3;
  int i = t * 4 / (H * 16);
  if (i > 3) i = 3;
  return mix(stops[i], stops[i + 1], (t * 4 - i * H * 16) * 256 / (H * 16));
}

static void stars(canvas *c) {
  for (uint32_t i = 0; i < 420; i++) {
    int x = (int)(scatter(i * 2 + 7) % W), y = (int)(scatter(i * 2 + 8) % 300);
    int light = (int)(scatter(i) % 200) * (320 - y) / 320;
    add(c, x, y, i % 5 ? 0xd8e4ff : 0xffdcb0, light);
    if (i % 40) continue;
    glow(c, x, y, 3, 0x9fb8ff, 120);
    add(c, x, y, 0xffffff, 256);
  }
}

static int root(int v) {
  int r = 0;
  while ((r + 1) * (r + 1) <= v) r++;
  return r;
}

/* Random, in patches: 0 to 255. */
static int patches(int x, int y, int size) {
  int i = x / size, j = y / size, f = x % size * 256 / size;
  int g = y % size * 256 / size, v[4];
  for (int k = 0; k < 4; k++)
    v[k] = (int)(scatter((uint32_t)(i + k % 2 + (j + k / 2) * 131)) & 255);
  int a = v[0] + (v[1] - v[0]) * f / 256, b = v[2] + (v[3] - v[2]) * f / 256;
  return a + (b - a) * g / 256;
}

static uint32_t earth_colour(int i, int j, int z, int r) {
  int u = 400 + i * 90 / (z + r / 3), v = 400 + j * 90 / (r + z / 2);
  int land = patches(u, v, 23) + patches(u, v, 9) / 2;
  int cloud = patches(u + 90, v * 2, 17) + patches(u, v * 3, 7) / 2;
  uint32_t rgb = land > 215 ? 0x4f8a4a : mix(0x0f3f8f, 0x2f7fd0, land);
  return cloud > 225 ? mix(rgb, 0xffffff, 190) : rgb;
}

static void earth(canvas *c, int x, int y, int r) {
  glow(c, x - 3, y - 3, r * 2, 0x2a5fb0, 100);
  for (int j = -r; j <= r; j++)
    for (int i = -r; i <= r; i++) {
      int left = r * r - i * i - j * j;
      if (left < 0) continue;
      int z = root(left), day = (-i * 5 - j * 4 + z * 5) * 256 / (r * 7);
      day = day < 12 ? 12 : day > 256 ? 256 : day;
      uint32_t rgb = earth_colour(i, j, z, r);
      rgb = mix(rgb, 0xa8d8ff, 150 - 150 * z / r); /* the air at its rim */
      put(c, x + i, y + j, mix(0x02030a, rgb, day), left < 2 * r ? 150 : 256);
    }
}

static int ridge(int x, int period, int high) {
  uint32_t i = (uint32_t)(x / period + period * 77);
  int a = (int)(scatter(i) & 255), b = (int)(scatter(i + 1) & 255);
  return (a + (b - a) * (x % period) / period) * high / 256;
}

static void mountains(canvas *c, int y0, int high, int period, uint32_t rgb) {
  for (int x = 0; x < W; x++) {
    int y = y0 - ridge(x, period, high) - ridge(x, period / 3, high / 3) -
            ridge(x, 5, 3);
    put(c, x, y, mix(rgb, 0xffc8b0, 60), 160);
    for (int j = y + 1; j < H; j++)
      put(c, x, j, mix(rgb, 0x7a456c, (j - y) * 140 / (H - y0 + high)), 256);
  }
}

void view_backdrop(canvas *c) {
  for (int y = 0; y < H; y++)
    for (int x = 0; x < W; x++) c->px[y][x] = sky(x, y);
  stars(c);
  earth(c, 398, 104, 34);
  mountains(c, 262, 60, 84, 0x4d3570);
  mountains(c, 292, 52, 51, 0x2a1f50);
}

/* }===================================================================== */

/* {== The ground ======================================================= */

/* Lit from the left: slopes that look there are bright, but not deep down. */
static void column(canvas *c, const int *ground, int x) {
  int y = ground[x], slope = 0;
  for (int i = 1; i <= 6; i++)
    slope += (x >= i && ground[x - i] < H ? ground[x - i] : y) - y;
  int light = 130 + slope * (slope > 0 ? 4 : 7);
  light = light < 40 ? 40 : light > 256 ? 256 : light;
  for (int j = y; j < H; j++) {
    int deep = (j - y) * 7 + dither(x, j), near = 40 - (j - y);
    int lit = near > 0 ? 130 + (light - 130) * near / 40 : 130;
    int grain = (int)(scatter((uint32_t)(x + j * W)) % 22);
    uint32_t rgb = mix(0x3a3350, 0xd9d2dc, lit);
    put(c, x, j, mix(rgb, 0x1b1630, deep > 230 ? 230 : deep), 256);
    put(c, x, j, grain ? 0x000000 : 0xffffff, grain ? grain : 24);
  }
  put(c, x, y, mix(mix(0x3a3350, 0xd9d2dc, light), 0xffffff, 110), 256);
}

static void craters(canvas *c, const int *ground) {
  for (uint32_t i = 0; i < 34; i++) {
    int x = (int)(scatter(i + 900) % W), r = 2 + (int)(scatter(i) % 6);
    int y = ground[x] + 9 + (int)(scatter(i + 50) % 60);
    if (ground[x] == H || y - r / 2 < ground[x]) continue;
    for (int k = -r; k <= r; k++) {
      int h = root(r * r - k * k) / 2;
      for (int j = -h; j <= h; j++) put(c, x + k, y + j, 0x0d0a1c, 110);
      put(c, x + k, y + h, 0xcfc6d8, 70);
    }
  }
}

/* What is not surveyed yet: lines that sweep. */
static void unknown(canvas *c, int x, int frame) {
  int y = 250 + (x * 7 + frame * 3) % 110;
  put(c, x, y, 0x4fd6ff, 120);
  put(c, x, y + 1, 0x4fd6ff, 50);
}

static void pad(canvas *c, const world *w, int i) {
  int x = w->fleet[i].x0, y = w->ground[x];
  if (y == H) return;
  box(c, x - PAD, y, 2 * PAD + 1, 3, 0x2b3350, 256);
  box(c, x - PAD, y, 2 * PAD + 1, 1, w->fleet[i].colour, 256);
  for (int side = -1; side <= 1; side += 2) {
    box(c, x + side * PAD, y - 3, 1, 3, 0x8f97b8, 256);
    glow(c, x + side * PAD, y - 4, 7, w->fleet[i].colour, w->lamps[i]);
    put(c, x + side * PAD, y - 4, 0xffffff, 256);
  }
}

static void ground(canvas *c, const game *g) {
  for (int x = 0; x < W; x++)
    if (g->w.ground[x] < H) column(c, g->w.ground, x);
    else unknown(c, x, g->frame);
  craters(c, g->w.ground);
  for (int i = 0; i < FLEET; i++) pad(c, &g->w, i);
}

/* }===================================================================== */

/* {== What flies ======================================================= */

/* Halves of pixels of a lander that stands upright, put where it is. */
static void place(const craft *c, const int (*from)[2], int n, int (*to)[2]) {
  int64_t s = sine(c->angle), k = sine(c->angle + 90 * DEGREE);
  for (int i = 0; i < n; i++) {
    int64_t x = from[i][0] * k - from[i][1] * s;
    int64_t y = from[i][0] * s + from[i][1] * k;
    to[i][0] = (int)((c->x + x * PIXEL / 8192) / PIXEL);
    to[i][1] = (int)((c->y + y * PIXEL / 8192) / PIXEL);
  }
}

static void shape(canvas *v, const craft *c, const int (*from)[2], int n,
                  uint32_t rgb) {
  int to[8][2];
  place(c, from, n, to);
  polygon(v, (const int (*)[2])to, n, rgb);
}

static void stroke(canvas *v, const craft *c, int x0, int y0, int x1, int y1,
                   uint32_t rgb) {
  const int from[2][2] = {{x0, y0}, {x1, y1}};
  int to[2][2];
  place(c, from, 2, to);
  line(v, to[0][0], to[0][1], to[1][0], to[1][1], rgb);
}

static void draw_craft(canvas *v, const craft *c, int frame) {
  static const int stage[][2] = {{-14, 0}, {14, 0}, {14, 9}, {-14, 9}};
  static const int foil[][2] = {{-14, 5}, {14, 5}, {14, 9}, {-14, 9}};
  static const int cabin[][2] = {{-6, -15}, {6, -15}, {11, -9}, {11, -2},
                                 {7, 0}, {-7, 0}, {-11, -2}, {-11, -9}};
  static const int bell[][2] = {{-3, 9}, {3, 9}, {5, 13}, {-5, 13}};
  for (int side = -1; side <= 1; side += 2) {
    stroke(v, c, side * 12, 3, side * 20, 15, 0xb9c0d8);
    stroke(v, c, side * 12, 9, side * 18, 12, 0x8088a8);
    stroke(v, c, side * 17, 16, side * 22, 16, 0xe8ecff);
  }
  shape(v, c, bell, 4, 0x6a7088);
  shape(v, c, stage, 4, 0xe0b050);
  shape(v, c, foil, 4, 0xa87828);
  shape(v, c, cabin, 8, 0xd4d9ea);
  stroke(v, c, -7, -9, -3, -9, 0x1a2340);
  stroke(v, c, 3, -9, 7, -9, 0x1a2340);
  stroke(v, c, -11, -3, 11, -3, c->colour);
  stroke(v, c, 0, -15, 0, -20, 0xb9c0d8);
  if (!craft_burns(c)) return;
  int at[1][2];
  const int tail[1][2] = {{0, 18}};
  place(c, tail, 1, at);
  glow(v, at[0][0], at[0][1], 15 + frame % 3, 0xff7a20, 210);
  glow(v, at[0][0], at[0][1], 6, 0xfff0c0, 256);
}

static void wreck(canvas *v, const craft *c) {
  int x = (int)(c->x / PIXEL), y = (int)(c->y / PIXEL) + 8;
  glow(v, x, y, 16, 0xff4a18, 90);
  line(v, x - 9, y, x - 3, y - 5, 0x9a8f98);
  line(v, x - 2, y - 1, x + 8, y - 4, 0x6f6670);
  box(v, x - 5, y - 3, 9, 3, 0x2a2430, 256);
}

static void fleet(canvas *v, const game *g) {
  for (const craft *c = g->w.fleet; c < g->w.fleet + FLEET; c++) {
    if (c->state == CRASHED) wreck(v, c);
    if (c->state == FLYING || c->state == LANDED) draw_craft(v, c, g->frame);
    if (c->state == FLYING)
      text(v, (int)(c->x / PIXEL) - 11, (int)(c->y / PIXEL) - 24, c->colour,
           c->name);
  }
}

static void sparks(canvas *v, const world *w) {
  for (const spark *s = w->sparks; s < w->sparks + SPARKS; s++) {
    if (!s->life) continue;
    int x = (int)(s->x / PIXEL), y = (int)(s->y / PIXEL);
    int t = 256 * s->life / s->lives;
    uint32_t hot = mix(s->colour, 0xffffff, t * t / 512);
    glow(v, x, y, 3, s->colour, t / 2);
    add(v, x, y, hot, t);
  }
}

static void orbiter(canvas *v, const world *w, int frame) {
  int x = (int)(w->orbiter / PIXEL), y = 54;
  for (int i = 8; i < 60; i++) add(v, x - 22 - i, y, 0x69c8ff, 150 - i * 5 / 2);
  glow(v, x - 24, y, 10, 0x69c8ff, 220);
  box(v, x - 20, y - 4, 34, 9, 0xaab2cc, 256);
  box(v, x - 20, y + 1, 34, 4, 0x6d7596, 256);
  for (int i = -16; i < 10; i += 6) box(v, x + i, y - 2, 3, 2, 0xffe8a0, 256);
  for (int i = 0; i < 6; i++)
    box(v, x + 14 + i, y - 3 + i / 2, 1, 7 - i, 0xcfd6ea, 256);
  box(v, x - 9, y - 15, 2, 31, 0x8890b0, 256);
  for (int i = 0; i < 2; i++) {
    box(v, x - 14, y - 17 + i * 25, 12, 9, 0x27408f, 256);
    box(v, x - 14, y - 13 + i * 25, 12, 1, 0x6f9bff, 256);
  }
  if (frame / 20 % 2) glow(v, x + 2, y - 6, 6, 0xff3050, 256);
}

/* }===================================================================== */

/* {== Instruments ====================================================== */

static void panel(canvas *v, int x, int y, int w, int h, const char *title) {
  box(v, x, y, w, h, PANEL, 190);
  box(v, x, y, w, 1, 0x3b4f8f, 220);
  text(v, x + 5, y + 4, 0x8fb4ff, title);
}

static const char *state_of(const craft *c) {
  static const char *const names[] = {"DOCKED", "", "LANDED", "LOST"};
  return names[c->state];
}

static void status(canvas *v, const game *g) {
  panel(v, 6, 6, 138, 16 + FLEET * 11, "FLEET     ALT  FUEL");
  for (int i = 0; i < FLEET; i++) {
    const craft *c = &g->w.fleet[i];
    int y = 21 + i * 11, full = (int)(c->fuel / 125000);
    char alt[16];
    text(v, 11, y, c->colour, c->name);
    if (c->state != FLYING) text(v, 65, y, DIM, state_of(c));
    if (c->state != FLYING) continue;
    snprintf(alt, sizeof alt, "%4d",
             (int)(world_altitude(&g->w, c) / PIXEL));
    text(v, 65, y, INK, alt);
    box(v, 98, y + 1, 40, 5, 0x26305a, 256);
    box(v, 98, y + 1, full, 5, full < 12 ? 0xff5a5a : 0x6fe39a, 256);
  }
}

static void leaderboard(canvas *v, const game *g) {
  if (!g->nrows && !g->paused_now) return;
  panel(v, 496, 6, 138, 16 + ROWS * 10, "LEADERBOARD");
  for (int i = 0; i < g->nrows; i++)
    text(v, 501, 19 + i * 10, i ? INK : 0xffd166, g->rows[i]);
  box(v, 596, 9, ROWS * 4, 3, 0x26305a, 256);
  box(v, 596, 9, g->nrows * 4, 3, 0x6fe39a, 256);
}

static void mods(canvas *v, const game *g) {
  if (!g->nmods) return;
  int h = 15 + g->nmods * 10, y0 = H - 6 - h;
  panel(v, 434, y0, 200, h, "MODS");
  for (int i = 0; i < g->nmods; i++) {
    const mod *m = &g->mods[i];
    int y = y0 + 14 + i * 10, well = m->p != NULL;
    int full = (int)(m->mem.used * 40 / (m->mem.limit ? m->mem.limit : 1));
    text(v, 439, y, well ? INK : 0xff6b6b, m->name);
    box(v, 504, y + 1, 40, 5, 0x26305a, 256);
    /* How much memory something takes is no part of an exact run. */
    if (well) box(v, 504, y + 1, g->exact ? 20 : full, 5, 0x69c8ff, 256);
    text(v, 550, y, well ? 0x6fe39a : 0xff6b6b, m->status);
  }
}

/* Steps as columns, the newest on the right, and the budget as a line. */
static void profiler(canvas *v, const game *g) {
  char s[64];
  const int x = 6, y = H - 46;
  panel(v, x, y, HISTORY + 100, 40, g->exact ? "RESUMES A STEP" : "STEP, US");
  for (int i = 0; i < HISTORY; i++) {
    int n = g->history[(g->frame + i) % HISTORY], h = g->exact ? n : n / 8;
    h = h > 22 ? 22 : h;
    box(v, x + 5 + i, y + 37 - h, 1, h, mix(0x3fd0a0, 0xff5a5a, h * 11), 256);
  }
  box(v, x + 5, y + 14, HISTORY, 1, 0xff5a5a, 90);
  snprintf(s, sizeof s, "%d NOW",
           g->history[(g->frame + HISTORY - 1) % HISTORY]);
  text(v, x + HISTORY + 12, y + 6, INK, s);
  snprintf(s, sizeof s, "%u ROUNDS", (unsigned)g->stats.rounds);
  text(v, x + HISTORY + 12, y + 17, DIM, s);
  snprintf(s, sizeof s, "%u TASKS", (unsigned)g->stats.live);
  text(v, x + HISTORY + 12, y + 28, DIM, s);
}

static void centred(canvas *v, int y, uint32_t rgb, const char *s) {
  text(v, W / 2 - 3 * (int)strlen(s), y, rgb, s);
}

static void words(canvas *v, const game *g) {
  int b = g->w.bars;
  box(v, 0, 0, W, b, 0, 256);
  box(v, 0, H - b, W, b, 0, 256);
  if (g->w.caption[0]) centred(v, H - 17, INK, g->w.caption);
  if (g->console[0]) text(v, 8, 84, 0xff8f8f, g->console);
  if (g->slow) text(v, 150, 10, 0xffd166, "SLOW MOTION");
  if (!g->paused_now) return;
  box(v, W / 2 - 60, 150, 120, 26, PANEL, 210);
  centred(v, 159, 0xffd166, "P A U S E D");
}

/* }===================================================================== */

void view_draw(canvas *v, const canvas *backdrop, const game *g) {
  *v = *backdrop;
  orbiter(v, &g->w, g->frame);
  ground(v, g);
  fleet(v, g);
  sparks(v, &g->w);
  if (!g->w.bars) {
    status(v, g);
    leaderboard(v, g);
    mods(v, g);
    profiler(v, g);
  }
  words(v, g);
}
