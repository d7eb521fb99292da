/*
** framing.c - what reads ask for, and taking it from bytes that are there.
**
** Lua side: the arguments and results of read, lines, read_some,
** read_exactly, read_until and peek. Owns nothing.
**
** SPDX-License-Identifier: MIT
*/
#include "framing.h"

#include <lauxlib.h>
#include <stdint.h>

#include "sched/error.h"

#define FORMATS_MAX 200

/* {== Arguments ======================================================== */

const char *peri_reading_name(const peri_reading *r) {
  static const char *const names[] = {"read",         "read",
                                      "read_some",    "read_exactly",
                                      "read_until",   "peek"};
  return names[r->kind];
}

static size_t check_size(lua_State *L, int idx) {
  lua_Integer n = luaL_checkinteger(L, idx);
  luaL_argcheck(L, n >= 0, idx, "number of bytes expected");
  return (size_t)n;
}

static void want_line(peri_want *w, int keep) {
  w->what = PERI_WANT_LINE;
  w->keep = keep;
  w->delim = "\n";
  w->delim_len = 1;
  w->n = PERI_LINE_LIMIT;
}

/* The format at `idx`, as io's: "l", "L", "a" (also with a "*"), a number
** of bytes. Raises "bad argument". */
static void want_format(lua_State *L, int idx, peri_want *w) {
  if (lua_type(L, idx) == LUA_TNUMBER) {
    w->what = PERI_WANT_COUNT;
    w->n = check_size(L, idx);
    return;
  }
  const char *f = luaL_checkstring(L, idx);
  if (*f == '*') f++;
  switch (*f) {
    case 'l': want_line(w, 0); break;
    case 'L': want_line(w, 1); break;
    case 'a': w->what = PERI_WANT_ALL; break;
    default:
      luaL_argerror(L, idx, lua_pushfstring(L, "invalid format '%s'; it is "
                    "\"l\", \"L\", \"a\" or a number of bytes",
                    lua_tostring(L, idx)));
  }
}

/* The stack of read_until: object, delimiter, limit, keep. */
static void want_until(lua_State *L, peri_want *w) {
  w->what = PERI_WANT_UNTIL;
  w->delim = lua_tolstring(L, 2, &w->delim_len);
  w->n = (size_t)lua_tointeger(L, 3);
  w->keep = lua_toboolean(L, 4);
}

static void want_bytes(lua_State *L, peri_want *w, int what) {
  w->what = what;
  w->n = lua_isnoneornil(L, 2) ? SIZE_MAX : (size_t)lua_tointeger(L, 2);
}

static void parse(lua_State *L, const peri_reading *r, peri_want *w) {
  switch (r->kind) {
    case PERI_READ_FORMATS:
    case PERI_READ_LINES: want_format(L, 2 + r->next, w); break;
    case PERI_READ_SOME: want_bytes(L, w, PERI_WANT_SOME); break;
    case PERI_READ_EXACTLY: want_bytes(L, w, PERI_WANT_EXACT); break;
    case PERI_READ_PEEK: want_bytes(L, w, PERI_WANT_PEEK); break;
    default: want_until(L, w);
  }
}

/* A read of `count` things, the first of which is in `w`. */
static peri_reading reading(lua_State *L, int kind, int count, peri_want *w) {
  peri_reading r = {kind, 0, count, 1};
  parse(L, &r, w);
  return r;
}

peri_reading peri_framing_read(lua_State *L, peri_want *w) {
  int count = lua_gettop(L) - 1;
  if (!count) {
    lua_pushliteral(L, "l");
    count = 1;
  }
  luaL_argcheck(L, count <= FORMATS_MAX, FORMATS_MAX + 2,
                "too many formats");
  for (int i = count; i > 1; i--) want_format(L, 1 + i, w);
  if (count > 4) peri_error_room(L, count + LUA_MINSTACK);
  return reading(L, PERI_READ_FORMATS, count, w);
}

peri_reading peri_framing_some(lua_State *L, peri_want *w) {
  if (!lua_isnoneornil(L, 2))
    luaL_argcheck(L, check_size(L, 2) > 0, 2, "more than 0 bytes expected");
  return reading(L, PERI_READ_SOME, 1, w);
}

