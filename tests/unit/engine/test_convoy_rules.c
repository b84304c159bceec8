/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Promises of engine/core/convoy.c and kept.c: no member is further ahead of the
 * last than a window, the last one is never held, a member that is slow for reasons of its
 * own goes alone and no other does, and what is kept is there until the last has passed.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "engine/core/convoy.h"
#include "engine/core/convoy_kept.h"
#include "engine/core/kept.h"
#include "io/base.h"

#define MS     UINT64_C(1000000)
#define LEN    (64 * MiB)
#define WINDOW (8 * MiB)

static struct convoys new_convoys(void)
{
	return (struct convoys){ .max_len = 2 * WINDOW };
}

static struct convoy_place at(uint64_t lap, uint64_t guest_off)
{
	return (struct convoy_place){ lap, guest_off };
}

static void join(struct convoys *convoys, struct convoy_member *m, struct convoy_place want)
{
	struct convoy_place begin;

	convoy_join(convoys, m, 7, 0, LEN, &begin);
	cr_assert_eq(begin.lap, want.lap);
	cr_assert_eq(begin.guest_off, want.guest_off);
	m->place = begin;
}

static bool lets_go(const struct convoys *convoys, const struct convoy_member *m, uint64_t lap,
		    uint64_t guest_off)
{
	struct convoy_place place = at(lap, guest_off);

	return convoy_lets_go(convoys, m, &place);
}

Test(convoy_rules, holds_a_member_a_window_ahead_and_never_the_last)
{
	struct convoys convoys = new_convoys();
	struct convoy_member a = { 0 }, b = { 0 };

	join(&convoys, &a, at(0, 0));
	cr_assert(lets_go(&convoys, &a, 0, LEN - 1), "alone");
	join(&convoys, &b, at(0, 0));
	cr_assert(lets_go(&convoys, &a, 0, WINDOW - 1));
	cr_assert_not(lets_go(&convoys, &a, 0, WINDOW));
	b.place = at(0, 3 * MiB);
	a.place = at(0, WINDOW);
	convoy_look(&convoys, MS, true);
	cr_assert(lets_go(&convoys, &a, 0, WINDOW + 3 * MiB - 1));
	cr_assert_not(lets_go(&convoys, &a, 0, WINDOW + 3 * MiB));
	cr_assert(lets_go(&convoys, &b, 0, 3 * MiB));
	cr_assert(lets_go(&convoys, &b, 0, 2 * MiB), "it goes back");
	convoy_leave(&convoys, &b);
	convoy_look(&convoys, 2 * MS, true);
	cr_assert(lets_go(&convoys, &a, 0, LEN - 1), "alone again");
	convoy_leave(&convoys, &a);
	convoys_close(&convoys);
}

Test(convoy_rules, a_late_one_begins_with_the_last_and_wraps)
{
	struct convoys convoys = new_convoys();
	struct convoy_member a = { 0 }, b = { 0 }, c = { 0 };

	join(&convoys, &a, at(0, 0));
	a.place = at(0, LEN - 2 * MiB);
	convoy_look(&convoys, MS, true);
	join(&convoys, &b, at(0, LEN - 2 * MiB));
	/* Over the end: a lap more, and the window goes round it. */
	cr_assert(lets_go(&convoys, &b, 1, WINDOW - 2 * MiB - 1));
	cr_assert_not(lets_go(&convoys, &b, 1, WINDOW - 2 * MiB));
	a.place = b.place = at(1, 5 * MiB);
	convoy_look(&convoys, 2 * MS, true);
	join(&convoys, &c, at(1, 5 * MiB));
	cr_assert(lets_go(&convoys, &c, 1, 5 * MiB));
	convoy_leave(&convoys, &a);
	convoy_leave(&convoys, &b);
	convoy_leave(&convoys, &c);
	convoys_close(&convoys);
}

