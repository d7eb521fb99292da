/*
** stream.c - transports for descriptors that are no sockets of ours.
**
** uv side: on_event.
**
** The descriptor may be one of several for the same open file, which belongs
** to the shell and to other programs as well: it is never made non-blocking
** here, as that would be so for all of them. It is asked before it is read
** or written, and what the kernel does not take is queued here.
**
** A uv_poll_t watches only while somebody reads or something is queued, so
** that a transport which nobody uses keeps nothing alive. What uv cannot
** watch is always ready: the reader goes on in the next turn.
**
** The medium is made along with its transport, and frees itself and closes
** the descriptor when uv has closed the handle.
**
** SPDX-License-Identifier: MIT
*/
#include "stream.h"

#ifndef _WIN32

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "poller.h"

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif

#ifdef PIPE_BUF
#define PIECE ((size_t)PIPE_BUF) /* a pipe that is ready takes as much */
#else
#define PIECE ((size_t)_POSIX_PIPE_BUF)
#endif

typedef struct stream {
  peri_medium base;
  peri_transport *c;
  peri_runnable run; /* tells a reader of what is always ready */
  peri_buf out;      /* queued */
  int fd;
  int how;
  const char *name;
  FILE *file;
} stream;

static stream *stream_of(const peri_transport *c) {
  return PERI_OF(c->medium, stream, base);
}

static peri_pool *pool_of(const stream *s) {
  return &peri_io_of(s->c->h.loop)->pool;
}

/* {== The watch ======================================================== */

static void on_event(uv_poll_t *uv, int status, int events);

/* Watches for what is wanted now. In a forked child that would change what
** the parent watches for. */
static int update(stream *s) {
  peri_transport *c = s->c;
  peri_loop *l = c->h.loop;
  int events = c->watching ? UV_READABLE : 0;
  if (uv_is_closing(&c->uv.any) || peri_poller_own(l)) return 0;
  if (c->uv.any.type == UV_POLL) {
    if (s->out.len) events |= UV_WRITABLE;
    return events ? uv_poll_start(&c->uv.poll, events, on_event)
                  : uv_poll_stop(&c->uv.poll);
  }
  if (!events)
    peri_link_out(&s->run.link);
  else if (peri_link_alone(&s->run.link))
    peri_loop_ready(l, &s->run);
  return 0;
}

/* Tells once: who goes on reading watches again. */
static void tell_reader(stream *s) {
  if (!s->c->watching) return;
  s->c->watching = 0;
  peri_read_tell(s->c);
}

static void step(peri_loop *l, peri_runnable *r, lua_State *L) {
  (void)l;
  (void)L;
  tell_reader(PERI_OF(r, stream, run));
}

static void drain(stream *s);

/* What has gone wrong is found out by whoever reads or writes. */
static void on_event(uv_poll_t *uv, int status, int events) {
  peri_handle *h = peri_handle_of((uv_handle_t *)uv);
  stream *s = stream_of(PERI_OF(h, peri_transport, h));
  if (status) events = UV_READABLE | UV_WRITABLE;
  if (events & UV_READABLE) tell_reader(s);
  if ((events & UV_WRITABLE) && s->out.len) drain(s);
  update(s);
}

static int stream_watch(peri_transport *c) {
  return update(stream_of(c));
}

static void stream_unwatch(peri_transport *c) {
  update(stream_of(c));
}

/* }===================================================================== */

/* {== Reading and writing ============================================== */

/* True if it would not block; that is for the kernel to say each time where
** others may have read or written meanwhile. A terminal that cannot be opened
** anew may take less than it is given here, and block until it can. */
static int may(const stream *s, short event) {
  struct pollfd p = {s->fd, event, 0};
  return s->how != PERI_STREAM_SHARED || poll(&p, 1, 0) > 0;
}

static ssize_t stream_recv(peri_transport *c, const peri_room *room,
                           int rooms) {
  stream *s = stream_of(c);
  struct iovec v[2] = {{room[0].at, room[0].size}};
  struct msghdr m = {.msg_iov = v, .msg_iovlen = (size_t)rooms};
  ssize_t n;
  if (rooms == 2) v[1] = (struct iovec){room[1].at, room[1].size};
  if (!may(s, POLLIN)) return UV_EAGAIN;
  do
    n = s->how == PERI_STREAM_SOCKET ? recvmsg(s->fd, &m, MSG_DONTWAIT)
                                     : readv(s->fd, v, rooms);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : n;
}

