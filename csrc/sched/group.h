/*
** group.h - task groups.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_GROUP_H
#define PERI_GROUP_H

#include "task.h"

/* Makes the metatable, and sets `group` in the table on top. */
void peri_group_open(lua_State *L, peri_loop *l);

/* The task in which a group was opened whose owner this is, or NULL. */
peri_task *peri_group_parent(const peri_owner *o);

#endif