Test(convoy_rules, disks_of_another_base_are_no_company)
{
	struct convoys convoys = new_convoys();
	struct convoy_member a = { 0 }, b = { 0 };
	struct convoy_place begin;

	join(&convoys, &a, at(0, 0));
	convoy_join(&convoys, &b, 8, 0, LEN, &begin);
	cr_assert_not(convoy_is_shared(&a));
	cr_assert_not(convoy_is_shared(&b));
	cr_assert(lets_go(&convoys, &a, 0, LEN - 1));
	convoy_leave(&convoys, &a);
	convoy_leave(&convoys, &b);
	convoys_close(&convoys);
}

Test(convoy_rules, a_job_with_a_limit_of_its_own_holds_none_that_has_another)
{
	struct convoys convoys = new_convoys();
	struct convoy_member a = { 0 }, b = { 0 }, c = { 0 };
	struct convoy_place begin;

	join(&convoys, &a, at(0, 0));
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
	struct convoys convoys = new_convoys();
	struct convoy_member a = { 0 }, b = { 0 };
	struct convoy_place begin;

	join(&convoys, &a, at(0, 0));
	a.place = at(0, LEN / 2);
	convoy_join(&convoys, &b, 7, 0, LEN / 4, &begin);
	cr_assert(!begin.lap && !begin.guest_off);
	cr_assert_not(convoy_is_shared(&b));
	convoy_leave(&convoys, &a);
	convoy_leave(&convoys, &b);
	convoys_close(&convoys);
}

Test(convoy_rules, one_that_has_wrapped_does_not_wait_for_one_far_behind)
{
	struct convoys convoys = new_convoys();
	struct convoy_member a = { 0 }, b = { 0 }, c = { 0 };

	join(&convoys, &a, at(0, 0));
	join(&convoys, &b, at(0, 0));
	join(&convoys, &c, at(0, 0));
	b.place = c.place = at(1, 0);
	a.place = at(0, LEN - 3 * WINDOW);
	b.is_held = true;
	convoy_look(&convoys, MS, true);
	cr_assert_not(convoy_is_shared(&b));
	cr_assert(convoy_is_shared(&a) && convoy_is_shared(&c), "that one was not held");
	convoy_leave(&convoys, &a);
	convoy_leave(&convoys, &b);
	convoy_leave(&convoys, &c);
	convoys_close(&convoys);
}

static const uint8_t bytes[KEPT_MAX_LEN];

static void keep(struct kept_set *set, uint64_t guest_off, uint32_t len)
{
	struct kept *kept = kept_claim(set, 7, guest_off, len, 0);

	cr_assert_not_null(kept);
	kept_fill(set, kept, bytes);
}

/* ---- slow members ---- */

/* a and b are at the window's end, c is behind. */
static void three(struct convoys *convoys, struct convoy_member m[3])
{
	for (unsigned i = 0; i < 3; i++) {
		join(convoys, &m[i], at(0, 0));
		convoy_note_run(&m[i], (i == 2 ? 500 : 10) * MS);
	}
	m[0].place = m[1].place = at(0, WINDOW);
	m[0].is_held = m[1].is_held = true;
}

/* Whatever is said of it: its source, a guest elsewhere, no room. */
Test(convoy_rules, one_that_hangs_holds_the_others_for_ten_seconds)
{
	for (unsigned why = 0; why < 3; why++) {
		struct convoys convoys = new_convoys();
		struct convoy_member m[3] = { 0 };
		uint64_t now = 1000 * MS, begun, due;

		three(&convoys, m);
		m[2].awaits_source = why == 0;
		m[0].runs.mean_ns = m[1].runs.mean_ns = m[2].runs.mean_ns = why == 2 ? 0 : 10 * MS;
		convoy_look(&convoys, now, why != 1);
		begun = now;
		while (!lets_go(&convoys, &m[0], 0, WINDOW) && now < begun + 20000 * MS) {
			due = convoy_look(&convoys, now, why != 1);
			cr_assert(due >= now && due <= begun + 10000 * MS, "case %u", why);
			now = due;
		}
		cr_assert_eq(now, begun + 10000 * MS, "case %u: %u ms", why,
			     (unsigned)((now - begun) / MS));
		for (unsigned i = 0; i < 3; i++)
			convoy_leave(&convoys, &m[i]);
		convoys_close(&convoys);
	}
}

