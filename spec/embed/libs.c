/*
** libs.c - what leads outside is there for scripts only if it was opened.
**
** SPDX-License-Identifier: MIT
*/
#include "test.h"

static const char *const names[] = {"fs", "tcp", "unix", "udp", "poll", "dns",
                                    "process", "signals", "stdin", "stdout",
                                    "stderr", "tty", NULL};

/* Which of `names` each part brings. */
static const struct {
  unsigned lib;
  const char *brings;
} parts[] = {
  {PERILUNE_LIB_CORE, ""}, {PERILUNE_LIB_FS, "fs "},
  {PERILUNE_LIB_NET, "tcp unix udp poll "}, {PERILUNE_LIB_DNS, "dns "},
  {PERILUNE_LIB_PROCESS, "process "}, {PERILUNE_LIB_SIGNAL, "signals "},
  {PERILUNE_LIB_THREAD, ""},
  {PERILUNE_LIB_STDIO, "stdin stdout stderr tty "}};

static void open_with(world *w, unsigned libs) {
  world_state(w);
  EQUAL(perilune_open(w->L, NULL, &w->p), PERILUNE_OK);
  if (libs) EQUAL(perilune_openlibs(w->p, libs), PERILUNE_OK);
  world_do(w, "aio = require 'perilune'");
}

static int has_outside(const world *w) {
  return perilune_fd(w->p) >= 0;
}

/* Those of `names` that `aio` has. */
static void check_names(world *w, const char *expected) {
  char found[100] = "";
  lua_getglobal(w->L, "aio");
  for (int i = 0; names[i]; i++) {
    if (lua_getfield(w->L, -1, names[i]) != LUA_TNIL)
      strcat(strcat(found, names[i]), " ");
    lua_pop(w->L, 1);
  }
  lua_pop(w->L, 1);
  if (strcmp(found, expected)) test_fail(__FILE__, __LINE__, found);
}

static void libs_are_core_alone_at_first(void) {
  world w;
  open_with(&w, 0);
  check_names(&w, "");
  world_do(&w, "assert(aio.spawn and aio.group and aio.every and aio.all)\n"
               "for name in pairs(aio) do assert(aio[name] ~= nil, name) end");
  check_names(&w, "");
  world_close(&w);
}

static void libs_are_opened_one_by_one(void) {
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    world w;
    open_with(&w, parts[i].lib);
    check_names(&w, has_outside(&w) ? parts[i].brings : "");
    world_close(&w);
  }
}

static void libs_can_be_opened_later(void) {
  world w;
  open_with(&w, 0);
  check_names(&w, "");
  EQUAL(perilune_openlibs(w.p, PERILUNE_LIB_FS), PERILUNE_OK);
  check_names(&w, has_outside(&w) ? "fs " : "");
  EQUAL(perilune_openlibs(w.p, PERILUNE_LIB_FS), PERILUNE_OK);
  check_names(&w, has_outside(&w) ? "fs " : "");
  world_close(&w);
}

static void libs_of_no_meaning_are_refused(void) {
  world w;
  open_with(&w, 0);
  EQUAL(perilune_openlibs(w.p, 256), PERILUNE_EARG);
  EQUAL(perilune_close(w.p, 0, 0), PERILUNE_OK);
  w.p = NULL;
  world_close(&w);
}

/* Everything that a script can get at without the debug library: what is in
** tables, in their metatables, and in those of objects. */
static const char walk[] =
  "local seen, stack = {}, {}\n"
  "local function add(v, path)\n"
  "  local t = type(v)\n"
  "  if v == nil or t == 'number' or t == 'string' or t == 'boolean' or\n"
  "    seen[v] then return end\n"
  "  seen[v] = path\n"
  "  stack[#stack + 1] = v\n"
  "end\n"
  "for name, v in pairs(_G) do add(v, name) end\n"
  "add(aio.loop(), 'loop') add(aio.event(), 'event')\n"
  "add(aio.channel(), 'channel') add(aio.future(), 'future')\n"
  "add(aio.loop():call_soon(say), 'callback') add(aio.lock(), 'lock')\n"
  "add(aio.context.var('x'), 'var') add(task, 'task')\n"
  "while #stack > 0 do\n"
  "  local v = table.remove(stack)\n"
  "  add(getmetatable(v), seen[v] .. '.meta')\n"
  "  if type(v) == 'table' then\n"
  "    for k, x in next, v do\n"
  "      add(k, seen[v] .. '.key')\n"
  "      add(x, seen[v] .. '.' .. tostring(k))\n"
  "    end\n"
  "  end\n"
  "end\n"
  "found = {}\n"
  "for v, path in pairs(seen) do\n"
  "  local name = path:match '[%w_]+$'\n"
  "  if not path:find '^[io]' then found[name] = path end\n"
  "end\n";

