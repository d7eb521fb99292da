/*
** slice.c - tasks that do not wait, and what a host hears of each resume.
**
** A count hook of Lua's comes after so many instructions of code that has not
** waited. Coroutines have it from who makes them, the main thread first, or
** get it before they are resumed. There the host decides: the task goes on, or
** to the tail of the ready list, or it is ended.
**
** Where a task cannot be suspended (in a callback, in a function of C that
** calls Lua, in a coroutine that the stock functions run) it is told of again
** later; and one that is to end gets an error, again and again until it is
** where it can be suspended, or has returned.
**
** SPDX-License-Identifier: MIT
*/
#include "embed.h"

/* {== Ending =========================================================== */

#define NESTED 250 /* no less coroutines than Lua lets run inside others */

/* The coroutine that the C function on top of this stack may run: resume has
** it as argument, what wrap returns as upvalue. */
static lua_State *inner_of(lua_State *L) {
  lua_Debug ar;
  lua_State *co = NULL;
  if (!lua_checkstack(L, 2) || !lua_getstack(L, 0, &ar)) return NULL;
  if (lua_gettop(L)) co = lua_tothread(L, 1);
  lua_getinfo(L, "f", &ar);
  if (!co && lua_iscfunction(L, -1) && lua_getupvalue(L, -1, 1)) {
    co = lua_tothread(L, -1);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return co;
}

/* Those that are counted in, from L to the one that runs, are told of each
** instruction. */
static void hurry(lua_State *L) {
  for (int i = 0; i < NESTED && L; i++, L = inner_of(L))
    if (lua_gethook(L) == peri_embed_hooked)
      lua_sethook(L, peri_embed_hooked, LUA_MASKCOUNT, 1);
}

/*
** An error that no pcall outlives: it comes again with the next instruction,
** also in what has resumed L. That could begin anew else, with a slice for each
** coroutine in a coroutine, for ever. Lua calls no message handler for this
** text, which its own errors have when memory is short; hooks are off in a
** handler, and nothing would end it.
*/
static int raise_again(lua_State *L, const perilune_loop *p) {
  const peri_loop *l = p->loop;
  if (lua_gethookcount(L) != 1) {
    hurry(l->callback ? l->called : l->current->co);
    lua_sethook(L, peri_embed_hooked, LUA_MASKCOUNT, 1);
  }
  lua_pushliteral(L, "not enough memory");
  return lua_error(L);
}

static int is_task(const peri_loop *l) {
  return l->current != l->root && !l->callback;
}

/* The task goes when it has left the turn: nothing of it is running then. */
static void end(lua_State *L, perilune_loop *p) {
  peri_loop *l = p->loop;
  p->killing = 1;
  if (is_task(l)) {
    p->condemned = l->current;
    l->current->out.flags |= PERI_KILLED;
  }
  if (peri_task_can_preempt(L, l))
    peri_task_preempt(L, l);
  else
    raise_again(L, p);
}

/* }===================================================================== */

/* {== The hook ========================================================= */

static int ask(perilune_loop *p) {
  peri_loop *l = p->loop;
  if (p->killing || l->closing) return PERILUNE_KILL;
  if (!p->on_overrun) return PERILUNE_PREEMPT;
  uint64_t ns = p->stepping ? l->poller->now() - p->begun : 0;
  perilune_task *t = is_task(l) ? peri_embed_show(p, l->current) : NULL;
  return p->on_overrun(p, t, ns);
}

/* Coroutines count on from one activation to the next, as setting a hook anew
** takes time: the first time in each says nothing. */
static int is_early(perilune_loop *p) {
  if (p->killing || p->late) return 0;
  p->late = 1;
  return 1;
}

/* A coroutine in which something was ended lives on. */
static int is_left_over(lua_State *L, const perilune_loop *p) {
  if (p->killing || lua_gethookcount(L) == p->slice) return 0;
  lua_sethook(L, peri_embed_hooked, LUA_MASKCOUNT, p->slice);
  return 1;
}

/* What runs outside of the loop is the host's own. */
static int is_ours(const peri_loop *l) {
  return l->running || l->callback || l->closing;
}

void peri_embed_hooked(lua_State *L, lua_Debug *ar) {
  perilune_loop *p = peri_embed_of(L);
  (void)ar;
  if (!p) { /* the loop has ended, and the state goes on */
    lua_sethook(L, NULL, 0, 0);
    return;
  }
  if (!is_ours(p->loop) || is_left_over(L, p) || is_early(p)) return;
  int what = ask(p);
  if (what == PERILUNE_KILL) {
    end(L, p);
  } else if (what == PERILUNE_PREEMPT && peri_task_can_preempt(L, p->loop)) {
    p->preempted++;
    peri_task_preempt(L, p->loop);
  }
}

/* A hook of the program's own stays, and then there are no slices. Returns 1 if
** counting begins here. */
static unsigned arm(const perilune_loop *p, lua_State *L) {
  if (lua_gethook(L)) return 0;
  lua_sethook(L, peri_embed_hooked, LUA_MASKCOUNT, p->slice);
  return 1;
}

/* }===================================================================== */

/* {== Around each resume =============================================== */

static void tell(perilune_loop *p, int begins) {
  if (p->on_resume) p->on_resume(p, p->shown, begins);
}

/* In one that was put off, counting has begun with that. The task stays on
** `scratch` until it was told of. */
static void before(peri_loop *l, peri_runnable *r, const peri_budget *b) {
  perilune_loop *p = l->host;
  peri_task *t = peri_task_resumed_by(r);
  if (p->slice) {
    p->begun = b->looked ? b->looked : l->poller->now();
    p->late = arm(p, t ? t->co : p->L) || (t && peri_task_is_preempted(t));
  }
  if (!t || !p->on_resume) return;
  peri_task_push(p->scratch, l, t);
  p->resumed = t;
  peri_embed_show(p, t);
  tell(p, 1);
}

void peri_embed_after(peri_loop *l) {
  perilune_loop *p = l->host;
  peri_task *t = p->condemned;
  if (!l->before) l->after = NULL; /* it was for those that are doomed */
  p->condemned = NULL;
  p->killing = 0;
  while (t && t->co && peri_embed_kill_one(p, &t->scope, 0)) continue;
  if (p->resumed) {
    peri_embed_show(p, p->resumed);
    tell(p, 0);
    p->resumed = NULL;
    lua_settop(p->scratch, 0);
  }
  if (!peri_link_alone(&p->doomed)) peri_embed_bury(l);
}

void peri_embed_slice(perilune_loop *p) {
  if (!p->slice && !p->on_resume) return;
  p->loop->before = before;
  p->loop->after = peri_embed_after;
  if (p->slice) arm(p, p->L);
}

/* }===================================================================== */
