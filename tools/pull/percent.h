/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Progress as `qemu-img -p` prints it, for programs that read that. */
#ifndef TOOLS_PULL_PERCENT_H
#define TOOLS_PULL_PERCENT_H

#include <stdbool.h>

struct percent {
	bool begun;
	double shown; /* never falls */
};

/* Prints the part (0 to 1) that is done, if it reads otherwise than the last one. */
void percent_show(struct percent *percent, double part);
/* Ends the line; `done` makes it 100 first. Nothing where nothing was shown. */
void percent_end(struct percent *percent, bool done);

#endif
