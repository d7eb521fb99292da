/*
** want.c - what a read wants, and whether it is there.
**
** Plain C: looks at bytes and takes none.
**
** SPDX-License-Identifier: MIT
*/
#include "want.h"

#include <stdint.h>
#include <string.h>

static int give(peri_found *f, size_t n) {
  f->take = f->give = n;
  return PERI_FOUND;
}

/* The first delimiter in the `n` bytes at `p`, or NULL. */
static const char *find(const peri_want *w, const char *p, size_t n) {
  const char *end = p + n, *q;
  while ((size_t)(end - p) >= w->delim_len &&
         (q = memchr(p, w->delim[0], (size_t)(end - p))) != NULL) {
    if ((size_t)(end - q) < w->delim_len) return NULL;
    if (!memcmp(q, w->delim, w->delim_len)) return q;
    p = q + 1;
  }
  return NULL;
}

/* Looks at bytes that were not scanned before, and at those that may be
** the beginning of a delimiter. */
static int match_until(const peri_want *w, const char *p, size_t n,
                       size_t *scanned, peri_found *f) {
  size_t overlap = w->delim_len - 1;
  size_t from = *scanned > overlap ? *scanned - overlap : 0;
  const char *q = n > from ? find(w, p + from, n - from) : NULL;
  *scanned = n;
  if (!q) return n >= w->n ? PERI_LIMIT : PERI_MORE;
  size_t before = (size_t)(q - p);
  f->take = before + w->delim_len;
  f->give = w->keep ? f->take : before;
  return f->take > w->n ? PERI_LIMIT : PERI_FOUND;
}

int peri_want_match(const peri_want *w, const char *p, size_t n,
                    size_t *scanned, peri_found *f) {
  switch (w->what) {
    case PERI_WANT_SOME:
      return n ? give(f, n < w->n ? n : w->n) : PERI_MORE;
    case PERI_WANT_COUNT:
      return n && n >= w->n ? give(f, w->n) : PERI_MORE;
    case PERI_WANT_EXACT:
    case PERI_WANT_PEEK:
      if (n < w->n) return PERI_MORE;
      give(f, w->n);
      if (w->what == PERI_WANT_PEEK) f->take = 0;
      return PERI_FOUND;
    case PERI_WANT_LINE:
    case PERI_WANT_UNTIL:
      return match_until(w, p, n, scanned, f);
    default: /* PERI_WANT_ALL */
      return PERI_MORE;
  }
}

size_t peri_want_needs(const peri_want *w) {
  switch (w->what) {
    case PERI_WANT_COUNT:
    case PERI_WANT_EXACT:
    case PERI_WANT_PEEK:
      return w->n;
    case PERI_WANT_ALL:
      return SIZE_MAX / 2;
    default:
      return 0;
  }
}
