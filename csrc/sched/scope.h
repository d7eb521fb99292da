/*
** scope.h - what a wait must obey: a tree of cancellable regions.
**
** Cancellation is a state of a scope, never an event: a scope that was
** cancelled stays so until it is left, and every wait inside it raises.
** `effective` is kept up to date in the whole subtree, so that a wait only
** has to look at one byte.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_SCOPE_H
#define PERI_SCOPE_H

#include "loop.h"

enum { /* what a scope is embedded in */
  PERI_SCOPE_TASK,  /* a peri_task: outermost scope of that task */
  PERI_SCOPE_BLOCK, /* a peri_block: opened inside a task */
  PERI_SCOPE_OWNER  /* a peri_owner: parent of the tasks it owns */
};

enum { /* why a scope is cancelled */
  PERI_CAUSE_NONE,
  PERI_CAUSE_CANCEL,
  PERI_CAUSE_DEADLINE
};

typedef struct peri_scope peri_scope;
struct peri_scope {
  peri_link link;     /* among its siblings */
  peri_scope *parent; /* NULL: nothing outside cancels it */
  peri_link *child;   /* link of the first child; they form a ring */
  unsigned kind : 2;  /* PERI_SCOPE_* */
  unsigned cause : 2; /* why this very scope is cancelled, PERI_CAUSE_* */
  unsigned effective : 1; /* it or one around it (up to a shield) is */
  unsigned shield : 1; /* what is outside does not count inside */
  unsigned reason : 1; /* its Cancelled object is in the stash */
  unsigned raised : 1; /* (of a task) Cancelled was raised since the last
                          wait that was not cancelled */
  unsigned clock : 16; /* by which waits in it go, see clock.h; it is the
                          parent's unless set when the scope is opened */
  int top;            /* (of a task) of the stack it waits in, as others may
                         resume that; here there is room for it */
};

/*
** A scope that is open in a task. Blocks of one task are stacked: the
** innermost is where its waits look. Freed by whoever opened it.
*/
typedef struct peri_block {
  peri_scope scope;
  peri_timer deadline;
  unsigned clock;  /* that of the deadline */
  peri_task *task; /* NULL once it is closed */
  peri_scope *culprit; /* a scope around it that makes it effective, once
                          that was found; or NULL */
  /* What is left to do, in C, for a block that its task has not closed:
  ** `l->current` waits if it returns 0, and calls it again when woken. */
  int (*abandon)(peri_loop *l, struct peri_block *b);
  struct peri_block *next; /* in the list of free ones */
  lua_State *in;           /* (of a function form) where its frame is */
  struct peri_waitlist *waiters; /* where those are that wait to leave it; NULL
                                    if that is no wait */
  double limit;            /* seconds it was given */
  char where[LUA_IDSIZE + 12]; /* the line that opened it */
} peri_block;

/* Puts a scope of the given kind under `parent` (or under none). */
void peri_scope_init(peri_scope *s, peri_scope *parent, int kind);

/* What is outside of `s`, which has just been made, does not count inside. */
void peri_scope_shield(peri_scope *s);

/* Puts `s`, with all below it, under another parent. */
void peri_scope_move(peri_scope *s, peri_scope *parent);

/* Takes a scope without children out of the tree. */
void peri_scope_remove(peri_loop *l, peri_scope *s);

/* Cancels `s` if it is not yet cancelled: its tasks leave their waits.
** Never raises. */
void peri_scope_cancel(peri_loop *l, peri_scope *s, int cause);

/* True if what is outside of `s` is cancelled as seen from `s`. */
int peri_scope_outer_cancelled(const peri_scope *s);

/* The outermost cancelled scope that makes `s` effectively cancelled, or `s`
** if none does. */
const peri_scope *peri_scope_culprit(peri_scope *s);

/* Stores the Cancelled with this reason for `s`; `idx` may be nil or none.
** Raises out of memory before anything changed. */
void peri_scope_reason(lua_State *L, peri_loop *l, peri_scope *s, int idx);

/* Pushes the Cancelled object to be raised inside `s`. */
void peri_scope_push_cancelled(lua_State *L, peri_loop *l, peri_scope *s);

/* The same, children first: begins with the leaf of `top`, and ends, with
** NULL, after `top`. */
peri_scope *peri_scope_leaf(peri_scope *top);
peri_scope *peri_scope_up(const peri_scope *top, const peri_scope *s);

/* Walks the tree below `top`, parents first: the scope after `s`, or NULL.
** With `in` zero it does not enter `s`. */
peri_scope *peri_scope_next(const peri_scope *top, peri_scope *s, int in);

#endif
