/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A limit that gives way by how long a guest's requests take. Pure: job/pace.c acts.
 */
#ifndef BLOCKPULL_CORE_PACE_GUEST_H
#define BLOCKPULL_CORE_PACE_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "io/base.h"

/* What the guest saw since the last step. */
struct pace_guest_look {
	uint64_t target_ns; /* 99 of 100 requests are to take less */
	uint64_t p99_ns;    /* they took less than this; 0: there were too few of them to say */
	uint64_t done_rate; /* bytes/s that the job did */
	uint64_t min_rate;  /* bytes/s below which the limit never is */
};

struct pace_guest {
	uint64_t limit; /* bytes/s; 0: no step was made yet */
	int gain;       /* permille of what is missing that a step makes up for */
	bool was_above; /* the target was missed at the last step */
};

/* Sets the limit anew. */
void pace_guest_step(struct pace_guest *guest, const struct pace_guest_look *look);

#endif
