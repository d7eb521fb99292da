/*
** world.c - landers, sparks and what pulls at them. Integers only.
**
** SPDX-License-Identifier: MIT
*/
#include "host.h"

enum {
  GRAVITY = 34 * PIXEL, THRUST = 100 * PIXEL, /* per second, per second */
  TURN = 150 * DEGREE,  /* per second */
  FUEL = 5000000,
  FEET = 8,             /* from the centre of a lander to its feet */
  CRUISE = 170 * PIXEL,
  SOFT = 30 * PIXEL, LEVEL = 14 * DEGREE /* what legs stand */
};

/* {== Arithmetic ======================================================= */

/* A number that looks random, the same for the same x. */
uint32_t scatter(uint32_t x) {
  x = (x ^ 61) ^ (x >> 16);
  x *= 9;
  x ^= x >> 4;
  x *= 0x27d4eb2d;
  return x ^ (x >> 15);
}

/* By Bhaskara's formula, which needs no table and no floats. */
int64_t sine(int64_t angle) {
  const int64_t half = 180 * DEGREE;
  int64_t a = ((angle % (2 * half)) + 2 * half) % (2 * half);
  int64_t p = a % half * (half - a % half);
  int64_t s = 4096 * 4 * p / ((int64_t)40500 * DEGREE * DEGREE - p);
  return a < half ? s : -s;
}

static int64_t cosine(int64_t angle) { return sine(angle + 90 * DEGREE); }

uint64_t fnv(uint64_t hash, const void *from, size_t n) {
  const unsigned char *s = from;
  while (n--) hash = (hash ^ *s++) * 1099511628211u;
  return hash;
}

static int any(world *w, int from, int to) {
  w->seed = w->seed * 1664525 + 1013904223;
  return from + (int)((w->seed >> 8) % (uint32_t)(to - from + 1));
}

/* }===================================================================== */

/* {== Sparks =========================================================== */

/* Takes the place of the oldest one. */
void world_spark(world *w, spark s) {
  s.lives = s.life;
  w->sparks[w->spark] = s;
  w->spark = (w->spark + 1) % SPARKS;
}

void world_burst(world *w, int64_t x, int64_t y, int n, uint32_t colour) {
  while (n--) {
    int64_t angle = any(w, 0, 359) * DEGREE, speed = any(w, 8, 70) * PIXEL;
    spark s = {x, y, sine(angle) * speed / 4096,
               cosine(angle) * speed / 4096 - 15 * PIXEL, any(w, 25, 75), 0,
               colour};
    world_spark(w, s);
  }
}

static void sparks_step(world *w, int64_t us) {
  for (spark *s = w->sparks; s < w->sparks + SPARKS; s++) {
    if (!s->life) continue;
    s->life--;
    s->vy += (int64_t)GRAVITY * us / 1000000;
    s->x += s->vx * us / 1000000;
    s->y += s->vy * us / 1000000;
    int64_t x = s->x / PIXEL;
    if (x < 0 || x >= W || s->y / PIXEL >= w->ground[x]) s->life = 0;
  }
}

static void exhaust(world *w, const craft *c) {
  for (int i = 0; i < 3; i++) {
    int64_t angle = c->angle + any(w, -14, 14) * DEGREE;
    int64_t speed = any(w, 60, 130) * PIXEL;
    spark s = {c->x - sine(c->angle) * 7 * PIXEL / 4096,
               c->y + cosine(c->angle) * 7 * PIXEL / 4096,
               c->vx - sine(angle) * speed / 4096,
               c->vy + cosine(angle) * speed / 4096, any(w, 8, 22), 0,
               0xff8a30};
    world_spark(w, s);
  }
}

/* }===================================================================== */

/* {== Landers ========================================================== */

int64_t world_altitude(const world *w, const craft *c) {
  int64_t x = c->x / PIXEL;
  int ground = x < 0 || x >= W ? H : w->ground[x];
  return ground * (int64_t)PIXEL - c->y - FEET * PIXEL;
}

