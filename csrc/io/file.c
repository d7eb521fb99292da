/*
** file.c - open files: what is done in threads, buffers, life.
**
** uv side: on_work, in a thread of the pool; on_done.
**
** A file comes from malloc, with its buffers, as a job may outlive the Lua
** state. While somebody holds its box that owns it. After that it goes on by
** itself, from on_done to on_done, until all is written and closed; this may
** be in another thread, when the Lua state is gone.
**
** SPDX-License-Identifier: MIT
*/
#include "file.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "poller.h"
#include "work.h"

#ifdef __linux__
#include <errno.h>
#include <sys/uio.h>
#endif

#define FIRST ((size_t)32 << 10)  /* read at first, and after a seek */
#define MOST ((size_t)256 << 10)  /* read at once when all is read in order */
#define HEAD ((size_t)4 << 10)    /* room before a piece, for the rest of the
                                     one before */
#define AT_ONCE ((size_t)64 << 10)  /* read at once of what is in memory, */
#define IN_CALL ((size_t)1 << 20)   /* ... and in one call */

/* {== Bytes ============================================================ */

static void free_bytes(peri_bytes *b) {
  free(b->base);
  *b = (peri_bytes){0};
}

int peri_bytes_reserve(peri_bytes *b, size_t n) {
  if (b->base && b->at + b->len + n <= b->cap) return 0;
  size_t cap = b->len + n < 2 * b->len ? 2 * b->len : b->len + n;
  if (cap < HEAD) cap = HEAD;
  char *base = malloc(cap);
  if (!base) return UV_ENOMEM;
  if (b->len) memcpy(base, b->base + b->at, b->len);
  free(b->base);
  *b = (peri_bytes){base, cap, 0, b->len};
  return 0;
}

static void swap(peri_bytes *a, peri_bytes *b) {
  peri_bytes was = *a;
  *a = *b;
  *b = was;
}

/* }===================================================================== */

/* {== In a thread ====================================================== */

static int read_piece(peri_file *f) {
  uv_fs_t req;
  uv_buf_t b = uv_buf_init(f->piece.base + f->piece.at, (unsigned)f->asked);
  int n;
  do {
    n = uv_fs_read(NULL, &req, f->fd, &b, 1, f->offset, NULL);
    uv_fs_req_cleanup(&req);
  } while (n == UV_EINTR);
  return n;
}

static int write_bytes(uv_file fd, const peri_bytes *all, int64_t offset) {
  for (size_t did = 0; did < all->len;) {
    size_t rest = all->len - did < MOST * 4 ? all->len - did : MOST * 4;
    uv_buf_t b = uv_buf_init(all->base + all->at + did, (unsigned)rest);
    uv_fs_t req;
    int64_t at = offset < 0 ? -1 : offset + (int64_t)did;
    int n = uv_fs_write(NULL, &req, fd, &b, 1, at, NULL);
    uv_fs_req_cleanup(&req);
    if (n <= 0 && n != UV_EINTR) return n ? n : UV_EIO;
    if (n > 0) did += (size_t)n;
  }
  return 0;
}

static int run(peri_file *f) {
  uv_fs_t req;
  int status;
  switch (f->op) {
    case PERI_FILE_READ: return read_piece(f);
    case PERI_FILE_WRITE: return write_bytes(f->fd, &f->piece, f->offset);
    case PERI_FILE_CLOSE: return peri_work_close_fd(f->fd);
    case PERI_FILE_SYNC:
      status = uv_fs_fsync(NULL, &req, f->fd, NULL);
      break;
    case PERI_FILE_TRUNCATE:
      status = uv_fs_ftruncate(NULL, &req, f->fd, f->offset, NULL);
      break;
    default:
      status = uv_fs_fstat(NULL, &req, f->fd, NULL);
      f->st = req.statbuf;
  }
  uv_fs_req_cleanup(&req);
  return status;
}

static void on_work(uv_work_t *uv) {
  peri_file *f = PERI_OF(uv, peri_file, uv);
  f->status = run(f);
  atomic_store(&f->ended, 1);
}

/* }===================================================================== */

/* {== Jobs ============================================================= */

static void finish(peri_file *f);

