/*
** memory.h - transports without a descriptor: pairs in memory, for tests.
**
** What read.c and write.c ask the kernel for, of a transport that has a
** `memory`. As with uv, nobody is told before the next turn.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_MEMORY_H
#define PERI_MEMORY_H

#include "transport.h"

/* Reads into one place or two: bytes, 0 at the end, or a uv status. */
ssize_t peri_memory_recv(peri_transport *c, const peri_room *room,
                         int rooms);

/* Bytes have come, or the end: watching would tell. */
int peri_memory_arrived(const peri_transport *c);

/* It is watched from now on. */
void peri_memory_watch(peri_transport *c);

/* Sends what there is room for: bytes, or a uv status. */
ssize_t peri_memory_send(peri_transport *c, const uv_buf_t *b, unsigned n);

/* Queues bytes, which peri_write_sent is told of later: 0, or a uv status. */
int peri_memory_queue(peri_transport *c, const char *bytes, size_t n);

/* Ends our side, for which nothing is queued: 0. */
int peri_memory_shut(peri_transport *c);

/* Its descriptor would be closed now: the peer is told. Twice is fine. */
void peri_memory_end(peri_transport *c);

/* Frees it. */
void peri_memory_free(peri_loop *l, peri_transport *c);

/* Sets `memory` in the table on top. */
void peri_memory_open(lua_State *L, peri_loop *l);

#endif