static ssize_t send_some(const stream *s, const char *at, size_t n) {
  if (s->how == PERI_STREAM_SOCKET)
    return send(s->fd, at, n, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (s->how == PERI_STREAM_SHARED && n > PIECE) n = PIECE;
  return write(s->fd, at, n);
}

/* Sends what it takes: bytes, or a uv status if that is none. */
static ssize_t send_bytes(const stream *s, const char *at, size_t all) {
  size_t sent = 0;
  while (sent < all) {
    if (!may(s, POLLOUT)) break;
    ssize_t n = send_some(s, at + sent, all - sent);
    if (n >= 0)
      sent += (size_t)n;
    else if (errno == EAGAIN || errno == EWOULDBLOCK)
      break;
    else if (errno != EINTR)
      return sent ? (ssize_t)sent : -errno;
  }
  return sent ? (ssize_t)sent : UV_EAGAIN;
}

/* Of several pieces the first that is not taken as a whole is the last. */
static ssize_t stream_send(peri_transport *c, const uv_buf_t *b,
                           unsigned count) {
  size_t sent = 0;
  for (unsigned i = 0; i < count; i++) {
    if (!b[i].len) continue;
    ssize_t n = send_bytes(stream_of(c), b[i].base, b[i].len);
    if (n < 0) return sent ? (ssize_t)sent : n;
    sent += (size_t)n;
    if ((size_t)n < b[i].len) break;
  }
  return sent ? (ssize_t)sent : UV_EAGAIN;
}

/* Nothing that is queued can be sent any more. */
static void lose(stream *s, int status) {
  peri_transport *c = s->c;
  peri_buf_clear(c->h.loop, pool_of(s), &s->out);
  c->sent = c->handed;
  peri_write_fail(c->h.loop, c, status);
}

static void drain(stream *s) {
  ssize_t n = send_bytes(s, peri_buf_bytes(&s->out), s->out.len);
  if (n == UV_EAGAIN) return;
  if (n < 0) {
    lose(s, (int)n);
    return;
  }
  peri_buf_take(s->c->h.loop, pool_of(s), &s->out, (size_t)n);
  peri_write_sent(s->c->h.loop, s->c, (size_t)n);
}

/* What is always ready has taken a part because of an error, which it will
** tell of now. */
static int queue_always(stream *s, const char *bytes, size_t n) {
  ssize_t sent = send_bytes(s, bytes, n);
  if (sent < 0) return (int)sent;
  if ((size_t)sent < n) return UV_EIO;
  s->c->sent += n; /* the caller is about to count them as handed over */
  return 0;
}

static int stream_queue(peri_transport *c, const char *bytes, size_t n) {
  stream *s = stream_of(c);
  if (c->uv.any.type != UV_POLL) return queue_always(s, bytes, n);
  if (!peri_buf_add(c->h.loop, pool_of(s), &s->out, bytes, n))
    return update(s);
  s->out.lost = 0; /* what was there before is there still */
  return UV_ENOMEM;
}

/* Whoever reads the other end sees the end when the last descriptor for it is
** closed, which is not for us to do; a socket has an end of its own. */
static int stream_shut(peri_transport *c) {
  const stream *s = stream_of(c);
  if (s->how != PERI_STREAM_SOCKET) return 0;
  return shutdown(s->fd, SHUT_WR) ? -errno : 0;
}

/* What io.write has left in C's buffer goes out before what is written now. */
static void stream_before(peri_transport *c) {
  FILE *file = stream_of(c)->file;
  if (file) fflush(file);
}

/* }===================================================================== */

/* {== Life ============================================================= */

static void stream_end(peri_transport *c) {
  stream *s = stream_of(c);
  peri_link_out(&s->run.link);
  peri_buf_clear(c->h.loop, pool_of(s), &s->out);
}

static void stream_free(peri_loop *l, peri_transport *c) {
  stream *s = stream_of(c);
  stream_end(c);
  if (s->fd >= 0) close(s->fd);
  c->medium = NULL;
  peri_free(l, s, sizeof *s);
}

static void stream_name(lua_State *L, const peri_transport *c) {
  lua_pushstring(L, stream_of(c)->name);
}

static const peri_medium_type stream_type = {
  stream_recv, stream_watch, stream_unwatch, stream_send, stream_queue,
  stream_shut, stream_end, stream_free, stream_name, stream_before};

peri_transport *peri_stream_begin(peri_loop *l, peri_box *box, int fd,
                                  int how, const char *name, FILE *file) {
  stream *s = peri_alloc(l, sizeof *s);
  int watched = how == PERI_STREAM_FILE ? -1 : fd;
  peri_transport *c =
    s ? peri_transport_begin(l, box, UV_POLL, watched) : NULL;
  if (!c) {
    if (s) peri_free(l, s, sizeof *s);
    if (fd >= 0) close(fd);
    return NULL;
  }
  memset(s, 0, sizeof *s);
  s->base.type = &stream_type;
  s->c = c;
  peri_link_init(&s->run.link);
  s->run.run = step;
  s->fd = fd;
  s->how = how;
  s->name = name;
  s->file = file;
  c->medium = &s->base;
  if (fd < 0) c->read_error = c->write_error = fd;
  return c;
}

/* }===================================================================== */

#else

typedef int peri_stream_unused; /* a file must have something */

#endif