void world_deploy(world *w, craft *c) {
  c->state = FLYING;
  c->x = w->orbiter;
  c->y = 66 * PIXEL;
  c->vx = 50 * PIXEL;
  c->vy = 22 * PIXEL;
  c->fuel = FUEL;
  c->angle = c->target = 0;
}

static int64_t towards(int64_t from, int64_t to, int64_t most) {
  if (to > from + most) return from + most;
  return to < from - most ? from - most : to;
}

static void touch(world *w, craft *c) {
  int64_t off = c->x / PIXEL - c->x0;
  int soft = c->vy < SOFT && llabs(c->vx) < SOFT / 2 &&
             llabs(c->angle) < LEVEL && off > -PAD + 4 && off < PAD - 4;
  c->state = soft ? LANDED : CRASHED;
  c->y += world_altitude(w, c);
  if (!soft) world_burst(w, c->x, c->y, 160, 0xff9040);
  c->vx = c->vy = c->burn = 0;
  if (soft) c->angle = 0;
}

int craft_burns(const craft *c) { return c->burn > 0 && c->fuel > 0; }

static void craft_burn(world *w, craft *c, int64_t us) {
  c->burn -= us;
  c->fuel = c->fuel > us ? c->fuel - us : 0;
  c->vx += sine(c->angle) * THRUST / 4096 * us / 1000000;
  c->vy -= cosine(c->angle) * THRUST / 4096 * us / 1000000;
  if (us) exhaust(w, c);
}

static void craft_step(world *w, craft *c, int64_t us) {
  c->angle = towards(c->angle, c->target, TURN * us / 1000000);
  c->vy += (int64_t)GRAVITY * us / 1000000;
  if (craft_burns(c)) craft_burn(w, c, us);
  c->x += c->vx * us / 1000000;
  c->y += c->vy * us / 1000000;
  if (world_altitude(w, c) <= 0) touch(w, c);
}

/* }===================================================================== */

void world_init(world *w) {
  static const char *const names[] = {"WREN", "KITE", "DODO", "SWIFT", "TERN"};
  static const uint32_t colours[] = {0x66d9ff, 0xffd166, 0xff6b8a, 0x8ce99a,
                                     0xc9a0ff};
  memset(w, 0, sizeof *w);
  w->seed = 1969;
  w->orbiter = -100 * PIXEL;
  for (int x = 0; x < W; x++) w->ground[x] = H;
  for (int i = 0; i < FLEET; i++) {
    w->fleet[i].name = names[i];
    w->fleet[i].colour = colours[i];
    w->fleet[i].x0 = pad_at(i);
  }
}

void world_step(world *w, int64_t us) {
  w->us += us;
  if (w->cruising) w->orbiter += (int64_t)CRUISE * us / 1000000;
  for (int i = 0; i < FLEET; i++)
    if (w->fleet[i].state == FLYING) craft_step(w, &w->fleet[i], us);
  if (us) sparks_step(w, us);
  w->bars = (int)towards(w->bars, w->cinema ? 26 : 0, us ? 1 : 0);
}

/* What must be the same in two runs; `to` may be NULL. */
uint64_t world_trace(const world *w, uint64_t hash, FILE *to) {
  char s[256];
  int n = snprintf(s, sizeof s, "%lld", (long long)w->us);
  for (const craft *c = w->fleet; c < w->fleet + FLEET; c++)
    n += snprintf(s + n, sizeof s - (size_t)n, " %d:%d,%d,%d,%d,%d", c->state,
                  (int)(c->x / 1000), (int)(c->y / 1000), (int)(c->vy / 1000),
                  (int)c->angle, (int)(c->fuel / 1000));
  if (to) fprintf(to, "%s\n", s);
  return fnv(hash, s, (size_t)n);
}