/* What a job has left, before anybody else looks. */
static void settle(peri_file *f) {
  if (f->op == PERI_FILE_READ) {
    f->arrived = !f->stale;
    f->piece.len = f->status > 0 ? (size_t)f->status : 0;
    f->stale = 0;
  } else if (f->op == PERI_FILE_WRITE) {
    f->piece.len = 0;
    if (f->piece.cap > HEAD + MOST) free_bytes(&f->piece);
    if (f->status < 0) f->write_error = f->status;
    if (f->write_error) f->out.len = 0;
  } else if (f->op == PERI_FILE_CLOSE) {
    f->fd = -1;
    f->dirty = 0;
    if (!f->write_error && f->status < 0) f->write_error = f->status;
  }
}

static void wake(peri_file *f) {
  peri_task *t = f->task;
  f->task = NULL;
  if (t) peri_task_wake(f->loop, t);
}

static void on_done(uv_work_t *uv, int status) {
  peri_file *f = PERI_OF(uv, peri_file, uv);
  if (status) f->status = status;
  f->running = f->work.busy = 0;
  settle(f);
  if (f->closed) {
    finish(f);
    return;
  }
  peri_file_push(f);
  wake(f);
}

void peri_file_begin(peri_file *f, int op) {
  assert(!f->running);
  f->op = op;
  f->running = f->work.busy = 1;
  atomic_store(&f->ended, 0);
  int status = uv_queue_work(f->uvloop, &f->uv, on_work, on_done);
  assert(!status); /* which is for callers that have nothing to do */
  (void)status;
}

/* A piece read ahead has its place taken: writing has made it stale. */
void peri_file_push(peri_file *f) {
  if (f->running || !f->out.len) return;
  swap(&f->piece, &f->out);
  f->out.at = f->out.len = 0;
  f->arrived = 0;
  f->offset = f->append || !f->plain ? -1 : f->outpos;
  peri_file_begin(f, PERI_FILE_WRITE);
}

/* }===================================================================== */

/* {== Reading ========================================================== */

void peri_file_forget(peri_file *f) {
  if (f->running && f->op == PERI_FILE_READ) f->stale = 1;
  f->arrived = 0;
  f->in.at = f->in.len = 0;
  f->next = FIRST;
}

/* The rest of what is there goes before the piece, if it is as short as a
** line; else the piece goes behind that. */
static int join(peri_file *f) {
  peri_bytes *rest = &f->in, *piece = &f->piece;
  if (rest->len > piece->at) {
    if (peri_bytes_reserve(rest, piece->len)) return UV_ENOMEM;
    memcpy(rest->base + rest->at + rest->len, piece->base + piece->at,
           piece->len);
    rest->len += piece->len;
    return 0;
  }
  if (rest->len) {
    piece->at -= rest->len;
    memcpy(piece->base + piece->at, rest->base + rest->at, rest->len);
    piece->len += rest->len;
  }
  swap(rest, piece);
  return 0;
}

/* Makes room for a piece: 0, or UV_ENOMEM. */
static int prepare(peri_file *f) {
  peri_bytes *b = &f->piece;
  if (b->cap < HEAD + f->next) {
    free_bytes(b);
    b->base = malloc(HEAD + f->next);
    if (!b->base) return UV_ENOMEM;
    b->cap = HEAD + f->next;
  }
  b->at = HEAD;
  b->len = 0;
  f->offset = f->plain ? f->pos + (int64_t)f->in.len : -1;
  return 0;
}

#ifdef RWF_NOWAIT

/* What the system has in memory is there at once, which costs a fraction of
** what a thread does. Returns whether it was; not every file system knows.
** Pieces end where reads of the usual sizes end, so that nothing is left which
** the next one would have to be joined with. */
static int read_cached(peri_file *f) {
  size_t left = AT_ONCE - (size_t)f->offset % AT_ONCE;
  struct iovec v = {f->piece.base + f->piece.at,
                    f->next < left ? f->next : left};
  if (!f->plain || f->uncached || f->cached >= IN_CALL) return 0;
  ssize_t n = preadv2(f->fd, &v, 1, f->offset, RWF_NOWAIT);
  if (n < 0) {
    f->uncached = errno != EAGAIN;
    return 0;
  }
  f->op = PERI_FILE_READ;
  f->status = (int)n;
  f->asked = n ? (size_t)n : 1; /* fewer are no sign of the end */
  f->cached += AT_ONCE;
  settle(f);
  return 1;
}

#else

static int read_cached(peri_file *f) {
  (void)f;
  return 0;
}

#endif

