/*
** handle.h - life of uv handles, and what csrc/io keeps for a loop.
**
** A C struct holds a peri_handle and the uv handle by value. It is freed
** when uv has closed the handle, in `type->closed` and nowhere else. All
** open ones are in a list, so that what is left at the end can be closed.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_HANDLE_H
#define PERI_HANDLE_H

#include <lua.h>
#include <uv.h>

#include "buf.h"
#include "sched/loop.h"

typedef struct peri_handle peri_handle;

/* What kind of handle it is: one static table for each. None of these
** functions touches Lua. */
typedef struct peri_handle_type {
  const char *name;
  int listens; /* is closed as soon as the main task of a run has ended */
  /* Closes it as its user would, who may still hold it: empties the box,
  ** wakes who waits. For handles that are left at the end of a run. */
  void (*shut)(peri_loop *l, peri_handle *h);
  /* uv has closed it: frees the struct. At the end, on a uv loop of the
  ** host's, this is called before uv has, and the struct is kept till then. */
  void (*closed)(peri_loop *l, peri_handle *h);
} peri_handle_type;

/* First in the struct that holds it. */
struct peri_handle {
  peri_link link; /* among the loop's handles, from open to closed */
  const peri_handle_type *type; /* NULL once it was left to uv */
  uv_handle_t *uv;
  peri_loop *loop;
  uint64_t serial; /* handles opened before it */
};

/* One for each loop; freed when the last handle of a loop that ends is
** closed. */
typedef struct peri_io {
  peri_link handles;
  peri_link requests;  /* see request.h */
  peri_link foreign;   /* see foreign.c */
  peri_link lasting;   /* see peri_lasting */
  uint64_t opened;     /* handles so far */
  uint32_t nhandles;   /* open or closing; one more until the sweep */
  uint32_t nrequests;
  unsigned libs;       /* PERI_LIB_* that were opened, see io.h */
  uint32_t nlingering; /* closed transports that still send */
  uint32_t nevents;    /* of watches, in turn `events_at`: see fsevent.c */
  uint64_t events_at;
  int ending;          /* the Lua state is being closed */
  int left;            /* ... and this left to a loop of its own */
  peri_pool pool;
  struct peri_resolver *resolver; /* or NULL; see resolver.h */
} peri_io;

/*
** What has work in other threads, with or without somebody who waits, and may
** outlive the loop: told once, when that ends, and is in its list until then.
*/
typedef struct peri_lasting {
  peri_link link;
  void (*over)(struct peri_lasting *w);
  int busy; /* something of it can come */
} peri_lasting;

static inline peri_io *peri_io_of(const peri_loop *l) {
  return l->io;
}

/* Makes the peri_io of a loop that has its poller. May raise. */
void peri_io_new(lua_State *L, peri_loop *l);

/* Enters a handle that uv has just initialized. */
void peri_handle_open(peri_loop *l, peri_handle *h,
                      const peri_handle_type *type, uv_handle_t *uv);

/* uv_poll_init, for a descriptor that others use as well: uv would have made
** it non-blocking. */
int peri_handle_poll(peri_loop *l, uv_poll_t *uv, int fd);

/* The peri_handle of a uv handle that was entered. */
static inline peri_handle *peri_handle_of(const uv_handle_t *uv) {
  return uv->data;
}

/* How many handles are open, or closing; and whether any is closing. */
int peri_handle_count(const peri_loop *l);
int peri_handle_closing(const peri_loop *l);

/* Closes a handle; nothing happens if it is closing already. */
void peri_handle_close(peri_handle *h);

/* Closes a TCP handle so that the peer gets a reset. */
void peri_handle_reset(peri_handle *h);

/* Shuts (type->shut) the handles opened since `peri_io.opened` was `mark`:
** those that are left at the end of a run. */
void peri_handle_shut_since(peri_loop *l, uint64_t mark);

/* The same, for those that listen only. */
void peri_handle_shut_listening(peri_loop *l, uint64_t mark);

#endif
