/*
** entries.c - each function of the interface, with each request for memory that it
** makes refused in turn: what it returns, and that the loop goes on to work.
**
** SPDX-License-Identifier: MIT
*/
#include "test.h"

typedef struct scene {
  world w;
  perilune_scope *s;
  perilune_future *f;
  perilune_task *t; /* `f` and `s` are what it waits for, and is in */
  perilune_clock *clock;
  perilune_signal *signal;
} scene;

/* Prepared by Lua code, which may leave a value on the stack, in a world that
** is not refused anything yet. */
typedef struct entry {
  const char *name;
  const char *code;
  int (*call)(scene *c);
} entry;

/* {== Scenes =========================================================== */

static scene *here; /* of the C functions that scripts call */

static int await(lua_State *L) {
  perilune_future_push(L, here->f);
  return perilune_await(L, perilune_future_check(L, -1), NULL, 0);
}

static int sleep_a_while(lua_State *L) {
  return perilune_sleep(L, here->clock, 1000, NULL, 0);
}

static void scene_open(scene *c) {
  perilune_config config = {.size = sizeof config, .slice = 1000};
  memset(c, 0, sizeof *c);
  here = c;
  world_open_with(&c->w, &config);
  lua_register(c->w.L, "await", await);
  lua_register(c->w.L, "sleep", sleep_a_while);
  c->clock = perilune_clock_new(c->w.p, "game");
  c->signal = perilune_signal_new(c->w.p, "draw");
  EQUAL(perilune_scope_new(c->w.p, NULL, NULL, NULL, &c->s), PERILUNE_OK);
  EQUAL(perilune_future_new(c->w.p, &c->f), PERILUNE_OK);
  c->t = world_spawn(&c->w, c->s,
                     "local x <close> = setmetatable({}, {__close = function()\n"
                     "  return {('x'):rep(100)} end})\n"
                     "return {await()}, 'more', {}");
  world_settle(&c->w);
}

static void scene_close(scene *c) {
  perilune_task_release(c->t);
  perilune_future_release(c->f);
  perilune_scope_release(c->s);
  lua_settop(c->w.L, 0);
  world_close(&c->w);
}

static void check_alive(scene *c) {
  lua_settop(c->w.L, 0);
  if (!perilune_get(c->w.L)) return; /* it was closed */
  world_settle(&c->w);
  perilune_task_release(
    world_spawn(&c->w, NULL, "aio.yield() say 'alive'"));
  world_settle(&c->w);
  lua_getglobal(c->w.L, "log");
  CHECK(strstr(lua_tostring(c->w.L, -1), "alive"));
  lua_pop(c->w.L, 1);
}

static int points;

/* Refuses the n-th request, and with `lasting` all that follow: 0 if there were
** not so many. */
static int try(const entry *e, size_t n, int lasting) {
  scene c;
  scene_open(&c);
  if (luaL_dostring(c.w.L, e->code))
    test_fail(e->name, 0, lua_tostring(c.w.L, -1));
  c.w.refuse_at = n;
  c.w.refuse_on = lasting;
  int rc = e->call(&c);
  c.w.refuse_at = c.w.again = 0;
  c.w.refusing = 0;
  if (rc < 0 && rc != PERILUNE_ENOMEM && rc != PERILUNE_ELUA)
    test_equal(e->name, (int)n, "the result", rc, PERILUNE_ENOMEM);
  if (!c.w.refused && rc < 0)
    test_equal(e->name, (int)n, "with memory, the result", rc, PERILUNE_OK);
  int refused = c.w.refused;
  check_alive(&c);
  scene_close(&c);
  points += refused;
  return refused;
}

static void sweep(const entry *e) {
  for (; e->name; e++)
    for (int lasting = 0; lasting < 2; lasting++)
      for (size_t n = 1; try(e, n, lasting); n++) continue;
}

/* }===================================================================== */

/* {== Tasks and scopes ================================================= */

static int settle(scene *c) {
  int rc;
  while ((rc = perilune_step(c->w.p, NULL, NULL)) == PERILUNE_MORE) continue;
  return rc;
}

static int spawn_with_handle(scene *c) {
  perilune_task *t;
  int rc = perilune_spawn(c->w.p, NULL, c->w.L, 0, &t);
  perilune_task_release(t);
  return rc;
}

static int spawn_in_scope(scene *c) {
  return perilune_spawn(c->w.p, c->s, c->w.L, 0, NULL);
}

static void on_end(perilune_task *t, lua_State *co, int how, void *ud) {
  (void)t;
  (void)how;
  *(int *)ud += lua_gettop(co);
}

static int then(scene *c) {
  int seen = 0;
  int rc = perilune_task_then(c->t, on_end, &seen);
  if (!rc) rc = perilune_future_done(c->f, c->w.L, 0);
  settle(c);
  return rc;
}

static int cancel(scene *c) {
  int rc = perilune_task_cancel(c->t);
  settle(c);
  return rc;
}

static int scope(scene *c) {
  perilune_scope *s;
  int rc = perilune_scope_new(c->w.p, c->s, c->clock, NULL, &s);
  perilune_scope_release(s);
  return rc;
}

static int cancel_scope(scene *c) {
  int rc = perilune_scope_cancel(c->s);
  settle(c);
  return rc;
}

