/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The rules of convoys for members that are slow, hang, or come on again (engine/core/convoy.h).
 */
#include <criterion/criterion.h>

#include "engine/core/convoy.h"
#include "engine/core/convoy_kept.h"
#include "engine/core/kept.h"
#include "io/base.h"
#include "tests/unit/engine/convoys/convoy_rig.h"

/* ---- slow members ---- */

/* Whatever is said of it: its source, a guest elsewhere, no room. */
Test(convoy_rules, one_that_hangs_holds_the_others_for_ten_seconds)
{
	for (unsigned why = 0; why < 3; why++) {
		struct convoys convoys = rig_new_convoys();
		struct convoy_member m[3] = { 0 };
		uint64_t now = 1000 * MS, begun, due;

		rig_three(&convoys, m);
		m[2].awaits_source = why == 0;
		m[0].runs.mean_ns = m[1].runs.mean_ns = m[2].runs.mean_ns = why == 2 ? 0 : 10 * MS;
		convoy_look(&convoys, now, why != 1);
		begun = now;
		while (!rig_lets_go(&convoys, &m[0], 0, WINDOW) && now < begun + 20000 * MS) {
			due = convoy_look(&convoys, now, why != 1);
			cr_assert(due >= now && due <= begun + 10000 * MS, "case %u", why);
			now = due;
		}
		cr_assert_eq(now, begun + 10000 * MS, "case %u: %u ms", why,
			     (unsigned)((now - begun) / MS));
		rig_end_three(&convoys, m);
	}
}

/* Its claimer may end long after, in either way. */
Test(convoy_rules, a_read_that_hangs_is_waited_for_by_none)
{
	struct convoys convoys = rig_new_convoys();
	struct kept_set *set = &convoys.kept;
	struct convoy_member a = { 0 }, b = { 0 };
	struct kept *hung[2], *young;

	rig_join(&convoys, &a, rig_at(0, 0));
	rig_join(&convoys, &b, rig_at(0, 0));
	for (unsigned i = 0; i < 2; i++)
		hung[i] = kept_claim(set, 7, i * MiB, MiB, 1000 * MS);
	young = kept_claim(set, 7, 2 * MiB, MiB, 2000 * MS);
	cr_assert_eq(convoy_look(&convoys, 11000 * MS, true), 11000 * MS);
	cr_assert_eq(convoy_look(&convoys, 11001 * MS, true), 12000 * MS);
	cr_assert(hung[0]->state == KEPT_LOST && young->state == KEPT_COMING);
	cr_assert_null(kept_find(set, 7, 0, MiB));
	kept_fill(set, hung[0], rig_bytes);
	kept_lose(set, hung[1]);
	kept_fill(set, young, rig_bytes);
	convoy_leave(&convoys, &a);
	convoy_leave(&convoys, &b);
	convoys_close(&convoys);
}

Test(convoy_rules, the_slow_one_goes_alone)
{
	struct convoys convoys = rig_new_convoys();
	struct convoy_member m[3] = { 0 };
	uint64_t now = 1000 * MS, due;

	rig_three(&convoys, m);
	while (convoy_is_shared(&m[2])) {
		due = convoy_look(&convoys, now, true);
		cr_assert(due >= now && due <= now + 300 * MS, "it asks for no look");
		now = due;
	}
	cr_assert(now >= 1400 * MS && now <= 1700 * MS, "after %u ms", (unsigned)(now / MS));
	cr_assert(convoy_is_shared(&m[0]));
	cr_assert(rig_lets_go(&convoys, &m[0], 0, WINDOW), "they wait still");
	cr_assert(rig_lets_go(&convoys, &m[2], 0, LEN - 1), "the slow one is held");
	rig_keep(&convoys.kept, 2 * MiB, MiB);
	convoy_look(&convoys, now, true);
	cr_assert(convoy_make_room(&convoys, 2 * WINDOW), "what only it needs holds the others");
	rig_end_three(&convoys, m);
}