/* Its claimer may end long after, in either way. */
Test(convoy_rules, a_read_that_hangs_is_waited_for_by_none)
{
	struct convoys convoys = new_convoys();
	struct kept_set *set = &convoys.kept;
	struct convoy_member a = { 0 }, b = { 0 };
	struct kept *hung[2], *young;

	join(&convoys, &a, at(0, 0));
	join(&convoys, &b, at(0, 0));
	for (unsigned i = 0; i < 2; i++)
		hung[i] = kept_claim(set, 7, i * MiB, MiB, 1000 * MS);
	young = kept_claim(set, 7, 2 * MiB, MiB, 2000 * MS);
	cr_assert_eq(convoy_look(&convoys, 11000 * MS, true), 11000 * MS);
	cr_assert_eq(convoy_look(&convoys, 11001 * MS, true), 12000 * MS);
	cr_assert(hung[0]->state == KEPT_LOST && young->state == KEPT_COMING);
	cr_assert_null(kept_find(set, 7, 0, MiB));
	kept_fill(set, hung[0], bytes);
	kept_lose(set, hung[1]);
	kept_fill(set, young, bytes);
	convoy_leave(&convoys, &a);
	convoy_leave(&convoys, &b);
	convoys_close(&convoys);
}

Test(convoy_rules, the_slow_one_goes_alone)
{
	struct convoys convoys = new_convoys();
	struct convoy_member m[3] = { 0 };
	uint64_t now = 1000 * MS, due;

	three(&convoys, m);
	while (convoy_is_shared(&m[2])) {
		due = convoy_look(&convoys, now, true);
		cr_assert(due >= now && due <= now + 300 * MS, "it asks for no look");
		now = due;
	}
	cr_assert(now >= 1400 * MS && now <= 1700 * MS, "after %u ms", (unsigned)(now / MS));
	cr_assert(convoy_is_shared(&m[0]));
	cr_assert(lets_go(&convoys, &m[0], 0, WINDOW), "they wait still");
	cr_assert(lets_go(&convoys, &m[2], 0, LEN - 1), "the slow one is held");
	keep(&convoys.kept, 2 * MiB, MiB);
	convoy_look(&convoys, now, true);
	cr_assert(convoy_make_room(&convoys, 2 * WINDOW), "what only it needs holds the others");
	for (unsigned i = 0; i < 3; i++)
		convoy_leave(&convoys, &m[i]);
	convoys_close(&convoys);
}

/* Devices stall: one that was as fast as the others until now comes on. */
Test(convoy_rules, one_that_was_never_slow_is_waited_for_longer)
{
	for (unsigned n_stalled = 1; n_stalled < 3; n_stalled++) {
		struct convoys convoys = new_convoys();
		struct convoy_member m[3] = { 0 };
		uint64_t now = 1000 * MS;

		three(&convoys, m);
		m[2].runs.mean_ns = 80 * MS;
		if (n_stalled == 2) {
			m[1].place = at(0, MiB / 2);
			m[1].is_held = false;
		}
		while (m[2].convoy == m[0].convoy && now < 9000 * MS)
			now = convoy_look(&convoys, now, true);
		cr_assert(now >= 3800 * MS && now <= 4200 * MS, "after %u ms",
			  (unsigned)(now / MS));
		for (unsigned i = 0; i < 3; i++)
			convoy_leave(&convoys, &m[i]);
		convoys_close(&convoys);
	}
}

/* A machine that stands still is no member's fault. */
Test(convoy_rules, a_long_time_between_two_looks_is_no_wait)
{
	struct convoys convoys = new_convoys();
	struct convoy_member m[3] = { 0 };

	three(&convoys, m);
	convoy_look(&convoys, 1000 * MS, true);
	convoy_look(&convoys, 9000 * MS, true);
	cr_assert(convoy_is_shared(&m[2]));
	for (unsigned i = 0; i < 3; i++)
		convoy_leave(&convoys, &m[i]);
	convoys_close(&convoys);
}

