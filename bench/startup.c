/*
** startup.c - how long a program takes from nothing to its end, and how much
** memory it needs.
**
**   startup TIMES COMMAND...
**
** Runs the command so often, without showing what it prints, and prints the
** median of the wall time in milliseconds and the biggest resident memory in
** KiB. A program of its own, because a child counts as its own what a big
** parent had when it forked.
**
** SPDX-License-Identifier: MIT
*/
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TIMES_MAX 1000

static double milliseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Runs the command once, and returns how long that took. */
static double run(char **command, long *memory) {
  int status;
  struct rusage used;
  double begun = milliseconds();
  pid_t child = fork();
  if (child == 0) {
    if (!freopen("/dev/null", "w", stdout)) _exit(127);
    execvp(command[0], command);
    _exit(127);
  }
  if (child < 0 || wait4(child, &status, 0, &used) < 0 || status) {
    fprintf(stderr, "startup: %s failed\n", command[0]);
    exit(1);
  }
  double took = milliseconds() - begun;
  if (used.ru_maxrss > *memory) *memory = used.ru_maxrss;
  return took;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv) {
  double took[TIMES_MAX];
  long memory = 0;
  int times = argc > 2 ? atoi(argv[1]) : 0;
  if (times < 1 || times > TIMES_MAX) {
    fputs("usage: startup TIMES COMMAND...\n", stderr);
    return 2;
  }
  for (int i = 0; i < times; i++) took[i] = run(argv + 2, &memory);
  qsort(took, (size_t)times, sizeof *took, compare);
  printf("%.3f %ld\n", took[times / 2], memory);
  return 0;
}
