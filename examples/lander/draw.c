/*
** draw.c - drawing into an array of pixels, and writing that as a PNG.
** Integers only: the same calls make the same picture everywhere.
**
** SPDX-License-Identifier: MIT
*/
#include "host.h"

/* {== Pixels =========================================================== */

uint32_t mix(uint32_t a, uint32_t b, int t) {
  uint32_t out = 0;
  for (int s = 0; s < 24; s += 8) {
    int x = (int)(a >> s & 255), y = (int)(b >> s & 255);
    out |= (uint32_t)(x + (y - x) * t / 256) << s;
  }
  return out;
}

static uint32_t *at(canvas *c, int x, int y) {
  return x < 0 || x >= W || y < 0 || y >= H ? NULL : &c->px[y][x];
}

void put(canvas *c, int x, int y, uint32_t rgb, int alpha) {
  uint32_t *p = at(c, x, y);
  if (p) *p = mix(*p, rgb, alpha);
}

/* Light upon what is there, of which 256 is all. */
void add(canvas *c, int x, int y, uint32_t rgb, int amount) {
  uint32_t *p = at(c, x, y), out = 0;
  if (!p) return;
  for (int s = 0; s < 24; s += 8) {
    uint32_t v = (*p >> s & 255) + (rgb >> s & 255) * (uint32_t)amount / 256;
    out |= (v > 255 ? 255 : v) << s;
  }
  *p = out;
}

/* }===================================================================== */

/* {== Shapes =========================================================== */

void box(canvas *c, int x, int y, int w, int h, uint32_t rgb, int alpha) {
  for (int j = y; j < y + h; j++)
    for (int i = x; i < x + w; i++) put(c, i, j, rgb, alpha);
}

void line(canvas *c, int x0, int y0, int x1, int y1, uint32_t rgb) {
  int dx = abs(x1 - x0), dy = -abs(y1 - y0), e = dx + dy;
  int sx = x0 < x1 ? 1 : -1, sy = y0 < y1 ? 1 : -1;
  for (;;) {
    put(c, x0, y0, rgb, 256);
    if (x0 == x1 && y0 == y1) return;
    int twice = 2 * e;
    if (twice >= dy) e += dy, x0 += sx;
    if (twice <= dx) e += dx, y0 += sy;
  }
}

/* Where the outline crosses a row: at most n places, in order. */
static int crossings(const int (*p)[2], int n, int y, int *xs) {
  int found = 0;
  for (int i = 0, j = n - 1; i < n; j = i++) {
    if ((p[i][1] > y) == (p[j][1] > y)) continue;
    int x = p[i][0] + (y - p[i][1]) * (p[j][0] - p[i][0]) / (p[j][1] - p[i][1]);
    int k = found++;
    for (; k > 0 && xs[k - 1] > x; k--) xs[k] = xs[k - 1];
    xs[k] = x;
  }
  return found;
}

/* Of at most 16 corners. */
void polygon(canvas *c, const int (*p)[2], int n, uint32_t rgb) {
  int top = H, bottom = 0, xs[16];
  for (int i = 0; i < n; i++) {
    if (p[i][1] < top) top = p[i][1];
    if (p[i][1] > bottom) bottom = p[i][1];
  }
  for (int y = top; y <= bottom; y++) {
    int found = crossings(p, n, y, xs);
    for (int i = 0; i + 1 < found; i += 2)
      box(c, xs[i], y, xs[i + 1] - xs[i] + 1, 1, rgb, 256);
  }
}

/* Light that fades away from its centre. */
void glow(canvas *c, int x, int y, int r, uint32_t rgb, int amount) {
  for (int j = -r; j <= r; j++)
    for (int i = -r; i <= r; i++) {
      int left = r * r - i * i - j * j;
      if (left > 0) add(c, x + i, y + j, rgb, amount * left / (r * r));
    }
}

/* }===================================================================== */

/* {== Text ============================================================= */