/* Devices stall: one that was as fast as the others until now comes on. */
Test(convoy_rules, one_that_was_never_slow_is_waited_for_longer)
{
	for (unsigned n_stalled = 1; n_stalled < 3; n_stalled++) {
		struct convoys convoys = rig_new_convoys();
		struct convoy_member m[3] = { 0 };
		uint64_t now = 1000 * MS;

		rig_three(&convoys, m);
		m[2].runs.mean_ns = 80 * MS;
		if (n_stalled == 2) {
			m[1].place = rig_at(0, MiB / 2);
			m[1].is_held = false;
		}
		while (m[2].convoy == m[0].convoy && now < 9000 * MS)
			now = convoy_look(&convoys, now, true);
		cr_assert(now >= 3800 * MS && now <= 4200 * MS, "after %u ms",
			  (unsigned)(now / MS));
		rig_end_three(&convoys, m);
	}
}

/* A machine that stands still is no member's fault. */
Test(convoy_rules, a_long_time_between_two_looks_is_no_wait)
{
	struct convoys convoys = rig_new_convoys();
	struct convoy_member m[3] = { 0 };

	rig_three(&convoys, m);
	convoy_look(&convoys, 1000 * MS, true);
	convoy_look(&convoys, 9000 * MS, true);
	cr_assert(convoy_is_shared(&m[2]));
	rig_end_three(&convoys, m);
}

Test(convoy_rules, several_slow_ones_go_together)
{
	struct convoys convoys = rig_new_convoys();
	struct convoy_member m[3] = { 0 }, late = { 0 };
	uint64_t now = 1000 * MS;

	rig_three(&convoys, m);
	m[1].place = rig_at(0, MiB / 2);
	m[1].is_held = false;
	m[1].awaits_source = false;
	while (m[0].convoy == m[2].convoy && now < 3000 * MS)
		now = convoy_look(&convoys, now, true);
	cr_assert(convoy_is_shared(&m[1]) && m[1].convoy == m[2].convoy);
	cr_assert_not(convoy_is_shared(&m[0]));
	rig_join(&convoys, &late, rig_at(0, WINDOW)); /* with the faster */
	convoy_leave(&convoys, &late);
	rig_end_three(&convoys, m);
}

static void goes_on(bool has_room, bool awaits_source, bool comes_on, bool others_are_slow)
{
	struct convoys convoys = rig_new_convoys();
	struct convoy_member m[3] = { 0 };
	uint64_t now = 1000 * MS;

	rig_three(&convoys, m);
	m[2].awaits_source = awaits_source;
	for (unsigned i = 0; others_are_slow && i < 2; i++)
		m[i].runs.mean_ns = m[2].runs.mean_ns;
	for (unsigned i = 0; i < 60; i++, now += 50 * MS) {
		m[2].place.guest_off += comes_on ? MiB / 4 : 0;
		convoy_look(&convoys, now, has_room);
	}
	cr_assert_eq(m[0].convoy->n, 3, "a member has left");
	rig_end_three(&convoys, m);
}

Test(convoy_rules, no_member_is_slow_that_waits_for_what_all_wait_for)
{
	goes_on(false, false, false, false); /* buffers */
	goes_on(true, true, false, false);   /* the source */
	goes_on(true, false, true, false);   /* a MiB each 200 ms */
	goes_on(true, false, false, true);   /* no other is faster */
}

/* ---- those that come on again ---- */

/* What a member has not done, of a disk without gaps otherwise: [lo, hi). */
struct undone {
	uint64_t lo, hi;
};

static uint64_t next_undone(void *opaque, uint64_t guest_off)
{
	const struct undone *undone = opaque;

	if (undone->lo >= undone->hi)
		return UINT64_MAX;
	return guest_off >= undone->lo && guest_off < undone->hi ? guest_off : undone->lo;
}

static bool rejoins(struct convoys *convoys, struct convoy_member *m, uint64_t lo, uint64_t hi,
		    struct convoy_place *begin)
{
	struct undone undone = { lo, hi };

	return convoy_rejoin(convoys, m, next_undone, &undone, begin);
}

/* As three(), and the third stalls until the others go on without it. */
static uint64_t part_the_third(struct convoys *convoys, struct convoy_member m[3], uint64_t now)
{
	while (m[2].convoy == m[0].convoy)
		now = convoy_look(convoys, now, true);
	return now;
}

