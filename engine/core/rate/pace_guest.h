/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A limit that gives way by how long a guest's requests take. Pure: job/progress/give_way.c acts.
 */
#ifndef BLOCKPULL_CORE_PACE_GUEST_H
#define BLOCKPULL_CORE_PACE_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "io/base.h"

/* What the guest saw since the last step. */
struct pace_guest_look {
	uint32_t n, n_late; /* its requests, and those that took longer than 99 of 100 should */
	uint64_t done_rate; /* bytes/s that the job copied */
	uint64_t min_rate;  /* bytes/s below which the limit never is */
};

struct pace_guest {
	uint64_t limit;  /* bytes/s; 0: no step was made yet */
	int64_t gain;    /* millionths of the limit that a step without a late request adds */
	int64_t lean;    /* permille: how far the last steps were from the target in the mean */
	int64_t n_usual; /* requests between two steps */
};

/* A step is due, ns after the last one, with n requests since. is_idle: no guest is at work. */
bool pace_guest_is_due(uint64_t ns, uint32_t n, bool is_idle);
/* Sets the limit anew. */
void pace_guest_step(struct pace_guest *guest, const struct pace_guest_look *look);

#endif
