/*
** want.h - what a read wants, and whether it is there.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_WANT_H
#define PERI_WANT_H

#include <stddef.h>

enum {
  PERI_WANT_SOME,  /* at least a byte, at most n */
  PERI_WANT_COUNT, /* n bytes, fewer at the end */
  PERI_WANT_EXACT, /* n bytes */
  PERI_WANT_PEEK,  /* n bytes, which stay */
  PERI_WANT_LINE,  /* up to a delimiter that ends within n bytes, less at the
                      end */
  PERI_WANT_UNTIL, /* the same, not less */
  PERI_WANT_ALL    /* everything up to the end */
};

typedef struct peri_want {
  int what;
  int keep;     /* the delimiter is part of the result */
  size_t n;
  const char *delim;
  size_t delim_len;
} peri_want;

typedef struct peri_found {
  size_t take; /* bytes consumed */
  size_t give; /* of these, the result */
} peri_found;

enum { PERI_MORE, PERI_FOUND, PERI_LIMIT };

/*
** Are the `n` bytes at `p` enough? PERI_FOUND tells in `f` what to take,
** PERI_MORE is not yet, PERI_LIMIT never. `*scanned` of them are known to
** hold no delimiter; it is brought up to date.
*/
int peri_want_match(const peri_want *w, const char *p, size_t n,
                    size_t *scanned, peri_found *f);

/* How many bytes in all it takes, as far as that is known; 0 if not. */
size_t peri_want_needs(const peri_want *w);

#endif
