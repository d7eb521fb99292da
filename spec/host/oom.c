/*
 * oom.c: runs a Lua script where memory is short, or where the collector is
 * in the way at every step.
 *
 *   oom once SCRIPT [N]     the n-th allocation fails, for n = 1, 2, 3 ...
 *   oom lasting SCRIPT [N]  the n-th and all later ones fail, until the script
 *                           is back
 *   oom malloc SCRIPT [N]   the n-th malloc called by perilune's own C fails
 *   oom gc SCRIPT           a full collection at every allocation
 *
 * The first three end with the first n that the script does not reach. With N
 * only that one point is run, for a debugger. For each n a fresh state is made
 * and the script run in it; then
 *
 *   - it has finished, or has raised "not enough memory"; returning false or
 *     raising anything else is a failure;
 *   - nothing was raised outside a protected call;
 *   - closing the state gives all of Lua's memory and all descriptors back.
 *
 * What C code allocates by other means is not counted here: the build with
 * AddressSanitizer looks after that.
 *
 * Only what comes after opening the standard libraries is counted, which is
 * the script with all that it requires. A script that is after something else
 * than loading modules calls the global `stress_ready`, if there is one: from
 * there it is counted then, once a first run has shown that it does so.
 *
 * SPDX-License-Identifier: MIT
 */

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

/* A point that takes longer hangs. */
#define POINT_SECONDS 60

/* So many failures say enough. */
#define MAX_FAILURES 10

/* Replacing malloc would get in the sanitizer's way. */
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
#define CAN_FAIL_MALLOC 1
#else
#define CAN_FAIL_MALLOC 0
#endif

typedef enum { ONCE, LASTING, MALLOC, GC_FULL, GC_EMERGENCY, GC_GEN } mode;

static const char *const mode_names[] = {
  "once", "lasting", "malloc", "gc", "gc in every allocation",
  "generational gc"
};

/*
 * One point: one run of the script in one state. `seen` counts requests for
 * memory while `counting`; the one numbered `target` fails. Where Lua is
 * refused it collects and asks once more for the very same, which belongs to
 * the same request: `again` says that this may come next, `last` what it was.
 */
static struct {
  mode mode;
  bool counting;
  bool reached;
  bool panicked;
  bool again;
  struct { void *block; size_t from, to; } last;
  size_t target;
  size_t seen;
  size_t bytes;
} point;

static int failures;

/* The script says when to begin: known once it has been run. */
static bool says_ready;


/*
** Memory
*/

static bool counted_request_fails (void) {
  if (!point.counting)
    return false;
  point.seen++;
  if (point.seen == point.target)
    point.reached = true;
  return point.mode == LASTING ? point.reached : point.seen == point.target;
}

/* True if this is Lua's second attempt at what was just refused. */
static bool is_retry (void *block, size_t from, size_t to) {
  bool same = point.again && point.last.block == block &&
              point.last.from == from && point.last.to == to;
  point.again = false;
  return same;
}

static bool refuse (void *block, size_t from, size_t to) {
  switch (point.mode) {
    case ONCE: case LASTING:
      if (is_retry(block, from, to))
        return true;
      point.again = counted_request_fails();
      break;
    case GC_EMERGENCY:  /* refused once, granted after the collection */
      point.again = point.counting && !is_retry(block, from, to);
      break;
    default:
      return false;
  }
  point.last.block = block;
  point.last.from = from;
  point.last.to = to;
  return point.again;
}

/* Is that an address in perilune's own C? */
static bool is_ours (void *caller) {
  Dl_info info;
  return dladdr(caller, &info) != 0 && info.dli_fname != NULL &&
         strstr(info.dli_fname, "perilune/core.so") != NULL;
}

static void *allocate (void *ud, void *block, size_t osize, size_t nsize) {
  size_t from = block ? osize : 0;  /* else osize is a type, not a size */
  void *result = NULL;
  (void)ud;
  if (nsize == 0) {
    free(block);
  } else {
    /* Making a block smaller may fail too by the manual, but it never asks
       for more: those are no points of their own. */
    /* Lua collects and asks again; C code, which may not touch Lua where it
       asks, does not. */
    bool exempt = point.mode == GC_EMERGENCY &&
                  is_ours(__builtin_return_address(0));
    if (nsize > from && !exempt && refuse(block, from, nsize))
      return NULL;
    result = realloc(block, nsize);
    if (result == NULL)
      return NULL;
  }
  point.bytes += nsize;
  point.bytes -= from;
  return result;
}