static void leave_all(struct convoys *convoys, struct convoy_member m[3])
{
	for (unsigned i = 0; i < 3; i++)
		convoy_leave(convoys, &m[i]);
	convoys_close(convoys);
}

Test(convoy_rules, one_that_comes_on_rejoins_at_the_others_place)
{
	struct convoys convoys = rig_new_convoys();
	struct convoy_member m[3] = { 0 };
	struct convoy_place begin;
	uint64_t now;

	rig_three(&convoys, m);
	now = part_the_third(&convoys, m, 1000 * MS);
	m[0].place = m[1].place = rig_at(0, 20 * MiB);
	convoy_look(&convoys, now, true);
	cr_assert_not(rejoins(&convoys, &m[2], 0, LEN, &begin), "no run of it has ended");
	convoy_note_run(&m[2], 4000 * MS);
	cr_assert_not(rejoins(&convoys, &m[2], 0, LEN, &begin), "that was the stall");
	convoy_note_run(&m[2], 12 * MS);
	cr_assert_not(rejoins(&convoys, &m[2], 0, 20 * MiB, &begin), "they are past it");
	cr_assert(rejoins(&convoys, &m[2], 0, LEN, &begin));
	cr_assert(begin.lap == 0 && begin.guest_off == 20 * MiB);
	cr_assert_eq(m[2].convoy, m[0].convoy);
	cr_assert_eq(m[0].convoy->n, 3);
	leave_all(&convoys, m);
}

/* What is slow for good would hold them again and again. */
Test(convoy_rules, one_that_is_slow_does_not_rejoin)
{
	struct convoys convoys = rig_new_convoys();
	struct convoy_member m[3] = { 0 };
	struct convoy_place begin;

	rig_three(&convoys, m);
	part_the_third(&convoys, m, 1000 * MS);
	for (unsigned i = 0; i < 100; i++) {
		convoy_note_run(&m[2], 81 * MS);
		cr_assert_not(rejoins(&convoys, &m[2], 0, LEN, &begin));
	}
	leave_all(&convoys, m);
}

Test(convoy_rules, one_that_stalls_often_must_come_on_further_each_time)
{
	struct convoys convoys = rig_new_convoys();
	struct convoy_member m[3] = { 0 };
	struct convoy_place begin;
	uint64_t now = 1000 * MS;

	rig_three(&convoys, m);
	for (unsigned times = 0; times < 6; times++) {
		unsigned n = 0;

		now = part_the_third(&convoys, m, now);
		do {
			convoy_note_run(&m[2], 10 * MS);
			n++;
		} while (!rejoins(&convoys, &m[2], 0, LEN, &begin));
		cr_assert_eq(n, 1u << times);
		m[2].place = begin;
		m[0].place.guest_off += WINDOW;
		m[1].place = m[0].place;
	}
	leave_all(&convoys, m);
}

/* A lap later it is where its gap was. */
Test(convoy_rules, what_one_has_left_out_is_kept_for_it_while_there_is_room)
{
	struct convoys convoys = rig_new_convoys();
	struct kept_set *set = &convoys.kept;
	struct convoy_member m[3] = { 0 };
	struct convoy_place begin;
	uint64_t now;

	rig_three(&convoys, m);
	for (uint64_t i = 0; i < 8; i++) {
		struct kept *kept = kept_claim(set, 7, i * MiB, MiB, i);

		kept_fill(set, kept, rig_bytes);
	}
	now = part_the_third(&convoys, m, 1000 * MS);
	m[0].place = m[1].place = rig_at(0, 30 * MiB);
	convoy_note_run(&m[2], 10 * MS);
	m[2].place = rig_at(0, 2 * MiB);
	convoy_look(&convoys, now, true);
	cr_assert(rejoins(&convoys, &m[2], 2 * MiB, LEN, &begin));
	convoy_look(&convoys, now, true);
	cr_assert_null(kept_find(set, 7, MiB, 2 * MiB), "it had done that");
	cr_assert_eq(set->len, 6 * MiB);
	cr_assert(convoy_make_room(&convoys, 2 * WINDOW - 4 * MiB));
	cr_assert_not_null(kept_find(set, 7, 5 * MiB, 6 * MiB));
	cr_assert_null(kept_find(set, 7, 6 * MiB, 7 * MiB), "the newest goes first");
	for (unsigned i = 0; i < 3; i++)
		m[i].place = rig_at(1, i == 2 ? 4 * MiB : 20 * MiB);
	convoy_look(&convoys, now, true);
	cr_assert_null(kept_find(set, 7, 3 * MiB, 4 * MiB), "it has come round to that");
	cr_assert_not_null(kept_find(set, 7, 4 * MiB, 5 * MiB));
	leave_all(&convoys, m);
}

