/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Which limit a job should have now, by what was asked for and what is still to be done. Pure:
 * job/progress/pace.c sets it. Rates are bytes a second; a limit of 0 is none.
 */
#ifndef BLOCKPULL_CORE_PACE_H
#define BLOCKPULL_CORE_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "io/base.h"

/* What was asked for. Zero: nothing. */
struct pace_wish {
	uint64_t bandwidth, burst;
	uint64_t min_rate;
	uint64_t within_ns,
		deadline_ns; /* how long the job may take, and the time when that is over */
};

/* The rate at which `left` bytes are copied a little before the deadline, since a proof, commits
 * and the header follow. 0: there is no deadline; UINT64_MAX: there is no time left. */
uint64_t pace_needed_rate(const struct pace_wish *wish, uint64_t now_ns, uint64_t left);
/* The rate below which a job gives way to no guest: what it needs, but min_rate at least. */
uint64_t pace_floor(const struct pace_wish *wish, uint64_t needed);
/* The limit: the bandwidth that was asked for, or the floor if that is more. With a deadline and no
 * bandwidth it is the floor, the gentlest that is in time. */
uint64_t pace_limit(const struct pace_wish *wish, uint64_t needed);

/* Whether a job keeps to its floor, looked at now and then. */
struct pace_watch {
	uint64_t looked_ns, bytes; /* at the last look; 0: there was none */
	int64_t behind;            /* bytes less than the floor asks for */
	bool is_slow; /* behind: the job gives way to no guest until it has caught up */
	bool is_late; /* far behind: what was asked for won't be met */
};

/* `bytes` counts what was done since the job's start. */
void pace_look(struct pace_watch *watch, const struct pace_wish *wish, uint64_t now_ns,
	       uint64_t bytes, uint64_t floor);
/* The limit while a guest is at work: a job that has to catch up gets twice its floor, not none. */
uint64_t pace_limit_beside_guest(uint64_t limit, const struct pace_watch *watch, uint64_t floor);
/* The job stands still: the time until the next look does not count. */
void pace_look_away(struct pace_watch *watch);

#endif
