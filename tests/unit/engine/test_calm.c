/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Promises of engine/core/rate/calm.h: one long write is followed by a pause, those that follow
 * each other by longer ones, and one that was alone is forgotten.
 */
#include <criterion/criterion.h>

#include "engine/core/rate/calm.h"

#define MS UINT64_C(1000000)

static struct calm calm;

/* Writes of so long, one after the other, whenever there is calm. Returns the time that they took
 * of span_ns. */
static uint64_t play(uint64_t from_ns, uint64_t span_ns, uint64_t write_ns)
{
	uint64_t now_ns = from_ns, took_ns = 0;

	while (now_ns < from_ns + span_ns) {
		if (!calm_may_write(&calm, now_ns)) {
			now_ns += MS;
			continue;
		}
		calm_note(&calm, now_ns, now_ns + write_ns);
		took_ns += write_ns;
		now_ns += write_ns;
	}
	return took_ns;
}

Test(calm, it_lasts_while_writes_are_short)
{
	calm = (struct calm){ 0 };
	cr_assert(calm_may_write(&calm, 0));
	cr_assert_eq(play(0, 1000 * MS, CALM_LONG_NS - 1) / CALM_LONG_NS, 500);
	cr_assert_eq(calm.until_ns, 0);
}

Test(calm, a_long_write_ends_it_for_a_pause)
{
	uint64_t end_ns = 1000 * MS + CALM_LONG_NS;

	calm = (struct calm){ 0 };
	calm_note(&calm, 1000 * MS, end_ns);
	cr_assert_not(calm_may_write(&calm, end_ns));
	cr_assert_not(calm_may_write(&calm, end_ns + CALM_PAUSE_NS - 1));
	cr_assert(calm_may_write(&calm, end_ns + CALM_PAUSE_NS));
}

/* A guest that writes more than the device takes: each write waits. */
Test(calm, what_always_waits_is_tried_ever_less)
{
	uint64_t took_ns;

	calm = (struct calm){ 0 };
	took_ns = play(0, 60000 * MS, 200 * MS);
	cr_assert_leq(took_ns, 60000 * MS / 20, "%lu ms of a minute", took_ns / MS);
	cr_assert_leq(calm.pause_ns, CALM_MAX_PAUSE_NS);
	cr_assert_leq(play(60000 * MS, 600000 * MS, 200 * MS), 600000 * MS / 40);
}

Test(calm, a_long_write_that_was_alone_is_forgotten)
{
	calm = (struct calm){ 0 };
	play(0, 60000 * MS, 200 * MS);
	play(60000 * MS, 60000 * MS, MS / 1000);
	calm_note(&calm, 120000 * MS, 120050 * MS);
	cr_assert_eq(calm.until_ns, 120050 * MS + CALM_PAUSE_NS);
}
