/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Promises of engine/core/convoy.c and kept.c: no member is further ahead of the
 * last than a window, the last one is never held, a member that is slow for reasons of its
 * own goes alone and no other does, and what is kept is there until the last has passed.
 */
#include <criterion/criterion.h>

#include "engine/core/convoy.h"
#include "engine/core/convoy_kept.h"
#include "engine/core/kept.h"
#include "io/base.h"
#include "tests/unit/engine/convoys/convoy_rig.h"

Test(convoy_rules, holds_a_member_a_window_ahead_and_never_the_last)
{
	struct convoys convoys = rig_new_convoys();
	struct convoy_member a = { 0 }, b = { 0 };

	rig_join(&convoys, &a, rig_at(0, 0));
	cr_assert(rig_lets_go(&convoys, &a, 0, LEN - 1), "alone");
	rig_join(&convoys, &b, rig_at(0, 0));
	cr_assert(rig_lets_go(&convoys, &a, 0, WINDOW - 1));
	cr_assert_not(rig_lets_go(&convoys, &a, 0, WINDOW));
	b.place = rig_at(0, 3 * MiB);
	a.place = rig_at(0, WINDOW);
	convoy_look(&convoys, MS, true);
	cr_assert(rig_lets_go(&convoys, &a, 0, WINDOW + 3 * MiB - 1));
	cr_assert_not(rig_lets_go(&convoys, &a, 0, WINDOW + 3 * MiB));
	cr_assert(rig_lets_go(&convoys, &b, 0, 3 * MiB));
	cr_assert(rig_lets_go(&convoys, &b, 0, 2 * MiB), "it goes back");
	convoy_leave(&convoys, &b);
	convoy_look(&convoys, 2 * MS, true);
	cr_assert(rig_lets_go(&convoys, &a, 0, LEN - 1), "alone again");
	convoy_leave(&convoys, &a);
	convoys_close(&convoys);
}

Test(convoy_rules, a_late_one_begins_with_the_last_and_wraps)
{
	struct convoys convoys = rig_new_convoys();
	struct convoy_member a = { 0 }, b = { 0 }, c = { 0 };

	rig_join(&convoys, &a, rig_at(0, 0));
	a.place = rig_at(0, LEN - 2 * MiB);
	convoy_look(&convoys, MS, true);
	rig_join(&convoys, &b, rig_at(0, LEN - 2 * MiB));
	/* Over the end: a lap more, and the window goes round it. */
	cr_assert(rig_lets_go(&convoys, &b, 1, WINDOW - 2 * MiB - 1));
	cr_assert_not(rig_lets_go(&convoys, &b, 1, WINDOW - 2 * MiB));
	a.place = b.place = rig_at(1, 5 * MiB);
	convoy_look(&convoys, 2 * MS, true);
	rig_join(&convoys, &c, rig_at(1, 5 * MiB));
	cr_assert(rig_lets_go(&convoys, &c, 1, 5 * MiB));
	convoy_leave(&convoys, &a);
	convoy_leave(&convoys, &b);
	convoy_leave(&convoys, &c);
	convoys_close(&convoys);
}

Test(convoy_rules, disks_of_another_base_are_no_company)
{
	struct convoys convoys = rig_new_convoys();
	struct convoy_member a = { 0 }, b = { 0 };
	struct convoy_place begin;

	rig_join(&convoys, &a, rig_at(0, 0));
	convoy_join(&convoys, &b, 8, 0, LEN, &begin);
	cr_assert_not(convoy_is_shared(&a));
	cr_assert_not(convoy_is_shared(&b));
	cr_assert(rig_lets_go(&convoys, &a, 0, LEN - 1));
	convoy_leave(&convoys, &a);
	convoy_leave(&convoys, &b);
	convoys_close(&convoys);
}

Test(convoy_rules, a_job_with_a_limit_of_its_own_holds_none_that_has_another)
{
	struct convoys convoys = rig_new_convoys();
	struct convoy_member a = { 0 }, b = { 0 }, c = { 0 };
	struct convoy_place begin;

	rig_join(&convoys, &a, rig_at(0, 0));
	convoy_join(&convoys, &b, 7, 5 * MiB, LEN, &begin);
	cr_assert_not(convoy_is_shared(&a));
	convoy_join(&convoys, &c, 7, 5 * MiB, LEN, &begin);
	cr_assert(convoy_is_shared(&b) && convoy_is_shared(&c));
	convoy_leave(&convoys, &a);
	convoy_leave(&convoys, &b);
	convoy_leave(&convoys, &c);
	convoys_close(&convoys);
}

