/*
** attach.c - the poller on a uv loop that is the host's.
**
** Nothing here runs, walks or closes that loop. The host runs it, and each
** of its iterations is a step of ours: `check` comes after uv has polled, and
** has the step taken; `prepare` comes before, and sees to it that uv waits no
** longer than the next timer of ours says. The timer counts as alive, as does
** the guard while something is ready and the bell while a thread owes us
** something: so uv_run goes on as long as anything can come of our tasks.
**
** uv closes handles in an iteration of its own, when the Lua state may be
** gone. Therefore all memory of such a loop is from malloc, and what is left
** at the end belongs to `rest` until the last handle is closed; that frees the
** block.
**
** SPDX-License-Identifier: MIT
*/
#include <stdlib.h>

#include "outside.h"

typedef struct guest {
  peri_outside o;
  uv_prepare_t prepare;
  uv_check_t check;
  unsigned open; /* at the end: of our handles; one more for all others */
} guest;

static guest *guest_of(peri_loop *l) {
  return PERI_OF((peri_outside *)l->outside, guest, o);
}

/* {== Polling ========================================================== */

static void keep_alive(uv_handle_t *h, int on) {
  if (on)
    uv_ref(h);
  else
    uv_unref(h);
}

/* Has uv wait as long as nothing of ours is due. */
static void arm(peri_loop *l) {
  guest *g = guest_of(l);
  int64_t wait = l->driver && !l->running ? l->driver->wait(l) : PERI_FOREVER;
  if (wait)
    uv_idle_stop(&g->o.guard);
  else
    peri_outside_wakeup(l);
  if (wait > 0) {
    peri_outside_arm(&g->o, wait);
  } else {
    uv_timer_stop(&g->o.timer);
    g->o.due = UNARMED;
  }
  keep_alive((uv_handle_t *)&g->o.bell, l->holds > 0);
}

static void on_prepare(uv_prepare_t *prepare) {
  peri_loop *l = PERI_OF(prepare, guest, prepare)->o.loop;
  if (peri_outside_forked(l))
    uv_idle_stop(&guest_of(l)->o.guard);
  else
    arm(l);
}

static void on_check(uv_check_t *check) {
  peri_loop *l = PERI_OF(check, guest, check)->o.loop;
  if (l->driver) l->driver->step(l);
}

/* uv has polled, or will. */
static void poll(peri_loop *l, int64_t timeout) {
  (void)timeout;
  peri_outside_look(l->outside);
  arm(l);
}

static int alive(peri_loop *l) {
  const peri_handles *handles = guest_of(l)->o.handles;
  return handles && handles->alive(l);
}

static int no_fd(peri_loop *l) {
  (void)l;
  return -1;
}

static int nothing(peri_loop *l) {
  (void)l;
  return 0;
}

/* }===================================================================== */

/* {== The end ========================================================== */

static void closed(guest *g) {
  if (--g->open) return;
  if (g->o.rest.gone) g->o.rest.gone(&g->o.rest);
  peri_outside_free_mark(&g->o);
  free(g);
}

static void on_close(uv_handle_t *h) {
  closed(h->data);
}

void peri_poller_swept(peri_loop *rest) {
  closed(guest_of(rest));
}

static int still(peri_loop *rest) {
  (void)rest;
  return 1;
}

/* Nobody asks for it any more. */
static peri_loop *forget(peri_loop *rest, int reap) {
  (void)reap;
  rest->gone = NULL;
  return NULL;
}

static const peri_poller rest_poller = {
  .forked = peri_outside_forked,
  .ring = peri_poller_ring,
  .closing = still,
  .close = forget};

static void close_ours(guest *g) {
  uv_handle_t *ours[] = {
    (uv_handle_t *)&g->o.timer, (uv_handle_t *)&g->o.guard,
    (uv_handle_t *)&g->o.bell, (uv_handle_t *)&g->prepare,
    (uv_handle_t *)&g->check};
  for (size_t i = 0; i < sizeof ours / sizeof *ours; i++, g->open++) {
    ours[i]->data = g;
    uv_close(ours[i], on_close);
  }
}

static peri_loop *leave_handles(peri_loop *l, guest *g) {
  peri_loop *rest = peri_outside_rest(l, &g->o, &rest_poller);
  close_ours(g);
  if (!g->o.handles) return rest;
  g->open++;
  g->o.handles->sweep(l, rest);
  g->o.handles = NULL;
  return rest;
}

/* In a forked child everything is left as it is: it is the parent's. */
static peri_loop *leave_host(peri_loop *l, int reap) {
  guest *g = guest_of(l);
  (void)reap;
  peri_outside_end_drives(&g->o);
  peri_loop *rest = peri_outside_forked(l) ? NULL : leave_handles(l, g);
  l->outside = NULL;
  l->home = "home";
  return rest;
}

/* }===================================================================== */

static const peri_poller guest_poller = {
  .now = peri_outside_now,
  .poll = poll,
  .alive = alive,
  .wakeup = peri_outside_wakeup,
  .forked = peri_outside_forked,
  .drive = peri_outside_drive,
  .fd = no_fd,
  .due = nothing,
  .ring = peri_poller_ring,
  .closing = nothing,
  .close = leave_host};

int peri_attach(peri_loop *l) {
  guest *g = calloc(1, sizeof *g);
  int status = g ? peri_outside_init(l, &g->o, l->attached) : UV_ENOMEM;
  if (status) {
    free(g);
    return status;
  }
  uv_prepare_init(l->attached, &g->prepare);
  uv_check_init(l->attached, &g->check);
  uv_prepare_start(&g->prepare, on_prepare);
  uv_check_start(&g->check, on_check);
  uv_unref((uv_handle_t *)&g->prepare);
  uv_unref((uv_handle_t *)&g->check);
  l->outside = &g->o;
  l->poller = &guest_poller;
  return 0;
}
