/*
** raw.h - the terminal in raw mode, and putting that back.
**
** The mode belongs to the terminal: it outlives the program, unless somebody
** puts it back however that ends.
**
** SPDX-License-Identifier: MIT
*/
#ifndef PERI_RAW_H
#define PERI_RAW_H

#ifndef _WIN32

/* Makes the terminal of this descriptor raw: 0, or a uv status. From any
** thread; the first one counts, the others end together with it. */
int peri_raw_begin(int fd);

/* Undoes one of these. When none is left the mode is as it was. */
void peri_raw_end(void);

/* The program is about to end: puts the mode back. For signal handlers. */
void peri_raw_restore(void);

#endif

#endif
