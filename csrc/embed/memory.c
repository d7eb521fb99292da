/*
** memory.c - an allocator for Lua states that counts, and has a limit.
**
** SPDX-License-Identifier: MIT
*/
#include <stdlib.h>

#include "embed.h"

/* Making something smaller is never refused: Lua counts on that. */
void *perilune_alloc(void *ud, void *p, size_t old, size_t size) {
  perilune_mem *m = ud;
  if (!p) old = 0; /* it is a type then */
  if (!size) {
    free(p);
    m->used -= old;
    return NULL;
  }
  size_t rest = m->used - old;
  int refused = size > old && m->limit &&
                (rest > m->limit || size > m->limit - rest);
  void *to = refused ? NULL : realloc(p, size);
  if (!to) {
    m->fails++;
    return NULL;
  }
  m->used = rest + size;
  if (m->used > m->peak) m->peak = m->used;
  return to;
}
