/*
** none.c - stands in for the Lua modules, which the module that Lua loads
** finds as files. The libraries for hosts have them compiled in instead.
**
** SPDX-License-Identifier: MIT
*/
#include "embed.h"

const peri_chunk peri_chunks[] = {{NULL, NULL, NULL, 0}};