#if CAN_FAIL_MALLOC

/*
 * These stand in front of the C library's. They fail for code in perilune's
 * module alone: what libuv does without memory is not its users' business (it
 * may abort).
 */

extern void *__libc_malloc (size_t size);
extern void *__libc_calloc (size_t count, size_t size);
extern void *__libc_realloc (void *block, size_t size);

static bool refuse_malloc (void *caller) {
  if (point.mode != MALLOC || !point.counting)
    return false;
  if (!is_ours(caller))
    return false;
  return counted_request_fails();
}

static void *no_memory (void) {
  errno = ENOMEM;
  return NULL;
}

void *malloc (size_t size) {
  if (refuse_malloc(__builtin_return_address(0)))
    return no_memory();
  return __libc_malloc(size);
}

void *calloc (size_t count, size_t size) {
  if (refuse_malloc(__builtin_return_address(0)))
    return no_memory();
  return __libc_calloc(count, size);
}

void *realloc (void *block, size_t size) {
  if (refuse_malloc(__builtin_return_address(0)))
    return no_memory();
  return __libc_realloc(block, size);
}

#endif


/*
** Reports
*/

static void fail (const char *what, const char *detail) {
  failures++;
  printf("point %zu (%s): %s%s%s\n", point.target, mode_names[point.mode],
         what, detail ? ": " : "", detail ? detail : "");
}

/* Only calls that a signal handler may make. */
static void say (const char *text) {
  ssize_t ignored = write(STDOUT_FILENO, text, strlen(text));
  (void)ignored;
}

static void on_crash (int signum) {
  char digits[24];
  char *p = digits + sizeof(digits) - 1;
  size_t n = point.target;
  *p = '\0';
  do {
    *--p = (char)('0' + n % 10);
    n /= 10;
  } while (n > 0);
  say("point ");
  say(p);
  say(" (");
  say(mode_names[point.mode]);
  say(signum == SIGALRM ? "): hangs\n" : "): crashes\n");
  signal(signum, SIG_DFL);
  raise(signum == SIGALRM ? SIGABRT : signum);
}

static void catch_crashes (void) {
  signal(SIGALRM, on_crash);
#if !defined(__SANITIZE_ADDRESS__)  /* which reports these better */
  signal(SIGSEGV, on_crash);
  signal(SIGBUS, on_crash);
  signal(SIGFPE, on_crash);
  signal(SIGILL, on_crash);
  signal(SIGABRT, on_crash);
#endif
}

/* Lua aborts after this one, so it does not return. */
static int on_panic (lua_State *L) {
  point.counting = false;
  fail("error outside any protected call", lua_tostring(L, -1));
  fflush(stdout);
  _exit(1);
}

/* The number of open descriptors, or 0 where the system does not tell. */
static size_t count_descriptors (void) {
  size_t n = 0;
  DIR *dir = opendir("/proc/self/fd");
  if (dir == NULL)
    return 0;
  while (readdir(dir) != NULL)
    n++;
  closedir(dir);
  return n;
}


/*
** One run of the script
*/

static void begin_counting (void) {
  point.seen = 0;
  point.reached = false;
  point.again = false;
  point.counting = true;
}

static int stress_ready (lua_State *L) {
  (void)L;
  says_ready = true;
  begin_counting();
  return 0;
}

/*
 * The sizes make each step of the collector a whole cycle, the pause makes it
 * due at once again: Lua checks for that wherever it allocates. (lua_gc takes
 * a pause of 0 for "as before", hence the older call.)
 */
static void collect_always (lua_State *L) {
  lua_gc(L, LUA_GCINC, 0, 1000, 100);
  lua_gc(L, LUA_GCSETPAUSE, 0);
}

static int protected_main (lua_State *L) {
  const char *script = lua_touserdata(L, 1);
  luaL_openlibs(L);
  lua_pushcfunction(L, stress_ready);
  lua_setglobal(L, "stress_ready");
  if (point.mode == GC_FULL)
    collect_always(L);
  else if (point.mode == GC_GEN)
    lua_gc(L, LUA_GCGEN, 1, 1);
  if (!says_ready)
    begin_counting();
  if (luaL_loadfile(L, script) != LUA_OK)
    return lua_error(L);
  lua_call(L, 0, 1);
  point.counting = false;
  if (lua_isboolean(L, -1) && !lua_toboolean(L, -1))
    luaL_error(L, "%s returned false", script);
  return 0;
}

