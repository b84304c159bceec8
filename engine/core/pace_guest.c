/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A step goes a part of the way to the target, less up than down. Near a device's limits a guest's
 * latency rises many times faster than the rate, and far below them not at all: so the part is
 * found by trying. It is halved when a step went too far, and grows while they all go one way.
 * Halving the limit at each miss, as TCP does, was rejected: the mean is far below what the target
 * allows.
 *
 * A limit that the job does not reach tells nothing of what the guest bears, so it stays within
 * twice what the job does.
 */
#include "engine/core/pace_guest.h"

#include "io/scale.h"

/* Gentle, until the guest's requests say more. */
#define FIRST_RATE (4 * MiB)
#define LEAST_RATE (64 * KiB)

/* Permille of the target that is reached, where more says no more. */
#define WORST 400u
#define BEST  2000u

/* Permille. */
#define GAIN_MIN   40
#define GAIN_FIRST 250
#define GAIN_UP    300 /* at most */
#define GAIN_MAX   600

static uint64_t bounded(uint64_t limit, const struct pace_guest_look *look)
{
	uint64_t most = MAX(look->done_rate * 2, FIRST_RATE);
	uint64_t least = MAX(look->min_rate, LEAST_RATE);

	limit = MIN(limit, most);
	return MAX(limit, least);
}

static int reached_permille(const struct pace_guest_look *look)
{
	uint64_t reached, rest;

	if (!look->p99_ns)
		return (int)BEST;
	reached = scale(look->target_ns, 1000, 0, look->p99_ns, &rest);
	reached = MAX(reached, (uint64_t)WORST);
	return (int)MIN(reached, (uint64_t)BEST);
}

void pace_guest_step(struct pace_guest *guest, const struct pace_guest_look *look)
{
	int missing = 1000 - reached_permille(look), permille;
	bool is_above = missing > 0;
	uint64_t rest;

	if (!guest->limit) {
		*guest = (struct pace_guest){ .limit = MAX(FIRST_RATE, look->min_rate),
					      .gain = GAIN_FIRST };
		return;
	}
	if (is_above != guest->was_above)
		guest->gain = MAX(guest->gain / 2, GAIN_MIN);
	else
		guest->gain = MIN(guest->gain * 3 / 2, GAIN_MAX);
	guest->was_above = is_above;
	permille = 1000 - (is_above ? missing * guest->gain / 1000
				    : missing * MIN(guest->gain, GAIN_UP) / 2000);
	guest->limit = bounded(scale(guest->limit, (uint64_t)permille, 0, 1000, &rest), look);
}
