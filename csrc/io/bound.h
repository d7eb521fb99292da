/*
** bound.h - socket files: what a unix server binds, and removes again.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_BOUND_H
#define PERI_BOUND_H

#include <stdint.h>

#include "sched/loop.h"

/* A socket file of ours; `path` is NULL if there is none. */
typedef struct peri_bound {
  char *path;
  size_t size; /* of the memory of `path` */
  uint64_t dev, ino;
} peri_bound;

/* Remembers the file that was just bound: 0, or a uv status. */
int peri_bound_set(peri_loop *l, peri_bound *b, const char *path);

/* Removes the file, unless it has been replaced by another one. */
void peri_bound_remove(peri_loop *l, peri_bound *b);

/* Removes the socket file at `path` if no server is behind it any more:
** 0, or a uv status. */
int peri_bound_remove_stale(const char *path);

#endif
