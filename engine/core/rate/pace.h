/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What limit a job has now, of what was asked for and what is still to be done. Pure:
 * job/progress/pace.c acts. Rates are bytes a second; a limit of 0 is none.
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
	uint64_t within_ns, deadline_ns; /* how long it was given, and by when it is to be done */
};

/* The rate that does `left` bytes by the deadline, and a little sooner: what follows the copying
 * takes its time, too. 0: there is no deadline; UINT64_MAX: there is no time left. */
uint64_t pace_needed_rate(const struct pace_wish *wish, uint64_t now_ns, uint64_t left);
/* Below this a job gives way to no guest: what it needs, but min_rate at least. */
uint64_t pace_floor(const struct pace_wish *wish, uint64_t needed);
/* The limit that follows: the bandwidth that was asked for, raised where that is less than the
 * floor. With a deadline and no bandwidth it is the floor: the gentlest that is in time. */
uint64_t pace_limit(const struct pace_wish *wish, uint64_t needed);

/* Whether a job keeps to its floor, looked at now and then. */
struct pace_watch {
	uint64_t looked_ns, bytes; /* at the last look; 0: there was none */
	int64_t behind;            /* bytes less than the floor asks for */
	bool is_slow;              /* behind: it gives way to no guest until it is not */
	bool is_late;              /* far behind: what was asked for can't be met */
};

/* `bytes` counts what was done since the job's start. */
void pace_look(struct pace_watch *watch, const struct pace_wish *wish, uint64_t now_ns,
	       uint64_t bytes, uint64_t floor);
/* The limit while a guest is at work: one that has to catch up does not go on without one. */
uint64_t pace_limit_beside_guest(uint64_t limit, const struct pace_watch *watch, uint64_t floor);
/* It stands still: the time until the next look does not count. */
void pace_look_away(struct pace_watch *watch);

#endif
