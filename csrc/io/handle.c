/*
** handle.c - life of uv handles.
**
** uv side: on_close.
**
** Owns the peri_io of a loop, which is freed when the last handle is closed
** after the poller has swept.
**
** SPDX-License-Identifier: MIT
*/
#include "handle.h"

#include <assert.h>
#include <lauxlib.h>
#include <string.h>

#include "poller.h"
#include "request.h"

#ifndef _WIN32
#include <fcntl.h>
#endif

/* {== The end ========================================================== */

/* Everything of the loop's is closed, and its allocator still there. */
static void end(peri_loop *l, peri_io *io) {
  int left = io->left;
  peri_pool_close(l, &io->pool);
  peri_free(l, io, sizeof *io);
  l->io = NULL;
  if (left) peri_poller_swept(l);
}

static void closed(peri_loop *l, peri_io *io) {
  if (!--io->nhandles && io->ending) end(l, io);
}

static void shut(peri_loop *l, peri_handle *h) {
  if (!uv_is_closing(h->uv)) h->type->shut(l, h);
}

/* Those that are shut leave the list later, when uv has closed them. */
void peri_handle_shut_since(peri_loop *l, uint64_t mark) {
  peri_io *io = peri_io_of(l);
  for (peri_link *k = io->handles.next; k != &io->handles; k = k->next) {
    peri_handle *h = PERI_OF(k, peri_handle, link);
    if (h->serial >= mark) shut(l, h);
  }
}

void peri_handle_shut_listening(peri_loop *l, uint64_t mark) {
  peri_io *io = peri_io_of(l);
  for (peri_link *k = io->handles.next; k != &io->handles; k = k->next) {
    peri_handle *h = PERI_OF(k, peri_handle, link);
    if (h->serial >= mark && h->type->listens) shut(l, h);
  }
}

int peri_handle_closing(const peri_loop *l) {
  const peri_io *io = peri_io_of(l);
  for (peri_link *k = io->handles.next; k != &io->handles; k = k->next)
    if (uv_is_closing(PERI_OF(k, peri_handle, link)->uv)) return 1;
  return 0;
}

/* Has it let go of all that will be gone when uv closes it: only its own
** memory, which begins with it, is kept for uv. */
static void sever(peri_loop *l, peri_handle *h, peri_loop *rest) {
  l->kept = h;
  h->type->closed(l, h);
  assert(!l->kept);
  h->type = NULL;
  h->loop = rest;
}

static void leave_to(peri_loop *l, peri_io *io, peri_loop *rest) {
  for (peri_link *k = io->handles.next; k != &io->handles; k = k->next)
    sever(l, PERI_OF(k, peri_handle, link), rest);
  peri_request_leave(l, rest);
  io->left = 1;
  rest->io = io;
  l->io = NULL;
}

static void end_lasting(peri_io *io) {
  peri_link *next = io->lasting.next;
  for (peri_link *k = next; k != &io->lasting; k = next) {
    peri_lasting *w = PERI_OF(k, peri_lasting, link);
    next = k->next;
    peri_link_out(k);
    w->over(w);
  }
}

static void sweep(peri_loop *l, peri_loop *rest) {
  peri_io *io = peri_io_of(l);
  io->ending = 1;
  for (peri_link *k = io->handles.next; k != &io->handles; k = k->next)
    peri_handle_close(PERI_OF(k, peri_handle, link));
  peri_request_end(l);
  end_lasting(io);
  if (rest) leave_to(l, io, rest);
  closed(rest ? rest : l, io);
}

static int alive(const peri_loop *l) {
  const peri_io *io = peri_io_of(l);
  if (!peri_link_alone(&io->requests)) return 1;
  for (peri_link *k = io->lasting.next; k != &io->lasting; k = k->next)
    if (PERI_OF(k, peri_lasting, link)->busy) return 1;
  for (peri_link *k = io->handles.next; k != &io->handles; k = k->next) {
    const uv_handle_t *uv = PERI_OF(k, peri_handle, link)->uv;
    if (uv_is_active(uv) && uv_has_ref(uv)) return 1;
  }
  return 0;
}

static const peri_handles handles = {alive, sweep};

void peri_io_new(lua_State *L, peri_loop *l) {
  peri_io *io = peri_alloc(l, sizeof *io);
  if (!io) {
    luaL_error(L, "not enough memory");
    return;
  }
  memset(io, 0, sizeof *io);
  peri_link_init(&io->handles);
  peri_link_init(&io->requests);
  peri_link_init(&io->foreign);
  peri_link_init(&io->lasting);
  io->nhandles = 1;
  l->io = io;
  peri_poller_handles(l, &handles);
}

/* }===================================================================== */

void peri_handle_open(peri_loop *l, peri_handle *h,
                      const peri_handle_type *type, uv_handle_t *uv) {
  peri_io *io = peri_io_of(l);
  h->type = type;
  h->uv = uv;
  h->loop = l;
  h->serial = io->opened++;
  uv->data = h;
  peri_link_init(&h->link);
  peri_list_append(&io->handles, &h->link);
  io->nhandles++;
}

int peri_handle_poll(peri_loop *l, uv_poll_t *uv, int fd) {
#ifdef _WIN32
  return uv_poll_init(peri_poller_uv(l), uv, fd);
#else
  int flags = fcntl(fd, F_GETFL);
  int status = uv_poll_init(peri_poller_uv(l), uv, fd);
  if (flags >= 0 && !(flags & O_NONBLOCK)) fcntl(fd, F_SETFL, flags);
  return status;
#endif
}

static void on_close(uv_handle_t *uv) {
  peri_handle *h = peri_handle_of(uv);
  peri_loop *l = h->loop;
  peri_link_out(&h->link);
  if (h->type)
    h->type->closed(l, h);
  else
    peri_free(l, h, 1); /* of a loop that counts nothing */
  closed(l, peri_io_of(l));
}

void peri_handle_close(peri_handle *h) {
  if (peri_poller_own(h->loop)) return;
  if (!uv_is_closing(h->uv)) uv_close(h->uv, on_close);
}

void peri_handle_reset(peri_handle *h) {
  assert(h->uv->type == UV_TCP);
  if (peri_poller_own(h->loop)) return;
  /* refused after a shutdown(2) of ours: then there is nothing to reset */
  if (uv_tcp_close_reset((uv_tcp_t *)h->uv, on_close)) peri_handle_close(h);
}

int peri_handle_count(const peri_loop *l) {
  return (int)peri_io_of(l)->nhandles - 1;
}
