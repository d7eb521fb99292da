/*
** file.h - open files: bytes that are read and written in threads.
**
** file.c       what is done in threads; buffers; life
** fileread.c   reading
** filewrite.c  writing, and what else there is to do with an open file
** fileopen.c   opening; the Lua class
**
** A file has one job at a time in libuv's pool. It reads ahead, or writes
** behind: the job is the file's, not that of the task that waits for it, so
** that a task can leave, and the bytes are there for the next one.
**
** Positions are ours: each job says where it reads or writes. So bytes read
** ahead and not taken, or gathered and not written, move no position but
** where the file has none (`plain` is 0: a device) or where the system
** appends.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_FILE_H
#define PERI_FILE_H

#include <lauxlib.h>
#include <stdatomic.h>
#include <uv.h>

#include "framing.h"
#include "handle.h"
#include "sched/task.h"
#include "status.h"

#define PERI_FILE_GATHERS 65536u /* bytes before they are written */

/* Bytes from malloc: from base + at, len of them. */
typedef struct peri_bytes {
  char *base;
  size_t cap, at, len;
} peri_bytes;

typedef struct peri_file peri_file;

/* The userdata. */
typedef struct peri_file_box {
  peri_file *f;       /* NULL once it was closed */
  peri_file *closing; /* while somebody waits for that, or NULL */
} peri_file_box;

/* What a job does. */
enum {
  PERI_FILE_READ,
  PERI_FILE_WRITE,
  PERI_FILE_SYNC,
  PERI_FILE_TRUNCATE,
  PERI_FILE_STAT,
  PERI_FILE_CLOSE
};

struct peri_file {
  uv_work_t uv;
  /* Of the job; the thread's while it runs. */
  int op;
  int64_t offset;     /* where it reads, writes or truncates; -1: where the
                         system's own position is */
  peri_bytes piece;   /* what it reads to, or writes */
  size_t asked;       /* bytes to be read */
  int status;         /* 0 or more, or a uv error */
  uv_stat_t st;
  atomic_int ended;   /* the thread has done its part */
  /* Ours. */
  peri_lasting work;
  uv_file fd;         /* -1 once it is closed */
  peri_loop *loop;    /* of no use once that has ended */
  uv_loop_t *uvloop;  /* which goes on until our job has ended */
  peri_file_box *box; /* which points to us, also as what it is closing; NULL:
                         nobody holds it */
  peri_task *task;    /* who is parked on the job, or on the end of all, or
                         NULL */
  unsigned running : 1;     /* the job */
  unsigned busy : 1;        /* an operation is under way, parked or woken */
  unsigned interrupted : 1; /* its task was cancelled, and waits */
  unsigned readable : 1;
  unsigned writable : 1;
  unsigned append : 1;
  unsigned plain : 1;   /* it has positions: no device */
  unsigned sized : 1;   /* reads that are short have seen its end: those of
                           files without a size, as in /proc, have not */
  unsigned arrived : 1; /* `piece` was read and not yet looked at */
  unsigned stale : 1;   /* what is being read is of no use any more */
  unsigned fresh : 1;   /* the job was begun for the read that waits */
  unsigned end : 1;     /* ... and has seen the end */
  unsigned queued : 1;  /* the piece was read by a thread */
  unsigned uncached : 1; /* its file system cannot tell what is in memory */
  unsigned dirty : 1;   /* closing it is for a thread: it was written to */
  unsigned moved : 1;   /* by appending: `pos` is at the end */
  unsigned closed : 1;
  unsigned awaited : 1; /* closed by somebody who frees it afterwards */
  unsigned cheap : 2;   /* done without waiting, modulo */
  int64_t pos;          /* of the first byte of `in`, or of the next to be
                           written */
  peri_bytes in;        /* read and not taken */
  peri_marks marks;
  size_t next;          /* how much to read next */
  size_t cached;        /* read without a thread, in this call */
  peri_bytes out;       /* gathered, for `outpos` */
  int64_t outpos;
  size_t outmax;        /* gathers so many at most; 0: none */
  int write_error;      /* for good */
  peri_leaving leaving;
  char path[];
};

/* {== file.c =========================================================== */

/* A file that has no descriptor yet; NULL when out of memory. */
peri_file *peri_file_new(peri_loop *l, const char *path);

/* Begins a job; none runs. */
void peri_file_begin(peri_file *f, int op);

/* Begins to write what was gathered, if there is something, and no job. */
void peri_file_push(peri_file *f);

/* Bytes that are not written yet. */
static inline size_t peri_file_unwritten(const peri_file *f) {
  size_t now = f->running && f->op == PERI_FILE_WRITE ? f->piece.len : 0;
  return f->out.len + now;
}

/* Is there still something to be written? */
static inline int peri_file_writes(const peri_file *f) {
  return (f->running && f->op == PERI_FILE_WRITE) || f->out.len;
}

/* Makes room for `n` more bytes behind those of `b`: 0, or UV_ENOMEM. */
int peri_bytes_reserve(peri_bytes *b, size_t n);

/* Drops what was read ahead. */
void peri_file_forget(peri_file *f);

/* Begins to read what follows, while no job runs: 0, or UV_ENOMEM. It may
** arrive at once. */
int peri_file_ask(peri_file *f);

/* Takes over the piece that has arrived: 0, or UV_ENOMEM. Nothing is lost
** in that case. */
int peri_file_take(peri_file *f);

/* Takes `n` bytes away from those that are there. */
void peri_file_consume(peri_file *f, size_t n);

/* The box is empty from now on: what was gathered is written, the descriptor
** closed, everything freed. */
void peri_file_detach(peri_file *f);

/* The same, for who waits for it: returns 1 if `f->task` has to park until
** all is closed. Frees nothing: peri_file_release does, at any time. */
int peri_file_close(peri_file *f);
void peri_file_release(peri_file *f);

/* The same as peri_file_detach, where nobody can wait for what is to be
** written: that is done in this thread. */
void peri_file_drain(peri_file *f);

/* }===================================================================== */

/* {== fileopen.c ======================================================= */

extern const char peri_file_type[];

/* The file of the box at 1, or NULL if it was closed; raises "bad argument"
** for anything else, and if an operation of another task is under way. */
peri_file *peri_file_check(lua_State *L);

static inline peri_file *peri_file_at(lua_State *L, int idx) {
  return ((peri_file_box *)lua_touserdata(L, idx))->f;
}

/* Pushes nil, message, code; returns 3. `f` may be NULL. */
int peri_file_fail(lua_State *L, const peri_file *f, int status,
                   const char *operation);

/* Parks on the job that runs, which is what `w` waits for. */
int peri_file_park(lua_State *L, peri_file *f, const peri_wait *w,
                   lua_KContext ctx);

/* The abort of a wait that can be left, as the job goes on by itself; and of
** one that cannot: its continuation raises if `f->interrupted`. */
int peri_file_leave(peri_loop *l, peri_task *t, int why);
int peri_file_stay(peri_loop *l, peri_task *t, int why);
/* The drop of both. */
void peri_file_drop(peri_loop *l, peri_task *t);

/* Ends an operation that completed at once, with the `n` values on top. */
int peri_file_done(lua_State *L, peri_loop *l, int n);

/* Sets `open` in the table on top. */
void peri_file_open(lua_State *L, peri_loop *l);

/* }===================================================================== */

extern const luaL_Reg peri_file_read_methods[];  /* fileread.c */
extern const luaL_Reg peri_file_write_methods[]; /* filewrite.c */

#endif