/* From the blank to Z, five columns each, the lowest bit on top. */
static const unsigned char font[][5] = {
  {0, 0, 0, 0, 0}, {0, 0, 95, 0, 0}, {0, 7, 0, 7, 0}, {20, 127, 20, 127, 20},
  {36, 42, 127, 42, 18}, {35, 19, 8, 100, 98}, {54, 73, 86, 32, 80},
  {0, 4, 3, 0, 0}, {0, 28, 34, 65, 0}, {0, 65, 34, 28, 0},
  {20, 8, 62, 8, 20}, {8, 8, 62, 8, 8}, {0, 64, 48, 0, 0}, {8, 8, 8, 8, 8},
  {0, 96, 96, 0, 0}, {32, 16, 8, 4, 2}, {62, 81, 73, 69, 62},
  {0, 66, 127, 64, 0}, {98, 81, 73, 73, 70}, {34, 65, 73, 73, 54},
  {24, 20, 18, 127, 16}, {39, 69, 69, 69, 57}, {60, 74, 73, 73, 48},
  {1, 113, 9, 5, 3}, {54, 73, 73, 73, 54}, {6, 73, 73, 41, 30},
  {0, 0, 54, 0, 0}, {0, 64, 54, 0, 0}, {8, 20, 34, 65, 0},
  {20, 20, 20, 20, 20}, {0, 65, 34, 20, 8}, {2, 1, 81, 9, 6},
  {62, 65, 93, 85, 30}, {126, 17, 17, 17, 126}, {127, 73, 73, 73, 54},
  {62, 65, 65, 65, 34}, {127, 65, 65, 65, 62}, {127, 73, 73, 73, 65},
  {127, 9, 9, 9, 1}, {62, 65, 73, 73, 122}, {127, 8, 8, 8, 127},
  {0, 65, 127, 65, 0}, {32, 64, 65, 63, 1}, {127, 8, 20, 34, 65},
  {127, 64, 64, 64, 64}, {127, 2, 12, 2, 127}, {127, 4, 8, 16, 127},
  {62, 65, 65, 65, 62}, {127, 9, 9, 9, 6}, {62, 65, 81, 33, 94},
  {127, 9, 25, 41, 70}, {38, 73, 73, 73, 50}, {1, 1, 127, 1, 1},
  {63, 64, 64, 64, 63}, {31, 32, 64, 32, 31}, {63, 64, 56, 64, 63},
  {99, 20, 8, 20, 99}, {7, 8, 112, 8, 7}, {97, 81, 73, 69, 67}};

static const unsigned char *glyph(char ch) {
  int i = ch >= 'a' && ch <= 'z' ? ch - 'a' + 'A' : ch;
  return font[i < ' ' || i > 'Z' ? 0 : i - ' '];
}

/* Returns the x after it. */
int text(canvas *c, int x, int y, uint32_t rgb, const char *s) {
  for (; *s; s++, x += 6) {
    const unsigned char *g = glyph(*s);
    for (int i = 0; i < 5; i++)
      for (int j = 0; j < 8; j++)
        if (g[i] >> j & 1) put(c, x + i, y + j, rgb, 256);
  }
  return x;
}

/* }===================================================================== */

/* {== PNG, without compression ========================================= */

typedef struct png {
  FILE *file;
  uint32_t crc, a, b; /* of the chunk; Adler's sums of all data */
} png;

static void byte(png *p, unsigned v) {
  putc((int)(v & 255), p->file);
  p->crc ^= v & 255;
  for (int i = 0; i < 8; i++) p->crc = p->crc >> 1 ^ (p->crc & 1) * 0xedb88320;
}

static void word(png *p, uint32_t v) {
  for (int s = 24; s >= 0; s -= 8) byte(p, v >> s);
}

static void begin(png *p, uint32_t size, const char *type) {
  word(p, size);
  p->crc = 0xffffffff;
  while (*type) byte(p, (unsigned char)*type++);
}

static void end(png *p) { word(p, ~p->crc); }

static void data(png *p, unsigned v) {
  byte(p, v);
  p->a = (p->a + (v & 255)) % 65521;
  p->b = (p->b + p->a) % 65521;
}

/* A block of its own, which says how long it is, and the same inverted. */
static void row(png *p, const uint32_t *px, int last) {
  const unsigned size = 1 + 3 * W;
  const unsigned head[] = {(unsigned)last, size, size >> 8, ~size, ~size >> 8};
  for (int i = 0; i < 5; i++) byte(p, head[i]);
  data(p, 0);
  for (int x = 0; x < W; x++)
    for (int s = 16; s >= 0; s -= 8) data(p, px[x] >> s & 255);
}

/* 0, or -1 with errno. */
int png_write(const canvas *c, const char *path) {
  png p = {.file = fopen(path, "wb"), .a = 1};
  if (!p.file) return -1;
  fwrite("\x89PNG\r\n\x1a\n", 1, 8, p.file);
  begin(&p, 13, "IHDR");
  word(&p, W), word(&p, H), byte(&p, 8), byte(&p, 2);
  byte(&p, 0), byte(&p, 0), byte(&p, 0);
  end(&p);
  begin(&p, 2 + H * (5 + 1 + 3 * W) + 4, "IDAT");
  byte(&p, 0x78), byte(&p, 0x01);
  for (int y = 0; y < H; y++) row(&p, c->px[y], y == H - 1);
  word(&p, p.b << 16 | p.a);
  end(&p);
  begin(&p, 0, "IEND");
  end(&p);
  return fclose(p.file) ? -1 : 0;
}

/* }===================================================================== */
