/*
** whole.h - files that are read or written as a whole, in a thread.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_WHOLE_H
#define PERI_WHOLE_H

#include <stdatomic.h>
#include <uv.h>

/* Bytes from malloc. */
typedef struct peri_whole {
  char *bytes;
  size_t len;
} peri_whole;

/*
** These block, and return 0 or a uv error: UV_ECANCELED where `*stop` has
** become true before they had finished, UV_ESPIPE for FIFOs and sockets,
** which have no whole. None leaves anything open.
*/

/* Reads a file up to its end; what it has got is the caller's to free, also
** if it failed. PERI_ELIMIT for a device that has not ended after 16 MiB. */
int peri_whole_read(peri_whole *all, const char *path, atomic_int *stop);

/* Writes a file, which it makes if need be; `how` is UV_FS_O_TRUNC or
** UV_FS_O_APPEND. */
int peri_whole_write(const peri_whole *all, const char *path, int how,
                     atomic_int *stop);

/* Writes a file beside it, and gives that its name, so that at any time it
** is the old one or the new one. */
int peri_whole_replace(const peri_whole *all, const char *path,
                       atomic_int *stop);

/* Copies a file, with its mode, and replaces what is there. */
int peri_whole_copy(const char *from, const char *to, atomic_int *stop);

#endif
