/*
** buf.c - byte buffers: the loop's hot one, and what is left of a read.
**
** Plain C. The pool is part of what csrc/io keeps for a loop (handle.h) and
** freed along with it; a buffer's memory is its owner's.
**
** SPDX-License-Identifier: MIT
*/
#include "buf.h"

#include <assert.h>
#include <string.h>

#define POOL_MAX 8       /* unused blocks kept */
#define SMALLEST 256     /* smaller rests get this much */
#define GROWS_AT 4096    /* read into the rest's own memory from here on */

/* {== Memory =========================================================== */

/* Rests come in powers of two, so that the allocator sees few sizes. */
static size_t round_up(size_t size) {
  size_t n = SMALLEST;
  while (n < size && n < PERI_BLOCK_SIZE) n *= 2;
  return n < size ? size : n;
}

char *peri_pool_block(peri_loop *l, peri_pool *p) {
  void *block = p->blocks;
  if (!block) return peri_alloc(l, PERI_BLOCK_SIZE);
  memcpy(&p->blocks, block, sizeof p->blocks);
  p->count--;
  return block;
}

/* Memory of at least `*size` bytes, which is rounded up; NULL when there is
** none. */
static char *take(peri_loop *l, peri_pool *p, size_t *size) {
  *size = round_up(*size);
  if (*size == PERI_BLOCK_SIZE) return peri_pool_block(l, p);
  return peri_alloc(l, *size);
}

static void give(peri_loop *l, peri_pool *p, char *memory, size_t size) {
  if (size != PERI_BLOCK_SIZE || p->count >= POOL_MAX || p->closed) {
    peri_free(l, memory, size);
    return;
  }
  memcpy(memory, &p->blocks, sizeof p->blocks);
  p->blocks = memory;
  p->count++;
}

void peri_pool_give(peri_loop *l, peri_pool *p, char *block) {
  give(l, p, block, PERI_BLOCK_SIZE);
}

void peri_pool_close(peri_loop *l, peri_pool *p) {
  p->closed = 1;
  while (p->blocks) {
    char *block = p->blocks;
    memcpy(&p->blocks, block, sizeof p->blocks);
    peri_free(l, block, PERI_BLOCK_SIZE);
  }
  if (p->hot) peri_free(l, p->hot, PERI_BLOCK_SIZE);
  p->hot = NULL;
  p->count = 0;
}

/* }===================================================================== */

/* {== A buffer's memory ================================================ */

/* Moves the bytes to memory of `size` bytes or more: 0, or -1. */
static int move(peri_loop *l, peri_pool *p, peri_buf *b, size_t size) {
  char *to = take(l, p, &size);
  if (!to) return -1;
  if (b->len) memcpy(to, peri_buf_bytes(b), b->len);
  if (b->cap) give(l, p, b->base, b->cap);
  if (p->user == b) p->user = NULL;
  b->base = to;
  b->pos = 0;
  b->cap = size;
  return 0;
}

/* The hot buffer, free to be read to; NULL when there is no memory for it.
** Who has bytes in it takes them home. */
static char *hot(peri_loop *l, peri_pool *p) {
  peri_buf *user = p->user;
  if (user && move(l, p, user, user->len)) {
    peri_buf_clear(l, p, user);
    user->lost = 1;
  }
  if (!p->hot) p->hot = peri_alloc(l, PERI_BLOCK_SIZE);
  return p->hot;
}

/* Makes room behind the bytes of a buffer with memory of its own, so that
** it holds `size` bytes: 0, or -1. */
static int reserve(peri_loop *l, peri_pool *p, peri_buf *b, size_t size) {
  if (size <= b->cap) {
    if (b->pos + size > b->cap) {
      memmove(b->base, peri_buf_bytes(b), b->len);
      b->pos = 0;
    }
    return 0;
  }
  /* Twice the bytes there are, but not at once all that is wanted: a peer
  ** may announce much and send little. */
  return move(l, p, b, size > 2 * b->len ? size : 2 * b->len);
}

/* }===================================================================== */

/* {== Filling ========================================================== */

/* Behind its own bytes in the hot buffer, as long as it has good room. */
static int room_in_hot(peri_pool *p, peri_buf *b, peri_room *room) {
  size_t end = b->pos + b->len;
  if (end > PERI_BLOCK_SIZE / 2) return 0;
  room->at = p->hot + end;
  room->size = PERI_BLOCK_SIZE - end;
  return 1;
}

int peri_buf_room(peri_loop *l, peri_pool *p, peri_buf *b, size_t want,
                  peri_room room[2]) {
  if (p->user == b && room_in_hot(p, b, room)) return 1;
  char *spare = hot(l, p); /* settles `b` as well */
  if (!spare || b->lost) return 0;
  room[0].at = spare;
  room[0].size = PERI_BLOCK_SIZE;
  if (!b->base) return 1;
  if (want > b->len + GROWS_AT) {
    size_t most = 2 * b->len + PERI_BLOCK_SIZE;
    if (reserve(l, p, b, want < most ? want : most)) return 0;
  }
  size_t end = b->pos + b->len;
  if (end == b->cap) return 1;
  room[1] = room[0];
  room[0].at = b->base + end;
  room[0].size = b->cap - end;
  return 2;
}

int peri_buf_add(peri_loop *l, peri_pool *p, peri_buf *b, const char *bytes,
                 size_t n) {
  if (reserve(l, p, b, b->len + n)) {
    b->lost = 1;
    return -1;
  }
  memcpy(b->base + b->pos + b->len, bytes, n);
  b->len += n;
  return 0;
}

int peri_buf_filled(peri_loop *l, peri_pool *p, peri_buf *b,
                    const peri_room room[2], size_t n) {
  if (!n) return 0;
  if (!b->base) {
    assert(room[0].at == p->hot && !p->user);
    p->user = b;
    b->base = p->hot;
    b->pos = b->cap = 0;
    b->len = n;
    return 0;
  }
  if (p->user == b) { /* it goes on in the hot buffer */
    b->len += n;
    return 0;
  }
  size_t own = 0;
  if (room[0].at != p->hot) {
    own = n < room[0].size ? n : room[0].size;
    b->len += own;
  }
  return n > own ? peri_buf_add(l, p, b, p->hot, n - own) : 0;
}

void peri_buf_take(peri_loop *l, peri_pool *p, peri_buf *b, size_t n) {
  assert(n <= b->len);
  b->pos += n;
  b->len -= n;
  if (!b->len) peri_buf_clear(l, p, b);
}

void peri_buf_clear(peri_loop *l, peri_pool *p, peri_buf *b) {
  if (b->cap) give(l, p, b->base, b->cap);
  if (p->user == b) p->user = NULL;
  b->base = NULL;
  b->pos = b->len = b->cap = 0;
}

/* }===================================================================== */
