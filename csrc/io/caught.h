/*
** caught.h - which signals somebody of this process subscribes to, and what
** they did before.
**
** libuv puts SIG_DFL where the last of its watchers goes; here is kept what
** was found when the first one came. From any thread.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_CAUGHT_H
#define PERI_CAUGHT_H

#ifndef _WIN32

#include <signal.h>

/* A uv watcher for this signal is about to start; or has been stopped. */
void peri_caught_begin(int signum);
void peri_caught_end(int signum);

/*
** sigaction(2), but for what is done while nobody subscribes: with somebody
** who does, `set` takes effect when the last one has gone. Both may be NULL.
** Returns 0, or -1.
*/
int peri_caught_action(int signum, const struct sigaction *set,
                       struct sigaction *get);

#endif

#endif
