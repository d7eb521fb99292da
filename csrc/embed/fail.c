/*
** fail.c - failures that nobody took, on their way to the host.
**
** The error hook of a hosted loop notes a copy, from malloc; the host is told
** when the round is over, outside of Lua, and so may do what it likes.
**
** SPDX-License-Identifier: MIT
*/
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "embed.h"

/* The texts follow the struct. */
struct peri_failure {
  peri_failure *next;
  perilune_error e;
  char text[];
};

static char *copy(char *to, const char *from) {
  size_t n = strlen(from) + 1;
  memcpy(to, from, n);
  return to + n;
}

static size_t length(const char *s) {
  return s ? strlen(s) + 1 : 0;
}

/* The task's `on` is the host's pointer of its scope, see peri_run_untaken. */
static void *ud_of(lua_State *L, peri_loop *l, const char *kind) {
  peri_outcome *o = NULL;
  if (strcmp(kind, "task")) return NULL;
  if (lua_getfield(L, 2, "task") == LUA_TUSERDATA)
    o = peri_outcome_test(L, l, -1);
  lua_pop(L, 1);
  return o && o->kind == PERI_TASK ? ((peri_task *)(void *)o)->on : NULL;
}

/* Without memory the failure is counted, and that is all. */
static void note(perilune_loop *p, const char *kind, const char *message,
                 const char *trace, void *ud) {
  size_t size = length(kind) + length(message) + length(trace);
  peri_failure *f = malloc(sizeof *f + size);
  p->failed++;
  if (!f) return;
  char *at = f->text;
  f->next = NULL;
  f->e.size = sizeof f->e;
  f->e.ud = ud;
  f->e.kind = at;
  at = copy(at, kind);
  f->e.message = at;
  at = copy(at, message);
  f->e.traceback = trace ? at : NULL;
  if (trace) copy(at, trace);
  *p->last_failure = f;
  p->last_failure = &f->next;
}

void peri_embed_lost(peri_loop *l, const char *why) {
  note(l->host, "hook", why, NULL, NULL);
}

/* hook(err, info) */
int peri_embed_hook(lua_State *L) {
  peri_loop *l = PERI_LOOP(L);
  perilune_loop *p = l->host;
  lua_settop(L, 2);
  if (!p || !lua_istable(L, 2)) return 0;
  lua_getfield(L, 2, "kind");
  lua_getfield(L, 2, "traceback");
  const char *kind = luaL_optstring(L, 3, "task");
  void *ud = ud_of(L, l, kind);
  const char *trace = lua_tostring(L, 4);
  note(p, kind, luaL_tolstring(L, 1, NULL), trace, ud);
  return 0;
}

/* Takes the first one out. */
static peri_failure *next(perilune_loop *p) {
  peri_failure *f = p->failures;
  if (!f) return NULL;
  p->failures = f->next;
  if (!p->failures) p->last_failure = &p->failures;
  return f;
}

void peri_embed_tell(perilune_loop *p) {
  peri_failure *f;
  while ((f = next(p)) != NULL) {
    if (p->on_error) p->on_error(p, &f->e);
    free(f);
  }
}

void peri_embed_forget(perilune_loop *p) {
  peri_failure *f;
  while ((f = next(p)) != NULL) free(f);
}
