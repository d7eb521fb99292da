/*
** channel.h - channels and events.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_CHANNEL_H
#define PERI_CHANNEL_H

#include "task.h"

/* Make the metatables, and set `channel`, `event` in the table on top. */
void peri_channel_open(lua_State *L, peri_loop *l);
void peri_event_open(lua_State *L, peri_loop *l);

#endif
