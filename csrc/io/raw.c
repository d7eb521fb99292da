/*
** raw.c - the terminal in raw mode, and putting that back.
**
** The mode is put back when the last user has gone, when the program exits,
** and by a handler for signals that would end or stop it, as long as nobody
** else has decided about these.
**
** The variable below lives as long as the process, as the terminal's mode is
** one, and a signal handler is given nothing else to find its way by.
**
** SPDX-License-Identifier: MIT
*/
#include "raw.h"

#ifndef _WIN32

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "caught.h"

#define ABOVE 3 /* a descriptor of our own is none of the standard ones */

/* Signals whose default action ends the program or stops it. */
static const int signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
#define SIGNALS (sizeof signals / sizeof *signals)

static struct {
  pthread_mutex_t lock;
  unsigned users;
  int registered;            /* to be called at exit */
  /* What follows is written before `on` is set. */
  int fd;
  pid_t pid;
  struct termios before, mode;
  volatile sig_atomic_t on;  /* the terminal is raw because of us */
} raw = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* {== Async-signal-safe ================================================ */

/* In the background the terminal is somebody else's, and would stop us. */
static void put(const struct termios *mode) {
  pid_t group = tcgetpgrp(raw.fd);
  if (group > 0 && group != getpgrp()) return;
  while (tcsetattr(raw.fd, TCSANOW, mode) && errno == EINTR) continue;
}

/* A forked child may exit while its parent goes on. */
static int is_on(void) {
  return raw.on && raw.pid == getpid();
}

void peri_raw_restore(void) {
  if (!is_on()) return;
  raw.on = 0;
  put(&raw.before);
}

static void on_signal(int signum);

static struct sigaction action(void) {
  struct sigaction sa = {.sa_handler = on_signal,
                         .sa_flags = SA_RESTART | SA_RESETHAND | SA_NODEFER};
  sigemptyset(&sa.sa_mask);
  return sa;
}

/* The default action is in force again, and comes at once. Who was stopped
** goes on after that. */
static void on_signal(int signum) {
  struct sigaction sa = action();
  int saved = errno;
  if (is_on()) put(&raw.before);
  raise(signum);
  sigaction(signum, &sa, NULL);
  if (is_on()) put(&raw.mode);
  errno = saved;
}

/* }===================================================================== */

/* {== Begin and end ==================================================== */

/* Replaces one handler by another one, where it is in force. */
static void change(void (*from)(int), const struct sigaction *to) {
  for (size_t i = 0; i < SIGNALS; i++) {
    struct sigaction now;
    if (!peri_caught_action(signals[i], NULL, &now) &&
        now.sa_handler == from)
      peri_caught_action(signals[i], to, NULL);
  }
}

/* Output is still made of lines, as other programs may write there. */
static void make_raw(struct termios *mode) {
  mode->c_iflag &= ~(tcflag_t)(BRKINT | ICRNL | INPCK | ISTRIP | IXON);
  mode->c_cflag |= CS8;
  mode->c_lflag &= ~(tcflag_t)(ECHO | ICANON | IEXTEN | ISIG);
  mode->c_cc[VMIN] = 1;
  mode->c_cc[VTIME] = 0;
}

static int fail(int fd) {
  int status = -errno;
  close(fd);
  return status;
}

/* 0, or a negative errno, as uv's are. */
static int begin(int theirs) {
  int fd = fcntl(theirs, F_DUPFD_CLOEXEC, ABOVE);
  if (fd < 0) return -errno;
  if (tcgetattr(fd, &raw.before)) return fail(fd);
  raw.mode = raw.before;
  make_raw(&raw.mode);
  if (tcsetattr(fd, TCSANOW, &raw.mode)) return fail(fd);
  raw.fd = fd;
  raw.pid = getpid();
  if (!raw.registered) raw.registered = !atexit(peri_raw_restore);
  raw.on = 1;
  struct sigaction sa = action();
  change(SIG_DFL, &sa);
  return 0;
}

static void end(void) {
  struct sigaction sa = {.sa_handler = SIG_DFL};
  sigemptyset(&sa.sa_mask);
  peri_raw_restore();
  change(on_signal, &sa);
  close(raw.fd);
}

int peri_raw_begin(int fd) {
  pthread_mutex_lock(&raw.lock);
  int status = raw.users ? 0 : begin(fd);
  if (!status) raw.users++;
  pthread_mutex_unlock(&raw.lock);
  return status;
}

void peri_raw_end(void) {
  pthread_mutex_lock(&raw.lock);
  if (!--raw.users) end();
  pthread_mutex_unlock(&raw.lock);
}

/* }===================================================================== */

#else

typedef int peri_raw_unused; /* a file must have something */

#endif