peri_reading peri_framing_exactly(lua_State *L, peri_want *w) {
  lua_settop(L, 2);
  check_size(L, 2);
  return reading(L, PERI_READ_EXACTLY, 1, w);
}

peri_reading peri_framing_peek(lua_State *L, peri_want *w) {
  lua_settop(L, 2);
  check_size(L, 2);
  return reading(L, PERI_READ_PEEK, 1, w);
}

/* Replaces the options at 3 by limit and keep, at 3 and 4. */
static void until_options(lua_State *L) {
  lua_Integer limit = PERI_LINE_LIMIT;
  int keep = 0;
  static const char *const names[] = {"limit", "keep", NULL};
  if (!lua_isnoneornil(L, 3)) {
    luaL_checktype(L, 3, LUA_TTABLE);
    peri_error_check_options(L, 3, names);
    if (lua_getfield(L, 3, "limit") != LUA_TNIL) {
      int good;
      limit = lua_tointegerx(L, -1, &good);
      luaL_argcheck(L, good && limit > 0, 3,
                    "option 'limit' must be a number of bytes");
    }
    lua_getfield(L, 3, "keep");
    keep = lua_toboolean(L, -1);
  }
  lua_settop(L, 2);
  lua_pushinteger(L, limit);
  lua_pushboolean(L, keep);
}

peri_reading peri_framing_until(lua_State *L, peri_want *w) {
  size_t n;
  luaL_checklstring(L, 2, &n);
  luaL_argcheck(L, n > 0, 2, "empty delimiter");
  until_options(L);
  return reading(L, PERI_READ_UNTIL, 1, w);
}

int peri_framing_lines(lua_State *L, lua_CFunction next) {
  peri_want w;
  lua_settop(L, 2);
  if (lua_isnil(L, 2)) {
    lua_pushliteral(L, "l");
    lua_replace(L, 2);
  }
  want_format(L, 2, &w);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_pushcclosure(L, next, 3);
  return 1;
}

peri_reading peri_framing_next(lua_State *L, peri_want *w) {
  lua_settop(L, 0);
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_pushvalue(L, lua_upvalueindex(3));
  return reading(L, PERI_READ_LINES, 1, w);
}

/* }===================================================================== */

/* {== Taking =========================================================== */

/* Pushes the next result and moves the cursor behind it. */
static void push_found(lua_State *L, peri_marks *m, const char *p,
                       const peri_found *f) {
  lua_pushlstring(L, p, f->give);
  m->cursor += f->take;
  m->scanned = 0;
}

/* The bytes ended with `n` where more are wanted: pushes them, or nil, which
** is the last value there is. */
static int at_end(lua_State *L, const peri_reading *r, const peri_want *w,
                  const char *p, size_t n, peri_marks *m) {
  int partial =
    w->what == PERI_WANT_EXACT || (w->what == PERI_WANT_UNTIL && n);
  if (!partial && !n &&
      (w->what != PERI_WANT_ALL || r->kind == PERI_READ_LINES)) {
    lua_pushnil(L);
    return r->next + 1;
  }
  peri_found f = {w->what == PERI_WANT_PEEK ? 0 : n, n};
  push_found(L, m, p, &f);
  return partial ? PERI_TAKE_CUT : PERI_TAKE_MORE;
}

int peri_framing_take(lua_State *L, peri_reading *r, peri_want *w,
                      const char *bytes, size_t len, peri_marks *m,
                      int end) {
  for (; r->next < r->count; r->next++) {
    peri_found f = {0, 0};
    if (!r->parsed) parse(L, r, w);
    r->parsed = 0;
    size_t n = len - m->cursor;
    const char *p = n ? bytes + m->cursor : "";
    int what = peri_want_match(w, p, n, &m->scanned, &f);
    if (what == PERI_LIMIT) return PERI_TAKE_LIMIT;
    if (what == PERI_FOUND) {
      push_found(L, m, p, &f);
      continue;
    }
    if (!end) return PERI_TAKE_MORE;
    int ended = at_end(L, r, w, p, n, m);
    if (ended) return ended;
  }
  return r->count;
}

/* }===================================================================== */
