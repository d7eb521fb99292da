/*
** probe.h - what tests set and see in the scheduler.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_PROBE_H
#define PERI_PROBE_H

#include "task.h"

/* Sets `manual`, `advance`, `shuffle`, `probe` in the table on top. */
void peri_probe_open(lua_State *L, peri_loop *l);

#endif