/* Two members that went on, each by itself, have left out the same range. */
Test(convoy_rules, those_that_come_round_to_a_gap_share_it)
{
	struct convoys convoys = rig_new_convoys();
	struct convoy_member m[3] = { 0 };
	struct convoy_place begin;

	rig_three(&convoys, m);
	m[0].is_held = m[1].is_held = true;
	m[0].place = rig_at(1, 10 * MiB);
	m[1].place = rig_at(1, 11 * MiB);
	m[2].place = rig_at(0, 30 * MiB); /* far from the end: they do not wait */
	convoy_look(&convoys, MS, true);
	cr_assert(m[0].convoy != m[1].convoy && !convoy_is_shared(&m[0]));
	cr_assert_not(rejoins(&convoys, &m[0], 20 * MiB, 21 * MiB, &begin), "nothing near");
	cr_assert(rejoins(&convoys, &m[1], 8 * MiB, 20 * MiB, &begin));
	cr_assert(begin.lap == 1 && begin.guest_off == 10 * MiB);
	cr_assert_eq(m[0].convoy, m[1].convoy);
	cr_assert_not(rejoins(&convoys, &m[0], 10 * MiB, 20 * MiB, &begin), "to one that is alone");
	leave_all(&convoys, m);
}

Test(convoy_rules, those_that_have_wrapped_wait_for_the_last_near_the_end)
{
	struct convoys convoys = rig_new_convoys();
	struct convoy_member m[3] = { 0 };

	rig_three(&convoys, m);
	m[0].place = m[1].place = rig_at(1, 30 * MiB);
	m[2].place = rig_at(0, LEN - WINDOW);
	convoy_look(&convoys, MS, true);
	cr_assert_eq(m[0].convoy->n, 3);
	leave_all(&convoys, m);
}

/* A convoy of parted members takes new ones once those that it was parted from have ended. */
Test(convoy_rules, a_new_job_joins_what_is_left)
{
	struct convoys convoys = rig_new_convoys();
	struct convoy_member m[3] = { 0 }, late = { 0 };

	rig_three(&convoys, m);
	part_the_third(&convoys, m, 1000 * MS);
	convoy_leave(&convoys, &m[0]);
	convoy_leave(&convoys, &m[1]);
	m[2].place = rig_at(0, MiB);
	rig_join(&convoys, &late, rig_at(0, MiB));
	cr_assert(convoy_is_shared(&m[2]));
	convoy_leave(&convoys, &late);
	leave_all(&convoys, m);
}

/* Among two hundred members on a busy device some member has always just had a few fast runs. */
Test(convoy_rules, the_others_patience_is_what_most_of_them_need)
{
	struct convoys convoys = rig_new_convoys();
	struct convoy_member m[5] = { 0 };
	uint64_t now = 1000 * MS;

	for (unsigned i = 0; i < 5; i++) {
		rig_join(&convoys, &m[i], rig_at(0, 0));
		convoy_note_run(&m[i], (i ? 400 : 5) * MS);
	}
	for (unsigned i = 0; i < 4; i++) {
		m[i].place = rig_at(0, WINDOW);
		m[i].is_held = true;
	}
	while (m[4].convoy == m[0].convoy && now < 9000 * MS)
		now = convoy_look(&convoys, now, true);
	cr_assert(now >= 3900 * MS, "after %u ms", (unsigned)(now / MS));
	for (unsigned i = 0; i < 5; i++)
		convoy_leave(&convoys, &m[i]);
	convoys_close(&convoys);
}
