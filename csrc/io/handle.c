/*
** handle.c - life of uv handles.
**
** uv side: on_close, on_sweep.
**
** Owns the peri_io of a loop, which is freed when the last handle is closed
** after the poller has begun to sweep. A handle of our own sees to it that
** there is one to sweep, and keeps nothing alive.
**
** SPDX-License-Identifier: MIT
*/
#include "handle.h"

#include <assert.h>
#include <lauxlib.h>
#include <string.h>

#include "poller.h"
#include "request.h"

/* {== The end ========================================================== */

/* Everything of the loop's is closed, and Lua's allocator still there. */
static void end(peri_loop *l, peri_io *io) {
  peri_pool_close(l, &io->pool);
  peri_free(l, io, sizeof *io);
  l->io = NULL;
}

static void closed(peri_loop *l, peri_io *io) {
  if (!--io->nhandles && io->ending) end(l, io);
}

static void on_last_close(uv_handle_t *uv) {
  peri_io *io = PERI_OF(uv, peri_io, last);
  closed(uv->data, io);
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

/* The poller asks for every handle of the uv loop that is open; those that
** were entered here are closed all at once. */
static void on_sweep(uv_handle_t *uv, void *arg) {
  (void)arg;
  peri_io *io = peri_io_of(peri_poller_loop(uv->loop));
  if (io && !io->ending) {
    io->ending = 1;
    peri_link *k = io->handles.next;
    for (; k != &io->handles; k = k->next)
      peri_handle_close(PERI_OF(k, peri_handle, link));
    peri_request_end(peri_poller_loop(uv->loop));
    uv_close((uv_handle_t *)&io->last, on_last_close);
  }
  if (!uv_is_closing(uv)) uv_close(uv, NULL);
}

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
  uv_prepare_init(peri_poller_uv(l), &io->last); /* cannot fail */
  uv_unref((uv_handle_t *)&io->last);
  io->last.data = l;
  io->nhandles = 1;
  l->io = io;
  peri_poller_sweep(l, on_sweep);
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

static void on_close(uv_handle_t *uv) {
  peri_handle *h = peri_handle_of(uv);
  peri_loop *l = h->loop;
  peri_link_out(&h->link);
  h->type->closed(l, h);
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