Test(convoy_rules, a_short_disk_does_not_wait_for_a_convoy_behind_its_end)
{
	struct convoys convoys = rig_new_convoys();
	struct convoy_member a = { 0 }, b = { 0 };
	struct convoy_place begin;

	rig_join(&convoys, &a, rig_at(0, 0));
	a.place = rig_at(0, LEN / 2);
	convoy_join(&convoys, &b, 7, 0, LEN / 4, &begin);
	cr_assert(!begin.lap && !begin.guest_off);
	cr_assert_not(convoy_is_shared(&b));
	convoy_leave(&convoys, &a);
	convoy_leave(&convoys, &b);
	convoys_close(&convoys);
}

Test(convoy_rules, one_that_has_wrapped_does_not_wait_for_one_far_behind)
{
	struct convoys convoys = rig_new_convoys();
	struct convoy_member a = { 0 }, b = { 0 }, c = { 0 };

	rig_join(&convoys, &a, rig_at(0, 0));
	rig_join(&convoys, &b, rig_at(0, 0));
	rig_join(&convoys, &c, rig_at(0, 0));
	b.place = c.place = rig_at(1, 0);
	a.place = rig_at(0, LEN - 3 * WINDOW);
	b.is_held = true;
	convoy_look(&convoys, MS, true);
	cr_assert_not(convoy_is_shared(&b));
	cr_assert(convoy_is_shared(&a) && convoy_is_shared(&c), "that one was not held");
	convoy_leave(&convoys, &a);
	convoy_leave(&convoys, &b);
	convoy_leave(&convoys, &c);
	convoys_close(&convoys);
}

/* ---- what is kept ---- */

Test(convoy_rules, what_is_kept_goes_behind_the_last)
{
	struct convoys convoys = rig_new_convoys();
	struct convoy_member a = { 0 }, b = { 0 };

	rig_join(&convoys, &a, rig_at(0, 0));
	rig_join(&convoys, &b, rig_at(0, 0));
	for (uint64_t off = 0; off < WINDOW; off += MiB)
		rig_keep(&convoys.kept, off, MiB);
	a.place = rig_at(0, WINDOW);
	b.place = rig_at(0, 2 * MiB - 1);
	convoy_look(&convoys, MS, true);
	cr_assert_null(kept_find(&convoys.kept, 7, 0, MiB));
	cr_assert_not_null(kept_find(&convoys.kept, 7, MiB, 2 * MiB), "the last is in it");
	cr_assert_eq(convoys.kept.len, 7 * MiB);
	convoy_leave(&convoys, &a); /* the last one is alone, and it is kept for it */
	convoy_look(&convoys, 2 * MS, true);
	cr_assert_not_null(kept_find(&convoys.kept, 7, 7 * MiB, 8 * MiB));
	convoy_leave(&convoys, &b);
	convoy_look(&convoys, 3 * MS, true);
	cr_assert_eq(convoys.kept.len, 0);
	convoys_close(&convoys);
}

Test(convoy_rules, a_kept_range_is_found_by_what_it_meets)
{
	struct kept_set set = { .max_len = MiB };
	struct kept *kept;

	rig_keep(&set, 8192, 4096);
	rig_keep(&set, 65536, 4096);
	cr_assert_null(kept_find(&set, 7, 0, 8192));
	cr_assert_null(kept_find(&set, 7, 12288, 65536));
	cr_assert_null(kept_find(&set, 7 + KEPT_N_LISTS, 8192, 12288), "of another layer");
	kept = kept_find(&set, 7, 12287, MiB);
	cr_assert(kept && kept->guest_off == 8192);
	kept = kept_find(&set, 7, 12288, MiB);
	cr_assert(kept && kept->guest_off == 65536);
	cr_assert_null(kept_claim(&set, 7, 0, MiB, 0), "there is no room");
	kept_hold(kept);
	kept_drop(&set, kept);
	cr_assert_null(kept_find(&set, 7, 65536, MiB));
	cr_assert_eq(kept->state, KEPT_HERE, "who holds it can't take it");
	kept_release(&set, kept);
	cr_assert_eq(set.len, 4096);
	kept_drop(&set, kept_find(&set, 7, 8192, 12288));
	cr_assert(!set.len && !set.n);
}
