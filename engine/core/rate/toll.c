/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "engine/core/rate/toll.h"

#include "io/base.h"

/* The last sixteen spells or so count. */
#define FADE 16

#define ONE UINT64_C(256) /* request */

/* With fewer requests in rests, or fewer expected during runs, nothing is concluded. */
#define MIN_EVIDENCE (8 * ONE)

static void sum_add(struct toll_sum *sum, uint64_t ns, uint64_t n)
{
	sum->ns += ns - sum->ns / FADE;
	sum->n += n * ONE - sum->n / FADE;
}

/* A spell ends, and the next one begins. */
static void toll_turn(struct toll *toll, struct toll_sum *of, uint64_t now_ns, uint64_t n_over,
		      bool has_guest)
{
	uint64_t ns = now_ns - toll->since_ns;

	if (toll->is_sound && has_guest && ns <= TOLL_MAX_SPELL_NS)
		sum_add(of, ns, n_over - toll->n_then);
	toll->is_sound = has_guest;
	toll->since_ns = now_ns;
	toll->n_then = n_over;
}

void toll_run_begins(struct toll *toll, uint64_t now_ns, uint64_t n_over, bool has_guest)
{
	if (!toll->n_runs++)
		toll_turn(toll, &toll->rests, now_ns, n_over, has_guest);
}

void toll_run_ends(struct toll *toll, uint64_t now_ns, uint64_t n_over, bool has_guest)
{
	if (!--toll->n_runs)
		toll_turn(toll, &toll->runs, now_ns, n_over, has_guest);
}

/* Two standard deviations of both counts, as if requests came one by one and at random. */
static bool is_chance(const struct toll *toll, uint64_t expected, uint64_t lost)
{
	uint64_t variance = expected / ONE * (toll->runs.ns + toll->rests.ns) / toll->rests.ns;

	return (lost / ONE) * (lost / ONE) < 4 * variance;
}

uint64_t toll_rest_ns(const struct toll *toll, uint64_t run_ns)
{
	uint64_t expected, lost;

	if (!toll->rests.ns || toll->rests.n < MIN_EVIDENCE)
		return 0;
	expected = toll->rests.n * toll->runs.ns / toll->rests.ns;
	if (expected < MIN_EVIDENCE || expected <= toll->runs.n)
		return 0;
	lost = expected - toll->runs.n;
	if (is_chance(toll, expected, lost))
		return 0;
	return run_ns * (lost * 1000 / expected) / 1000 * TOLL_PARTS;
}
