/*
 * unpreload.c: preloaded together with the sanitizers' libraries, so that the
 * interpreter has them and the programs which the specs start (nc, python3, a
 * shell) do not: those leak on purpose.
 *
 * SPDX-License-Identifier: MIT
 */

#include <stdlib.h>

__attribute__((constructor)) static void unpreload (void) {
  unsetenv("LD_PRELOAD");
}
