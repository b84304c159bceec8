/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Each request that is not late raises the limit a little, and each that is late lowers it by 99
 * times as much, in proportion to the limit. So the limit stands still where one of a hundred is
 * late, which is what the target says, whatever the device does to its queue: also where nearly all
 * are fast and the write-back of a second's copies holds up the few that come then.
 *
 * A limit that follows the quantile of each second was rejected: that is far below the target in
 * most seconds and far above in the few with a write-back, and its mean tells nothing. So was
 * halving the limit at each miss, as TCP does: the mean is far below what the target allows.
 *
 * Steps are large at first and where all of them go one way for long, else small. A limit that the
 * job does not reach tells nothing of what the guest bears, so it stays within twice what the job
 * does.
 */
#include "engine/core/rate/pace_guest.h"

#include "io/scale.h"

#define NS UINT64_C(1000000000)

/* The first limit: gentle, until the guest's requests tell more. */
#define FIRST_RATE (4 * MiB)
#define LEAST_RATE (64 * KiB)

/* Time between two steps; after the longer one a step is due even if no request has ended. */
#define SOON_NS (NS / 5)
#define LATE_NS (1 * NS)

/* Millionths. */
#define WHOLE     INT64_C(1000000)
#define GAIN_MIN  15000
#define GAIN_MAX  60000
#define MOST_DOWN (2 * WHOLE)

/* Of a hundred requests one may be late. */
#define OF_HUNDRED 100

/* Of pace_guest.lean, in permille: 1000 stands for no late request, and 0 for the target. */
#define LEAN_FAR   600
#define LEAN_LEAST (-30000)
#define LEAN_STEPS 32
#define MISSED_FAR (-3000)

bool pace_guest_is_due(uint64_t ns, uint32_t n, bool is_idle)
{
	return ns >= SOON_NS && (n || is_idle || ns >= LATE_NS);
}

/* How far the last step was from the target, in permille, at most 1500: above 0 more requests might
 * have been late, below 0 too many were. */
static int64_t missing(struct pace_guest *guest, const struct pace_guest_look *look)
{
	int64_t n = look->n;

	if (!n)
		return 1000;
	guest->n_usual = guest->n_usual ? MAX((guest->n_usual * 7 + n) / 8, INT64_C(1)) : n;
	return MIN((n - OF_HUNDRED * (int64_t)look->n_late) * 1000 / guest->n_usual, INT64_C(1500));
}

static void set_gain(struct pace_guest *guest, int64_t left)
{
	int64_t bounded = MIN(MAX(left, (int64_t)LEAN_LEAST), INT64_C(1000));

	guest->lean += (bounded - guest->lean) / LEAN_STEPS;
	if (left < MISSED_FAR)
		guest->gain = guest->gain * 3 / 4;
	else if (left > 0 && guest->lean > LEAN_FAR)
		guest->gain = guest->gain * 8 / 7;
	else
		guest->gain = guest->gain * 97 / 100;
	guest->gain = MIN(MAX(guest->gain, (int64_t)GAIN_MIN), (int64_t)GAIN_MAX);
}

/* Downwards by the exponential function's first terms: then a step up and one as far down leave the
 * limit where it was, whichever of them is long. */
static uint64_t moved(uint64_t limit, int64_t by)
{
	uint64_t rest;
	int64_t square, cube;

	if (by >= 0)
		return scale(limit, (uint64_t)(WHOLE + by), 0, (uint64_t)WHOLE, &rest);
	by = MIN(-by, MOST_DOWN);
	square = by * by / WHOLE;
	cube = square * by / WHOLE;
	return scale(limit, (uint64_t)WHOLE, 0, (uint64_t)(WHOLE + by + square / 2 + cube / 6),
		     &rest);
}

static uint64_t bounded(uint64_t limit, const struct pace_guest_look *look)
{
	uint64_t most = MAX(look->done_rate * 2, FIRST_RATE);
	uint64_t least = MAX(look->min_rate, LEAST_RATE);

	limit = MIN(limit, most);
	return MAX(limit, least);
}

void pace_guest_step(struct pace_guest *guest, const struct pace_guest_look *look)
{
	int64_t left;

	if (!guest->limit) {
		*guest = (struct pace_guest){ .limit = MAX(FIRST_RATE, look->min_rate),
					      .gain = GAIN_MAX,
					      .lean = 1000 };
		return;
	}
	left = missing(guest, look);
	set_gain(guest, left);
	guest->limit = bounded(moved(guest->limit, guest->gain * left / 1000), look);
}
