/*
** hook.h - the debug hook, borrowed for one event.
**
** A hook is the one way to reach Lua code that does not call us: code that
** never waits, as seen from a signal handler, or a coroutine that goes on
** behind a yield which was none of ours.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_HOOK_H
#define PERI_HOOK_H

#include "loop.h"

/*
** Has `fn` called by the Lua code that runs, or goes on, in L: at its next
** event, once. It may raise. A hook that the user has set is put back before,
** and is told of that event first. May be called in a signal handler, in the
** loop's thread; replaces an `fn` that has not been called yet.
*/
void peri_hook_arm(peri_loop *l, lua_State *L, peri_hook_fn fn);

/* `fn` is not to be called any more: puts back the user's hook. */
void peri_hook_disarm(peri_loop *l, peri_hook_fn fn);

/* The coroutine in which it may be armed is left, for L or for nobody (NULL),
** and nothing keeps it from being collected. */
void peri_hook_move(peri_loop *l, lua_State *L);
static inline void peri_hook_left(peri_loop *l, lua_State *L) {
  if (l->hook.in) peri_hook_move(l, L);
}

/* Where the Lua code of the running task or callback is, as far as is known:
** a stock coroutine inside is not. NULL if there is none. */
static inline lua_State *peri_hook_where(const peri_loop *l) {
  return l->callback ? l->called : l->top;
}

/* Called once. */
void peri_hook_open(lua_State *L, peri_loop *l);

#endif