static void libs_that_are_closed_are_nowhere(void) {
  world w;
  open_with(&w, 0);
  world_do(&w, "aio.spawn(function() task = aio.task() end)");
  EQUAL(world_settle(&w), PERILUNE_IDLE);
  world_do(&w, walk);
  world_do(&w, "assert(found.spawn and found.resolve and found.put)\n"
               "for _, name in ipairs { 'connect', 'listen', 'pair',\n"
               "  'read_file', 'scandir', 'getaddrinfo', 'poll_fd', 'bind_fd',\n"
               "  'subscribe', 'signals', 'descriptor', 'close_handles',\n"
               "  'run_open', 'tasks', 'probe', 'at_exit', 'on_failure' } do\n"
               "  assert(not found[name], found[name])\n"
               "end");
  world_close(&w);
}

static void libs_that_are_closed_cannot_be_required(void) {
  world w;
  open_with(&w, 0);
  world_do(&w, "package.path, package.cpath = '', ''\n"
               "for _, name in ipairs { 'core', 'tcp', 'fs', 'process',\n"
               "  'dns', 'udp', 'unix', 'run', 'check', 'debug' } do\n"
               "  assert(not pcall(require, 'perilune.' .. name), name)\n"
               "  assert(not package.loaded['perilune.' .. name], name)\n"
               "end");
  world_close(&w);
}

/* A script that loads the module by itself keeps everything. */
static void libs_are_all_there_without_a_host(void) {
  world w;
  int luaopen_perilune_core(lua_State *L);
  world_state(&w);
  luaL_requiref(w.L, "perilune.core", luaopen_perilune_core, 0);
  lua_getfield(w.L, -1, "tcp");
  int outside = !lua_isnil(w.L, -1);
  lua_settop(w.L, 0);
  EQUAL(perilune_open(w.L, NULL, &w.p), PERILUNE_OK);
  world_do(&w, "aio = require 'perilune'");
  check_names(&w, outside ? "fs tcp unix udp poll dns process signals "
                            "stdin stdout stderr tty "
                          : "");
  world_close(&w);
}

static void libs_for_addresses_look_up_no_names(void) {
  world w;
  open_with(&w, PERILUNE_LIB_NET);
  if (!has_outside(&w)) test_skip("a build without sockets");
  world_do(&w, "aio.spawn(function()\n"
               "  say(select(3, aio.tcp.connect('localhost', 1)))\n"
               "  say(select(3, aio.udp.connect('localhost', 1)))\n"
               "  local s = assert(aio.tcp.listen('127.0.0.1', 0))\n"
               "  local c = assert(aio.tcp.connect('127.0.0.1',\n"
               "    select(2, s:sockname())))\n"
               "  c:close() s:close() say 'connected'\n"
               "end)");
  EQUAL(perilune_run(w.p, NULL, 5), PERILUNE_OK);
  world_said(&w, "ENOTSUP ENOTSUP connected");
  world_close(&w);
}

/* Each allocation of Lua's fails in turn; the next try succeeds. */
static void libs_without_memory(void) {
  int rc = PERILUNE_ENOMEM;
  for (size_t n = 1; rc; n++) {
    world w;
    open_with(&w, 0);
    w.refuse_at = n;
    rc = perilune_openlibs(w.p, PERILUNE_LIB_ALL);
    CHECK(rc == PERILUNE_OK || rc == PERILUNE_ENOMEM);
    w.refuse_at = 0;
    EQUAL(perilune_openlibs(w.p, PERILUNE_LIB_ALL), PERILUNE_OK);
    world_do(&w, "for name in pairs(aio) do assert(aio[name], name) end");
    world_close(&w);
  }
}

const test_case libs_cases[] = {
  CASE(libs_are_core_alone_at_first), CASE(libs_are_opened_one_by_one),
  CASE(libs_can_be_opened_later), CASE(libs_of_no_meaning_are_refused),
  CASE(libs_that_are_closed_are_nowhere),
  CASE(libs_that_are_closed_cannot_be_required),
  CASE(libs_are_all_there_without_a_host),
  CASE(libs_for_addresses_look_up_no_names), CASE(libs_without_memory), END};
