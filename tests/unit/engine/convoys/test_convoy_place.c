/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Where members of a convoy are and how far apart: engine/core/convoy_place.h. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "engine/core/convoy_place.h"
#include "io/base.h"
#include "tests/unit/engine/convoys/convoy_rig.h"

Test(convoy_place, the_windows_of_all_convoys_share_half_of_what_is_kept)
{
	struct convoy alone = { .n = 1 }, two = { .n = 2, .next = &alone },
		      three = { .n = 3, .next = &two };
	struct convoys all = { .kept.max_len = 12 * MiB };

	cr_assert_eq(convoy_window_len(&all), 6 * MiB);
	all.first = &two;
	cr_assert_eq(convoy_window_len(&all), 6 * MiB, "one that goes alone needs none");
	all.first = &three;
	cr_assert_eq(convoy_window_len(&all), 3 * MiB);
	all.kept.max_len = 0;
	cr_assert_eq(convoy_window_len(&all), 64 * KiB, "there is always one");
}

Test(convoy_place, an_offset_before_a_place_is_a_lap_later)
{
	struct convoy_place from = rig_at(3, 100), at;

	at = convoy_place_from(&from, 100);
	cr_assert(at.lap == 3 && at.guest_off == 100);
	at = convoy_place_from(&from, 99);
	cr_assert(at.lap == 4 && at.guest_off == 99);
}

Test(convoy_place, a_distance_wraps_once)
{
	struct convoy_member small = { .len = 500 }, large = { .len = 1000, .next = &small };
	struct convoy convoy = { .members = &large, .last = { 5, 300 } };
	struct convoy_place at = rig_at(5, 300);

	cr_assert_eq(convoy_round_len(&convoy), 1000);
	cr_assert_eq(convoy_distance(&convoy, &at), 0);
	at = rig_at(5, 299);
	cr_assert_eq(convoy_distance(&convoy, &at), 0, "it is behind");
	at = rig_at(5, 310);
	cr_assert_eq(convoy_distance(&convoy, &at), 10);
	at = rig_at(6, 20);
	cr_assert_eq(convoy_distance(&convoy, &at), 720);
	at = rig_at(7, 0);
	cr_assert_eq(convoy_distance(&convoy, &at), UINT64_MAX);
	convoy.last.guest_off = 1200; /* a disk that has become shorter than that place */
	at = rig_at(6, 20);
	cr_assert_eq(convoy_distance(&convoy, &at), 20);
}

Test(convoy_place, the_mean_of_runs_leaves_out_what_is_not_known)
{
	struct convoy_member last = { .place = { 0, 5 }, .runs.mean_ns = 900 };
	struct convoy_member new = { .place = { 0, 9 * MiB }, .next = &last };
	struct convoy_member quick = { .place = { 1, 0 }, .runs.mean_ns = 100, .next = &new };
	struct convoy convoy = { .members = &quick };

	convoy_find_last(&convoy);
	cr_assert(convoy.last.lap == 0 && convoy.last.guest_off == 5);
	cr_assert_eq(convoy_run_ns(&convoy, false), 500);
	cr_assert_eq(convoy_run_ns(&convoy, true), 100);
	quick.runs.mean_ns = 0;
	cr_assert_eq(convoy_run_ns(&convoy, true), 0);
}

/* The last member is the one that no other is before; all in its MiB are among the last. */
Test(convoy_place, drawn_members_have_a_last_one)
{
	for (unsigned seed = 1; seed <= 200; seed++) {
		struct convoy_member m[8] = { 0 };
		struct convoy convoy = { .members = m };

		srand(seed);
		for (unsigned i = 0; i < ARRAY_LEN(m); i++) {
			m[i].place = rig_at((uint64_t)rand() % 2, (uint64_t)rand() % (4 * MiB));
			m[i].next = i + 1 < ARRAY_LEN(m) ? &m[i + 1] : NULL;
		}
		convoy_find_last(&convoy);
		for (unsigned i = 0; i < ARRAY_LEN(m); i++) {
			bool is_near = m[i].place.lap == convoy.last.lap &&
				       m[i].place.guest_off >> 20 == convoy.last.guest_off >> 20;

			cr_assert_not(convoy_is_before(&m[i].place, &convoy.last), "seed %u", seed);
			cr_assert_eq(convoy_is_last(&convoy, &m[i]), is_near, "seed %u", seed);
		}
	}
}
