/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A job with a deadline goes as gently as that allows: its limit is what is left to do over the
 * time that is left, again and again. So it needs no plan that a slow hour could spoil, and what
 * was lost is made up for by all of the time that remains. Going at full speed and being done long
 * before was rejected: a user who says when a pull must be done wants the rest of the device
 * until then.
 */
#include "engine/core/rate/pace.h"

#include "io/base.h"
#include "io/scale.h"

#define NS UINT64_C(1000000000)

/* The end (a proof, commits, the header) is given a hundredth of the time, so much at most. */
#define END_MAX_NS (5 * NS)

/* How far behind a job is, as the time in which the floor copies as much. From SLOW_NS on it is
 * slow: less would be reached between two runs, which end a tenth of a second after each other at a
 * low rate. From LATE_NS on it is late. What it is behind by more than FORGET_NS is not made up
 * for. */
#define SLOW_NS   (300 * UINT64_C(1000000))
#define LATE_NS   (2 * NS)
#define FORGET_NS (10 * NS)

/* So far ahead counts at most, since several runs may end together. */
#define KEEP_NS (1 * NS)

/* Bytes/s, 1 PB/s: with a higher floor `behind` might not fit into 63 bits. */
#define MAX_FLOOR (UINT64_C(1) << 50)

uint64_t pace_needed_rate(const struct pace_wish *wish, uint64_t now_ns, uint64_t left)
{
	uint64_t end_ns = wish->deadline_ns - MIN(wish->within_ns / 100, END_MAX_NS), rest;

	if (!wish->deadline_ns)
		return 0;
	if (now_ns >= end_ns)
		return UINT64_MAX;
	return MAX(scale(left, NS, 0, end_ns - now_ns, &rest), UINT64_C(1));
}

uint64_t pace_floor(const struct pace_wish *wish, uint64_t needed)
{
	return MAX(needed, wish->min_rate);
}

uint64_t pace_limit(const struct pace_wish *wish, uint64_t needed)
{
	uint64_t floor = pace_floor(wish, needed);

	if (floor == UINT64_MAX || (!wish->bandwidth && !wish->deadline_ns))
		return 0;
	return MAX(wish->bandwidth, floor);
}

/* How many bytes a rate gives in that time. */
static uint64_t bytes_in(uint64_t rate, uint64_t ns)
{
	uint64_t rest;

	return scale(rate, ns, 0, NS, &rest);
}

static uint64_t late_after_ns(const struct pace_wish *wish)
{
	return wish->within_ns ? MIN(MAX(wish->within_ns / 10, SLOW_NS), LATE_NS) : LATE_NS;
}

/* How far behind the job is, in bytes, after ns more in which it copied `done`. */
static int64_t fall_behind(int64_t behind, uint64_t floor, uint64_t ns, uint64_t done)
{
	int64_t most = (int64_t)bytes_in(floor, FORGET_NS),
		least = -(int64_t)bytes_in(floor, KEEP_NS);

	behind += (int64_t)bytes_in(floor, ns) - (int64_t)done;
	return MAX(MIN(behind, most), least);
}

void pace_look(struct pace_watch *watch, const struct pace_wish *wish, uint64_t now_ns,
	       uint64_t bytes, uint64_t floor)
{
	bool is_over = floor == UINT64_MAX; /* no time is left, but what the end was given */

	if (!floor || !watch->looked_ns || bytes < watch->bytes) {
		*watch = (struct pace_watch){ .looked_ns = now_ns, .bytes = bytes };
		return;
	}
	floor = MIN(floor, MAX_FLOOR);
	watch->behind =
		fall_behind(watch->behind, floor, now_ns - watch->looked_ns, bytes - watch->bytes);
	watch->looked_ns = now_ns;
	watch->bytes = bytes;
	if (is_over || watch->behind > (int64_t)bytes_in(floor, SLOW_NS))
		watch->is_slow = true;
	else if (watch->behind <= 0)
		watch->is_slow = false;
	if (is_over ? now_ns >= wish->deadline_ns
		    : watch->behind > (int64_t)bytes_in(floor, late_after_ns(wish)))
		watch->is_late = true;
	else if (!watch->is_slow)
		watch->is_late = false;
}

uint64_t pace_limit_beside_guest(uint64_t limit, const struct pace_watch *watch, uint64_t floor)
{
	uint64_t most = MIN(floor, MAX_FLOOR) * 2;

	if (!watch->is_slow || floor == UINT64_MAX)
		return limit;
	return limit ? MIN(limit, most) : most;
}

void pace_look_away(struct pace_watch *watch)
{
	watch->looked_ns = 0;
	watch->is_slow = false;
}
