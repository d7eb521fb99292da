/*
** framing.h - what reads ask for, and taking it from bytes that are there.
**
** The part of reading that knows neither descriptors nor waiting: transports
** and files share it. Whoever reads checks the arguments (peri_framing_*),
** takes what it can (peri_framing_take), and while that is not enough sees
** to it that there are more bytes. Nothing is consumed before all is there.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_FRAMING_H
#define PERI_FRAMING_H

#include <lua.h>

#include "want.h"

#define PERI_LINE_LIMIT 65536u /* bytes of a line, its end included */

/* Which method reads. */
enum {
  PERI_READ_FORMATS,
  PERI_READ_LINES,
  PERI_READ_SOME,
  PERI_READ_EXACTLY,
  PERI_READ_UNTIL,
  PERI_READ_PEEK
};

/* A read that is under way: its arguments are on the stack, from 2 on, and
** above them the results so far. */
typedef struct peri_reading {
  int kind;
  int next, count; /* formats: that comes next, and in all */
  int parsed;      /* what is wanted next is known already */
} peri_reading;

/* Bytes before `cursor` belong to formats that are done, of a read that is
** not; of those behind it, `scanned` are known to hold no delimiter. */
typedef struct peri_marks {
  size_t cursor, scanned;
} peri_marks;

/* Kind and next format travel in the context of a continuation. */
static inline lua_KContext peri_reading_pack(const peri_reading *r) {
  return r->kind | r->next << 4 | r->count << 16;
}
static inline peri_reading peri_reading_unpack(lua_KContext ctx) {
  peri_reading r = {(int)ctx & 15, (int)ctx >> 4 & 4095, (int)ctx >> 16, 0};
  return r;
}

/* The method, for messages: "read_until". */
const char *peri_reading_name(const peri_reading *r);

/*
** The arguments of a method, from 2 on: `w` is what is wanted first. These
** raise "bad argument". Only those of read may be more than LUA_MINSTACK.
*/
peri_reading peri_framing_read(lua_State *L, peri_want *w);
peri_reading peri_framing_some(lua_State *L, peri_want *w);
peri_reading peri_framing_exactly(lua_State *L, peri_want *w);
peri_reading peri_framing_until(lua_State *L, peri_want *w);
peri_reading peri_framing_peek(lua_State *L, peri_want *w);

/* Pushes the iterator of obj:lines([format]): `next`, whose upvalues are the
** loop, the object and the format. It begins with the other function, which
** puts both on the stack. */
int peri_framing_lines(lua_State *L, lua_CFunction next);
peri_reading peri_framing_next(lua_State *L, peri_want *w);

enum { /* results of peri_framing_take, below the number of values */
  PERI_TAKE_MORE = 0,   /* bytes are missing: `w` says for what */
  PERI_TAKE_LIMIT = -1, /* the line, or what precedes a delimiter, is longer
                           than it may be */
  PERI_TAKE_CUT = -2    /* at the end there was less than was asked for;
                           pushes what there was */
};

/*
** Takes what is wanted from the `len` bytes there are; at their `end` less
** will do. Returns how many values were pushed since the read began, or one
** of those above. Moves the cursor: with values, and with PERI_TAKE_CUT,
** what is before it is consumed.
*/
int peri_framing_take(lua_State *L, peri_reading *r, peri_want *w,
                      const char *bytes, size_t len, peri_marks *m, int end);

#endif
