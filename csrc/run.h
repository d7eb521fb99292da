/*
** run.h - runs, shutdown, and the loop object.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_RUN_H
#define PERI_RUN_H

#include "sched/task.h"

/* Gives the loop an owner for background tasks, and sets the functions that
** lua/perilune/run.lua is made of in the table on top. */
void peri_run_open(lua_State *L, peri_loop *l);

/* A task has ended: if it failed and nobody takes that within a turn, the
** error hook is told, with the task's `on` being `of`. Returns 1 if its owner
** is to keep the task for that. */
int peri_run_untaken(peri_loop *l, peri_task *t, void *of);

/* The methods of the loop object, into the table on top. */
void peri_run_methods(lua_State *L, peri_loop *l);

#endif
