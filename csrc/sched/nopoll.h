/*
** nopoll.h - a poller for builds without an outside: it only sleeps.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_NOPOLL_H
#define PERI_NOPOLL_H

#include "loop.h"

/* Makes the loop wait for time alone. Never fails. */
/* Its clock: nanoseconds. */
uint64_t peri_nopoll_now(void);

void peri_nopoll_open(peri_loop *l);

#endif
