/*
** inspect.h - looking at tasks: methods of tasks, and who is alive.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_INSPECT_H
#define PERI_INSPECT_H

#include "task.h"

/* Makes the metatable of tasks, and sets `task`, `tasks`, `traceback`,
** `is_cancelled` and others in the table on top. */
void peri_inspect_open(lua_State *L, peri_loop *l);

/* "ready", "running", "waiting", or how it has ended. */
const char *peri_task_state(const peri_loop *l, const peri_task *t);

#endif