int peri_file_ask(peri_file *f) {
  if (prepare(f)) return UV_ENOMEM;
  f->queued = !read_cached(f);
  if (!f->queued) return 0;
  f->asked = f->next;
  peri_file_begin(f, PERI_FILE_READ);
  return 0;
}

/* What was read by a thread, and in order, is read ahead from the second
** piece on; without memory for that it is not. */
int peri_file_take(peri_file *f) {
  size_t n = f->piece.len;
  if (join(f)) return UV_ENOMEM;
  f->arrived = 0;
  f->piece.len = 0;
  if (f->fresh && (!n || (f->sized && n < f->asked))) f->end = 1;
  f->fresh = 0;
  if (n < f->asked) return 0;
  if (f->next < MOST) f->next *= 2;
  if (f->plain && f->queued && n > FIRST) peri_file_ask(f);
  return 0;
}

/* What a long read needed is not kept. */
void peri_file_consume(peri_file *f, size_t n) {
  f->in.at += n;
  f->in.len -= n;
  f->pos += (int64_t)n;
  if (!f->in.len && f->in.cap > HEAD + MOST) free_bytes(&f->in);
}

/* }===================================================================== */

/* {== Life ============================================================= */

static void free_file(peri_file *f) {
  peri_link_out(&f->work.link);
  if (f->fd >= 0) peri_work_close_fd(f->fd);
  free_bytes(&f->in);
  free_bytes(&f->out);
  free_bytes(&f->piece);
  free(f);
}

/* It is on its own, and no job runs: begins the next one, or is done. A file
** that was only read is closed at once. */
static void finish(peri_file *f) {
  peri_file_push(f);
  if (f->running) return;
  if (f->fd >= 0 && f->dirty) {
    peri_file_begin(f, PERI_FILE_CLOSE);
    return;
  }
  if (f->fd >= 0) peri_work_close_fd(f->fd);
  f->fd = -1;
  if (f->awaited)
    wake(f);
  else
    free_file(f);
}

/* What a forked child has of it is its parent's to write. */
static void close_down(peri_file *f) {
  f->closed = 1;
  peri_link_out(&f->leaving.link);
  peri_file_forget(f);
  if (peri_loop_forked(f->loop)) f->out.len = f->dirty = 0;
  if (!f->running) finish(f);
}

void peri_file_detach(peri_file *f) {
  f->box->f = NULL;
  f->box = NULL;
  f->task = NULL;
  close_down(f);
}

int peri_file_close(peri_file *f) {
  f->box->closing = f;
  f->box->f = NULL;
  f->awaited = 1;
  close_down(f);
  return f->fd >= 0;
}

void peri_file_release(peri_file *f) {
  f->box->closing = NULL;
  f->box = NULL;
  f->task = NULL;
  f->awaited = 0;
  if (f->fd < 0) free_file(f);
}

/* The loop ends: from now on it may be another thread's. */
static void on_over(peri_lasting *w) {
  peri_file *f = PERI_OF(w, peri_file, work);
  if (f->awaited)
    peri_file_release(f);
  else if (f->box)
    peri_file_detach(f);
}

static void on_leave(peri_loop *l, peri_leaving *v) {
  (void)l;
  peri_file_push(PERI_OF(v, peri_file, leaving));
}

peri_file *peri_file_new(peri_loop *l, const char *path) {
  peri_file *f = calloc(1, sizeof *f + strlen(path) + 1);
  if (!f) return NULL;
  strcpy(f->path, path);
  f->fd = -1;
  f->loop = l;
  f->uvloop = peri_poller_uv(l);
  f->next = FIRST;
  atomic_init(&f->ended, 1);
  peri_link_init(&f->leaving.link);
  f->leaving.leave = on_leave;
  f->work.over = on_over;
  peri_link_init(&f->work.link);
  peri_list_append(&peri_io_of(l)->lasting, &f->work.link);
  return f;
}

/* Bytes that were accepted are written, also where nobody can wait for that:
** as long as a thread is about to. */
void peri_file_drain(peri_file *f) {
  int mine = f->running && !uv_cancel((uv_req_t *)&f->uv);
  while (f->running && !mine && !atomic_load(&f->ended)) uv_sleep(1);
  if (mine && f->op == PERI_FILE_WRITE)
    write_bytes(f->fd, &f->piece, f->offset);
  write_bytes(f->fd, &f->out, f->append || !f->plain ? -1 : f->outpos);
  f->out.len = f->dirty = 0;
  peri_file_detach(f);
}

/* }===================================================================== */