static int describe (lua_State *L) {
  luaL_tolstring(L, 1, NULL);
  return 1;
}

/* Replaces the error value at the top by its text. */
static const char *error_text (lua_State *L) {
  const char *text;
  lua_pushcfunction(L, describe);
  lua_insert(L, -2);
  lua_pcall(L, 1, 1, 0);
  text = lua_tostring(L, -1);
  return text ? text : "(an error that cannot be put into words)";
}

static bool is_shortage (const char *text) {
  static const char *const texts[] = {
    "not enough memory", "ENOMEM",
    "too many results to unpack", "too many arguments"  /* for a stack */
  };
  size_t i;
  for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
    if (strstr(text, texts[i]) != NULL)
      return true;
  return false;
}

static void run_point (mode m, size_t target, const char *script) {
  lua_State *L;
  memset(&point, 0, sizeof(point));
  point.mode = m;
  point.target = target;
  alarm(POINT_SECONDS);
  L = lua_newstate(allocate, NULL);
  if (L == NULL) {
    fail("no state, although memory is there", NULL);
    return;
  }
  lua_atpanic(L, on_panic);
  lua_pushcfunction(L, protected_main);
  lua_pushlightuserdata(L, (void *)script);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
    const char *text;
    point.counting = false;
    text = error_text(L);
    if (!point.reached || !is_shortage(text))
      fail("raised", text);
  }
  point.counting = false;
  lua_close(L);
  if (point.bytes != 0) {
    char text[40];
    snprintf(text, sizeof(text), "%zu bytes", point.bytes);
    fail("not given back after lua_close", text);
  }
  alarm(0);
}

/*
 * The first run may open descriptors that stay, such as libuv's for signals;
 * the following ones must not. A thread that nobody waits for, as that of a
 * look-up which was given up, may still be about to close its own.
 */
static void check_descriptors (size_t before) {
  int patience = 1000;
  while (count_descriptors() > before && patience-- > 0)
    usleep(1000);
  if (count_descriptors() > before)
    fail("a descriptor was left open", NULL);
}


/*
** All runs
*/

static size_t fail_each (mode m, const char *script) {
  size_t n, before;
  run_point(m, 0, script);
  before = count_descriptors();
  for (n = 1; failures < MAX_FAILURES; n++) {
    run_point(m, n, script);
    check_descriptors(before);
    before = count_descriptors();
    if (!point.reached)
      break;
  }
  return n - 1;
}

static void collect_each (const char *script) {
  size_t before;
  run_point(GC_FULL, 0, script);
  before = count_descriptors();
  run_point(GC_EMERGENCY, 0, script);
  run_point(GC_GEN, 0, script);
  check_descriptors(before);
}

static int usage (void) {
  fputs("usage: oom once|lasting|malloc SCRIPT [N]\n"
        "       oom gc SCRIPT\n", stderr);
  return 2;
}

static int finish (const char *what, const char *script, size_t points) {
  printf("%s %s: ", what, script);
  if (failures > 0)
    printf("%d failures at %zu points\n", failures, points);
  else
    printf("ok, %zu points\n", points);
  return failures > 0;
}

int main (int argc, char **argv) {
  static const mode modes[] = { ONCE, LASTING, MALLOC };
  const char *what, *script;
  size_t i;
  if (argc < 3 || argc > 4)
    return usage();
  what = argv[1];
  script = argv[2];
  catch_crashes();
  if (strcmp(what, "gc") == 0) {
    collect_each(script);
    return finish(what, script, 3);
  }
  for (i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
    mode m = modes[i];
    if (strcmp(what, mode_names[m]) != 0)
      continue;
    if (m == MALLOC && !CAN_FAIL_MALLOC) {
      puts("this host cannot make malloc fail");
      return 2;
    }
    if (argc == 4) {
      run_point(m, 0, script);
      run_point(m, strtoul(argv[3], NULL, 10), script);
      return finish(what, script, 1);
    }
    return finish(what, script, fail_each(m, script));
  }
  return usage();
}