Test(convoy_rules, several_slow_ones_go_together)
{
	struct convoys convoys = new_convoys();
	struct convoy_member m[3] = { 0 }, late = { 0 };
	uint64_t now = 1000 * MS;

	three(&convoys, m);
	m[1].place = at(0, MiB / 2);
	m[1].is_held = false;
	m[1].awaits_source = false;
	while (m[0].convoy == m[2].convoy && now < 3000 * MS)
		now = convoy_look(&convoys, now, true);
	cr_assert(convoy_is_shared(&m[1]) && m[1].convoy == m[2].convoy);
	cr_assert_not(convoy_is_shared(&m[0]));
	join(&convoys, &late, at(0, WINDOW)); /* with the faster */
	convoy_leave(&convoys, &late);
	for (unsigned i = 0; i < 3; i++)
		convoy_leave(&convoys, &m[i]);
	convoys_close(&convoys);
}

static void goes_on(bool has_room, bool awaits_source, bool comes_on, bool others_are_slow)
{
	struct convoys convoys = new_convoys();
	struct convoy_member m[3] = { 0 };
	uint64_t now = 1000 * MS;

	three(&convoys, m);
	m[2].awaits_source = awaits_source;
	for (unsigned i = 0; others_are_slow && i < 2; i++)
		m[i].runs.mean_ns = m[2].runs.mean_ns;
	for (unsigned i = 0; i < 60; i++, now += 50 * MS) {
		m[2].place.guest_off += comes_on ? MiB / 4 : 0;
		convoy_look(&convoys, now, has_room);
	}
	cr_assert_eq(m[0].convoy->n, 3, "a member has left");
	for (unsigned i = 0; i < 3; i++)
		convoy_leave(&convoys, &m[i]);
	convoys_close(&convoys);
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
	struct convoys convoys = new_convoys();
	struct convoy_member m[3] = { 0 };
	struct convoy_place begin;
	uint64_t now;

	three(&convoys, m);
	now = part_the_third(&convoys, m, 1000 * MS);
	m[0].place = m[1].place = at(0, 20 * MiB);
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
	struct convoys convoys = new_convoys();
	struct convoy_member m[3] = { 0 };
	struct convoy_place begin;

	three(&convoys, m);
	part_the_third(&convoys, m, 1000 * MS);
	for (unsigned i = 0; i < 100; i++) {
		convoy_note_run(&m[2], 81 * MS);
		cr_assert_not(rejoins(&convoys, &m[2], 0, LEN, &begin));
	}
	leave_all(&convoys, m);
}

Test(convoy_rules, one_that_stalls_often_must_come_on_further_each_time)
{
	struct convoys convoys = new_convoys();
	struct convoy_member m[3] = { 0 };
	struct convoy_place begin;
	uint64_t now = 1000 * MS;

	three(&convoys, m);
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
	struct convoys convoys = new_convoys();
	struct kept_set *set = &convoys.kept;
	struct convoy_member m[3] = { 0 };
	struct convoy_place begin;
	uint64_t now;

	three(&convoys, m);
	for (uint64_t i = 0; i < 8; i++) {
		struct kept *kept = kept_claim(set, 7, i * MiB, MiB, i);

		kept_fill(set, kept, bytes);
	}
	now = part_the_third(&convoys, m, 1000 * MS);
	m[0].place = m[1].place = at(0, 30 * MiB);
	convoy_note_run(&m[2], 10 * MS);
	m[2].place = at(0, 2 * MiB);
	convoy_look(&convoys, now, true);
	cr_assert(rejoins(&convoys, &m[2], 2 * MiB, LEN, &begin));
	convoy_look(&convoys, now, true);
	cr_assert_null(kept_find(set, 7, MiB, 2 * MiB), "it had done that");
	cr_assert_eq(set->len, 6 * MiB);
	cr_assert(convoy_make_room(&convoys, 2 * WINDOW - 4 * MiB));
	cr_assert_not_null(kept_find(set, 7, 5 * MiB, 6 * MiB));
	cr_assert_null(kept_find(set, 7, 6 * MiB, 7 * MiB), "the newest goes first");
	for (unsigned i = 0; i < 3; i++)
		m[i].place = at(1, i == 2 ? 4 * MiB : 20 * MiB);
	convoy_look(&convoys, now, true);
	cr_assert_null(kept_find(set, 7, 3 * MiB, 4 * MiB), "it has come round to that");
	cr_assert_not_null(kept_find(set, 7, 4 * MiB, 5 * MiB));
	leave_all(&convoys, m);
}

