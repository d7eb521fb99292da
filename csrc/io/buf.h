/*
** buf.h - byte buffers: the loop's hot one, and what is left of a read.
**
** Whoever reads borrows the loop's one hot buffer, and leaves in it what it
** did not take: nobody copies anything until somebody else wants to read.
** Then the borrower's rest moves to memory of its own ("settles"), which it
** gives back as soon as it is empty. So an idle connection holds no buffer.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_BUF_H
#define PERI_BUF_H

#include <stddef.h>

#include "sched/loop.h"

#define PERI_BLOCK_SIZE 65536u /* of the hot buffer and of pooled blocks */

/*
** Bytes that were read and not yet taken: from base + pos, len of them.
** base is NULL if there are none; it is the hot buffer (cap is 0 then) or
** memory of cap bytes. An owner that does not read has it zeroed.
*/
typedef struct peri_buf {
  char *base;
  size_t pos, len, cap;
  int lost; /* there was no memory to settle: bytes are missing */
} peri_buf;

/* The buffers of a loop. */
typedef struct peri_pool {
  char *hot;       /* made when first wanted */
  peri_buf *user;  /* who has bytes in it, or NULL */
  void *blocks;    /* unused blocks of PERI_BLOCK_SIZE, chained */
  unsigned count;  /* how many */
  int closed;      /* keeps nothing any more */
} peri_pool;

static inline const char *peri_buf_bytes(const peri_buf *b) {
  return b->base + b->pos;
}

/* A block of PERI_BLOCK_SIZE; NULL when out of memory. And back with it. */
char *peri_pool_block(peri_loop *l, peri_pool *p);
void peri_pool_give(peri_loop *l, peri_pool *p, char *block);

/* Frees everything, and keeps nothing from now on. */
void peri_pool_close(peri_loop *l, peri_pool *p);

/* Where to read to. */
typedef struct peri_room {
  char *at;
  size_t size;
} peri_room;

/*
** Says where bytes that follow those in `b` can be put: one or two places,
** to be filled in that order. Returns how many, or 0 when out of memory.
** `want` is how many bytes in all the owner knows it will need, or 0.
*/
int peri_buf_room(peri_loop *l, peri_pool *p, peri_buf *b, size_t want,
                  peri_room room[2]);

/* Says that `n` bytes were put there (0 if none): 0, or -1 if there was no
** memory to keep them. To be called after peri_buf_room, with its result. */
int peri_buf_filled(peri_loop *l, peri_pool *p, peri_buf *b,
                    const peri_room room[2], size_t n);

/* Appends a copy of `n` bytes, in memory of its own: 0, or -1. */
int peri_buf_add(peri_loop *l, peri_pool *p, peri_buf *b, const char *bytes,
                 size_t n);

/* Takes `n` bytes away; gives back the memory if those were all. */
void peri_buf_take(peri_loop *l, peri_pool *p, peri_buf *b, size_t n);

/* Takes away everything. */
void peri_buf_clear(peri_loop *l, peri_pool *p, peri_buf *b);

#endif
