/*
** stream.h - transports for descriptors that are no sockets of ours: pipes,
** terminals, files, devices, and whatever else a program was started with.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_STREAM_H
#define PERI_STREAM_H

#include <stdio.h>

#include "transport.h"

/* What is known of a descriptor. Whether others use its open file, and would
** be surprised if that ceased to block, is the question. */
enum {
  PERI_STREAM_OWN,    /* nobody else does, and it does not block */
  PERI_STREAM_SOCKET, /* asked each time not to block */
  PERI_STREAM_SHARED, /* asked each time whether it would block */
  PERI_STREAM_FILE    /* always ready, as the system says */
};

/*
** Gives an empty box of type UV_POLL a transport for the descriptor, which
** it owns then; or for a negative uv status, which is what it reads and
** writes. NULL when out of memory: the descriptor is closed then.
** `name`, which lives as long as the program, is for messages. `file`, if
** not NULL, is C's own stream for the same thing: what is in its buffer goes
** out first.
*/
peri_transport *peri_stream_begin(peri_loop *l, peri_box *box, int fd,
                                  int how, const char *name, FILE *file);

#endif
