/*
** callback.h - Lua callbacks on the loop, and the error hook.
**
** User code that is not a task enters here: scheduled callbacks, protocol
** methods, the error hook. It is called by the turn, in protected mode;
** waits inside it are refused.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_CALLBACK_H
#define PERI_CALLBACK_H

#include "task.h"

/*
** Calls the function below the `nargs` values on top of L, as a callback in
** the frame `f` (borrowed; what the callback sets there is lost), or if that
** is NULL in the root context. Like lua_pcall: pops them, leaves `nres` results
** or one error, returns the status. To be called from the turn only (by a
** runnable).
*/
int peri_callback_call(peri_loop *l, lua_State *L, const peri_frame *f,
                       int nargs, int nres);

/*
** Tells the error hook of the error on top of L, and pops it. `kind` is
** "task", "callback", "secondary", "shutdown" or "leak"; `t` is the task
** concerned, or NULL. Never raises. To be called from the turn only.
*/
void peri_report(peri_loop *l, lua_State *L, const char *kind,
                 const peri_task *t);

/* The same for what is reported of a task while it runs, or may have ended
** since. On top of L: a text, the task or nil, its stack; they are popped. */
void peri_report_stack(peri_loop *l, lua_State *L, const char *kind);

/* In debug, tells the error hook of an object that was collected before it
** was closed. `describe` gets it as a light userdata, and returns a text. To be
** called from the turn only. */
void peri_report_leak(peri_loop *l, lua_State *L, lua_CFunction describe,
                      void *object);

/*
** Makes a callback of the function at 2 that gets the awaitable at 1 (with
** outcome `o`) when that is done, or only when it was cancelled. Pushes it.
*/
void peri_callback_observe(lua_State *L, peri_loop *l, peri_outcome *o,
                           int only_cancelled);

/* Takes a callback that has not run off the loop; returns 0 if it runs or
** has run. Its outcome is left to the caller to settle. */
int peri_callback_withdraw(peri_loop *l, peri_outcome *o);

/* Methods of loops and callbacks: call_soon, call_later, call_at, on_error.
** Called once, with the method table of the loop on top. */
void peri_callback_open(lua_State *L, peri_loop *l);

#endif
