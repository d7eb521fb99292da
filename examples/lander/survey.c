/*
** survey.c - the ground, made sector by sector by a thread. Each answer is
** posted to the future that was given with the question.
**
** There is room for one question a sector, so that asking allocates nothing.
** It is the thread's from the moment it is asked, and Lua's once it is posted.
**
** SPDX-License-Identifier: MIT
*/
#include "host.h"

#include <time.h>

/* {== The ground ======================================================= */

int pad_at(int i) { return 72 + 122 * i + (int)(scatter((uint32_t)i) % 17); }

/* Between random heights, `period` apart: 0 to `high`. */
static int noise(int x, int period, int high) {
  uint32_t i = (uint32_t)(x / period + period * 1000);
  int f = x % period * 256 / period;
  int a = (int)(scatter(i) & 1023), b = (int)(scatter(i + 1) & 1023);
  f = f * f * (768 - 2 * f) / 65536;
  return (a + (b - a) * f / 256) * high / 1023;
}

static int hills(int x) {
  return H - 34 - noise(x, 150, 58) - noise(x, 57, 24) - noise(x, 19, 9) -
         noise(x, 5, 3);
}

/* Flat at the pads, and sloping towards them. */
int surface(int x) {
  int y = hills(x);
  for (int i = 0; i < FLEET; i++) {
    int far = abs(x - pad_at(i)) - PAD;
    if (far <= 0) return hills(pad_at(i));
    if (far < 14) return hills(pad_at(i)) * (14 - far) / 14 + y * far / 14;
  }
  return y;
}

/* }===================================================================== */

/* {== On the loop's thread ============================================= */

static int push(lua_State *L, void *ud) {
  const question *q = ud;
  lua_createtable(L, SECTOR, 0);
  for (int i = 0; i < SECTOR; i++) {
    lua_pushinteger(L, q->y[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* Takes over the reference; 0 if that sector was asked for already. */
int survey_ask(survey *s, int sector, perilune_future *f) {
  question *q = &s->all[sector];
  if (q->f) return 0;
  pthread_mutex_lock(&s->lock);
  q->f = f;
  q->next = NULL;
  *s->last = q;
  s->last = &q->next;
  pthread_cond_signal(&s->asked);
  pthread_mutex_unlock(&s->lock);
  return 1;
}

/* }===================================================================== */

/* {== The thread ======================================================= */

static question *take(survey *s) {
  pthread_mutex_lock(&s->lock);
  while (!s->first && !s->stop) pthread_cond_wait(&s->asked, &s->lock);
  question *q = s->stop ? NULL : s->first;
  if (q && !(s->first = q->next)) s->last = &s->first;
  pthread_mutex_unlock(&s->lock);
  return q;
}

static void *work(void *ud) {
  survey *s = ud;
  question *q;
  while ((q = take(s)) != NULL) {
    struct timespec pace = {0, s->pace_ms * 1000000L};
    nanosleep(&pace, NULL); /* so that one can watch it */
    for (int i = 0; i < SECTOR; i++)
      q->y[i] = surface((int)(q - s->all) * SECTOR + i);
    perilune_post_call(q->f, push, NULL, q);
  }
  return NULL;
}

/* }===================================================================== */

int survey_start(survey *s, int pace_ms) {
  s->last = &s->first;
  s->pace_ms = pace_ms;
  pthread_mutex_init(&s->lock, NULL);
  pthread_cond_init(&s->asked, NULL);
  s->runs = !pthread_create(&s->thread, NULL, work, s);
  return s->runs;
}

/* What was not answered yet fails with EBROKEN, if anybody still waits. */
void survey_stop(survey *s) {
  if (!s->runs) return;
  pthread_mutex_lock(&s->lock);
  s->stop = 1;
  pthread_cond_signal(&s->asked);
  pthread_mutex_unlock(&s->lock);
  pthread_join(s->thread, NULL);
  for (question *q = s->first; q; q = q->next) perilune_future_release(q->f);
}
