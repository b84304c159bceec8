/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Promises of engine/core/rate/converge.c: a commit comes to its end beside any guest, the guest
 * waits for a little at that end, and one that writes less than the job copies is never slowed.
 */
#include <criterion/criterion.h>

#include "engine/core/rate/converge.h"
#include "io/base.h"

/* Bytes a step of a millisecond. */
struct world {
	uint64_t job, guest; /* what each moves */
	uint64_t disk_len;   /* what the guest writes over and over */
	uint64_t in_flight;  /* what comes yet when it is to wait */
	uint64_t rate;       /* the job's limit, bytes/s */
};

struct played {
	uint64_t looks, slowed_ms, longest_ms, rest;
};

/* Until the guest is held for the rest; so many looks mean never. */
static struct played play(const struct world *w)
{
	struct converge c = { 0 };
	struct played p = { 0 };
	uint64_t written = w->disk_len, waits_ms = 0;

	while (!converge_is_near(&c, written, w->rate) && c.n_looks < 1000) {
		uint64_t left;
		bool was_slowed = false;

		converge_look(&c, written);
		left = written;
		written = 0;
		while (left) {
			bool is_slowed = converge_is_too_fast(&c, left, written, w->rate);
			uint64_t more = !is_slowed ? w->guest : was_slowed ? 0 : w->in_flight;

			written = MIN(written + more, w->disk_len);
			left -= MIN(left, w->job);
			waits_ms = is_slowed ? waits_ms + 1 : 0;
			p.slowed_ms += is_slowed;
			p.longest_ms = MAX(p.longest_ms, waits_ms);
			was_slowed = is_slowed;
		}
	}
	p.looks = c.n_looks;
	p.rest = written;
	return p;
}

Test(converge, it_ends_beside_a_guest_that_writes_faster_than_it_copies)
{
	for (uint64_t times = 1; times < 40; times += 3) {
		struct world w = { .job = 512 * KiB,
				   .guest = times * 512 * KiB,
				   .disk_len = 8 * GiB };
		struct played p = play(&w);

		cr_assert_leq(p.looks, 5 + 12, "%u looks", (unsigned)p.looks);
		cr_assert_leq(p.rest, 4 * MiB + 2 * w.guest);
		cr_assert_leq(p.longest_ms, 100, "it waited for %u ms", (unsigned)p.longest_ms);
	}
}

/* Nothing holds what has begun: it need not become less than that. */
Test(converge, it_ends_whatever_is_in_flight)
{
	for (uint64_t flight = 0; flight <= 64 * MiB; flight += 4 * MiB) {
		struct world w = { .job = 512 * KiB,
				   .guest = 16 * MiB,
				   .disk_len = 1 * GiB,
				   .in_flight = flight };
		struct played p = play(&w);

		cr_assert_leq(p.looks, 4 + 24, "%u looks", (unsigned)p.looks);
		cr_assert_leq(p.rest, 4 * MiB + 3 * flight + 2 * w.guest);
	}
}

Test(converge, a_limited_job_holds_its_guest_for_a_quarter_of_a_second)
{
	struct world w = {
		.job = 2 * KiB, .guest = 16 * KiB, .disk_len = 64 * MiB, .rate = 2000 * KiB
	};
	struct played p = play(&w);

	cr_assert_leq(p.rest / w.job, 250 + 16);
	cr_assert_lt(p.looks, 1000);
}

Test(converge, a_slow_guest_is_never_slowed)
{
	for (uint64_t guest = 0; guest <= 200 * KiB; guest += 50 * KiB) {
		struct world w = { .job = 512 * KiB, .guest = guest, .disk_len = 8 * GiB };

		cr_assert_eq(play(&w).slowed_ms, 0, "%u KiB/ms", (unsigned)(guest / KiB));
	}
}

Test(converge, a_guest_goes_on_while_all_is_read_back)
{
	struct converge c = { 0 };

	for (unsigned i = 0; i <= CONVERGE_FREE_LOOKS; i++)
		converge_look(&c, 64 * MiB);
	cr_assert(converge_is_too_fast(&c, 0, 40 * MiB, 0));
	/* It waits no longer when some is read, and it must not write as much as was found. */
	cr_assert_not(converge_is_too_fast(&c, 0, converge_count_written(&c, 40 * MiB, 3, 4), 0));
	cr_assert(converge_is_too_fast(&c, 0, converge_count_written(&c, 50 * MiB, 4, 4), 0));
	cr_assert_eq(converge_count_written(&c, 1 * MiB, 4, 4), 0);
	cr_assert_eq(converge_count_written(&c, 5, 0, 0), 5);
}