/* They have left the same out, each for itself. */
Test(convoy_rules, those_that_come_round_to_a_gap_share_it)
{
	struct convoys convoys = new_convoys();
	struct convoy_member m[3] = { 0 };
	struct convoy_place begin;

	three(&convoys, m);
	m[0].is_held = m[1].is_held = true;
	m[0].place = at(1, 10 * MiB);
	m[1].place = at(1, 11 * MiB);
	m[2].place = at(0, 30 * MiB); /* far from the end: they do not wait */
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
	struct convoys convoys = new_convoys();
	struct convoy_member m[3] = { 0 };

	three(&convoys, m);
	m[0].place = m[1].place = at(1, 30 * MiB);
	m[2].place = at(0, LEN - WINDOW);
	convoy_look(&convoys, MS, true);
	cr_assert_eq(m[0].convoy->n, 3);
	leave_all(&convoys, m);
}

/* Where those that it was parted from have ended, one is no stray. */
Test(convoy_rules, a_new_job_joins_what_is_left)
{
	struct convoys convoys = new_convoys();
	struct convoy_member m[3] = { 0 }, late = { 0 };

	three(&convoys, m);
	part_the_third(&convoys, m, 1000 * MS);
	convoy_leave(&convoys, &m[0]);
	convoy_leave(&convoys, &m[1]);
	m[2].place = at(0, MiB);
	join(&convoys, &late, at(0, MiB));
	cr_assert(convoy_is_shared(&m[2]));
	convoy_leave(&convoys, &late);
	leave_all(&convoys, m);
}

/* Two hundred on a busy device: one has always just had a few fast runs. */
Test(convoy_rules, the_others_patience_is_what_most_of_them_need)
{
	struct convoys convoys = new_convoys();
	struct convoy_member m[5] = { 0 };
	uint64_t now = 1000 * MS;

	for (unsigned i = 0; i < 5; i++) {
		join(&convoys, &m[i], at(0, 0));
		convoy_note_run(&m[i], (i ? 400 : 5) * MS);
	}
	for (unsigned i = 0; i < 4; i++) {
		m[i].place = at(0, WINDOW);
		m[i].is_held = true;
	}
	while (m[4].convoy == m[0].convoy && now < 9000 * MS)
		now = convoy_look(&convoys, now, true);
	cr_assert(now >= 3900 * MS, "after %u ms", (unsigned)(now / MS));
	for (unsigned i = 0; i < 5; i++)
		convoy_leave(&convoys, &m[i]);
	convoys_close(&convoys);
}

/* ---- what is kept ---- */

Test(convoy_rules, what_is_kept_goes_behind_the_last)
{
	struct convoys convoys = new_convoys();
	struct convoy_member a = { 0 }, b = { 0 };

	join(&convoys, &a, at(0, 0));
	join(&convoys, &b, at(0, 0));
	for (uint64_t off = 0; off < WINDOW; off += MiB)
		keep(&convoys.kept, off, MiB);
	a.place = at(0, WINDOW);
	b.place = at(0, 2 * MiB - 1);
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

	keep(&set, 8192, 4096);
	keep(&set, 65536, 4096);
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
