/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Which files of a chain become one. Numbers of files count from the image, which is 0. */
#ifndef TOOLS_CHAIN_STRETCH_H
#define TOOLS_CHAIN_STRETCH_H

#include <stdbool.h>

/* What the files from `top` down to `bottom` hold goes into `top`, whose name stays. */
struct stretch {
	unsigned top, bottom;
};

/* The stretch after which n_keep files (at least 1) are left of n_files; false: there are no more
 * than that, or nothing. The lowest file is the one that other images share, so it is neither
 * written nor left out before n_keep is 1; next above it lie the oldest states, which become one
 * first. */
bool stretch_to_keep(unsigned n_files, unsigned n_keep, struct stretch *stretch);

#endif