static int kill_close(scene *c) {
  return perilune_scope_kill(c->s, PERILUNE_KILL_CLOSE);
}

static int kill_drop(scene *c) {
  return perilune_scope_kill(c->s, PERILUNE_KILL_DROP);
}

static int bind(scene *c) {
  lua_pushboolean(c->w.L, 1);
  return perilune_scope_bind(c->s, c->w.L);
}

static void memory_is_short_for_tasks(void) {
  static const entry all[] = {
    {"spawn", "return function() say {} end", spawn_with_handle},
    {"spawn", "return function() say {} end", spawn_in_scope},
    {"then", "", then}, {"task_cancel", "", cancel}, {"scope", "", scope},
    {"scope_cancel", "", cancel_scope}, {"kill", "", kill_close},
    {"kill", "", kill_drop}, {"bind", "return aio.context.var()", bind},
    {NULL, NULL, NULL}};
  sweep(all);
}

/* }===================================================================== */

/* {== Futures ========================================================== */

static int future(scene *c) {
  perilune_future *f;
  int rc = perilune_future_new(c->w.p, &f);
  perilune_future_release(f);
  return rc;
}

static int done(scene *c) {
  int rc = perilune_future_done(c->f, c->w.L, 1);
  settle(c);
  return rc;
}

static int fail(scene *c) {
  int rc = perilune_future_fail(c->f, c->w.L);
  settle(c);
  return rc;
}

static int post_value(scene *c) {
  perilune_value v = {.type = PERILUNE_STRING};
  v.u.str.s = "a string that is longer than forty bytes, and so no short one";
  v.u.str.n = strlen(v.u.str.s);
  perilune_post_value(perilune_future_retain(c->f), &v);
  return settle(c);
}

static int push(lua_State *L, void *ud) {
  (void)ud;
  for (int i = 0; i < 5; i++) lua_newtable(L);
  return 5;
}

static int post_call(scene *c) {
  perilune_post_call(perilune_future_retain(c->f), push, NULL, NULL);
  return settle(c);
}

static void on_abandon(void *ud) {
  (void)ud;
}

static int abandon(scene *c) {
  int rc = perilune_future_on_abandon(c->f, on_abandon, NULL);
  if (!rc) rc = perilune_scope_kill(c->s, PERILUNE_KILL_DROP);
  settle(c);
  return rc;
}

static void memory_is_short_for_futures(void) {
  static const entry all[] = {
    {"future_new", "", future}, {"future_done", "return {1}", done},
    {"future_fail", "return {1}", fail}, {"post_value", "", post_value},
    {"post_call", "", post_call}, {"on_abandon", "", abandon},
    {NULL, NULL, NULL}};
  sweep(all);
}

/* }===================================================================== */

/* {== Steps ============================================================ */

static int run(scene *c) {
  int rc = perilune_run(c->w.p, c->f, 0.001);
  return rc == PERILUNE_ETIMEDOUT ? PERILUNE_OK : rc;
}

static int advance(scene *c) {
  int rc = perilune_clock_advance(c->clock, 5000);
  settle(c);
  return rc;
}

static int emit(scene *c) {
  int rc = perilune_emit(c->signal, c->w.L, 1);
  settle(c);
  return rc;
}

static int clock_new(scene *c) {
  return perilune_clock_new(c->w.p, "another") ? 0 : PERILUNE_ENOMEM;
}

static int signal_new(scene *c) {
  return perilune_signal_new(c->w.p, "another") ? 0 : PERILUNE_ENOMEM;
}

static int on_task(const perilune_info *i, void *ud) {
  (void)i;
  (void)ud;
  return 0;
}

static int dump(scene *c) {
  return perilune_dump(c->w.p, on_task, NULL);
}

static int close_it(scene *c) {
  int rc = perilune_close(c->w.p, 0, 0);
  if (rc != PERILUNE_ENOMEM) c->w.p = NULL;
  return rc;
}

static void memory_is_short_in_steps(void) {
  static const entry all[] = {
    {"step", "aio.spawn(aio.group, nil, function(g)\n"
             "  local ch = aio.channel()\n"
             "  g:spawn(function() ch:put {1} end)\n"
             "  g:spawn(function() say(ch:get()) end)\n"
             "  aio.timeout(1, aio.yield) end)", settle},
    {"step", "aio.spawn(error, {}) aio.loop():call_soon(error, 'x')", settle},
    {"step", "aio.spawn(function() for i = 1, 5000 do end return {} end)",
     settle},
    {"run", "aio.spawn(aio.yield)", run},
    {"clock_new", "", clock_new}, {"signal_new", "", signal_new},
    {"advance", "for i = 1, 3 do aio.spawn(sleep) end aio.spawn(error)",
     advance},
    {"emit", "aio.spawn(function() aio.signal('draw'):wait() end)\n"
             "return {}", emit},
    {"dump", "", dump},
    {"close", "aio.on_close(function() say {} end)", close_it},
    {NULL, NULL, NULL}};
  sweep(all);
}

/* }===================================================================== */

static void memory_was_short_often(void) {
  printf("    %d requests were refused\n", points);
  CHECK(points > 300);
}

const test_case entry_cases[] = {
  CASE(memory_is_short_for_tasks), CASE(memory_is_short_for_futures),
  CASE(memory_is_short_in_steps), CASE(memory_was_short_often), END};
