/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Which of the last members are parted from the others, and what is kept for one that was. */
#include <criterion/criterion.h>

#include "engine/core/convoy.h"
#include "engine/core/convoy_kept.h"
#include "engine/core/kept.h"
#include "io/base.h"
#include "tests/unit/engine/convoys/convoy_rig.h"

/* Others have all buffers: it is not slow, and would only read again what they have read. */
Test(convoy_rules, one_that_only_wants_a_buffer_is_not_parted)
{
	for (unsigned slow = 0; slow < 2; slow++) {
		struct convoys convoys = rig_new_convoys();
		struct convoy_member m[3] = { 0 };
		uint64_t now = 1000 * MS;

		rig_three(&convoys, m);
		m[2].is_ready = true;
		m[1].place = slow ? m[2].place : m[1].place;
		m[1].is_held = !slow;
		while (now < 9000 * MS)
			now = MIN(convoy_look(&convoys, now, true), now + 50 * MS);
		cr_assert_eq(m[2].convoy, m[0].convoy);
		cr_assert(slow ? convoy_is_parted(&m[1]) : m[1].convoy == m[0].convoy);
		rig_end_three(&convoys, m);
	}
}

/* They have nothing to do in most of it: what they come to next lies far ahead. */
static void expect_gap_is_kept(bool is_group)
{
	struct convoys convoys = rig_new_convoys();
	struct convoy_member m[3] = { 0 }, other = { 0 };
	uint64_t now = 1000 * MS;
	struct convoy_place begin;

	rig_three(&convoys, m);
	if (is_group) {
		m[1].place = m[2].place;
		m[1].is_held = false;
	}
	while (!convoy_is_parted(&m[2]))
		now = convoy_look(&convoys, now, true);
	cr_assert_eq(m[1].convoy == m[2].convoy, is_group);
	/* Of another rate, it is no measure: its laps are its own. */
	convoy_join(&convoys, &other, 7, MiB, LEN, &begin);
	m[0].place = rig_at(0, 5 * WINDOW);
	m[1].place = is_group ? m[1].place : m[0].place;
	rig_keep(&convoys.kept, 4 * WINDOW, MiB);
	convoy_look(&convoys, now, true);
	cr_assert_not_null(kept_find(&convoys.kept, 7, 4 * WINDOW, 4 * WINDOW + MiB));
	m[2].place = rig_at(0, 4 * WINDOW + MiB);
	m[1].place = is_group ? m[2].place : m[1].place;
	convoy_look(&convoys, now, true);
	cr_assert_null(kept_find(&convoys.kept, 7, 4 * WINDOW, 4 * WINDOW + MiB), "they passed it");
	for (unsigned i = 0; i < 3; i++)
		convoy_leave(&convoys, &m[i]);
	convoy_leave(&convoys, &other);
	convoys_close(&convoys);
}

Test(convoy_rules, what_lies_between_the_slow_one_and_the_others_stays)
{
	expect_gap_is_kept(false);
}

Test(convoy_rules, and_between_several_slow_ones_and_the_others)
{
	expect_gap_is_kept(true);
}
