/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Promises of engine/core/rate/limiter.c: N bytes at a rate take N / rate, whatever the
 * request sizes; no window exceeds rate x time + burst; changes act at once.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

#include "engine/core/rate/limiter.h"
#include "io/base.h"

#define NS UINT64_C(1000000000)

/* Done at once. */
static void charge(struct limiter *l, uint64_t now_ns, uint64_t bytes)
{
	limiter_charge(l, now_ns, bytes);
	limiter_done(l, now_ns, bytes);
}

/* Sends `total` bytes in requests of random size up to max_len as early as allowed; returns when
 * the last one went. */
static uint64_t send_all(struct limiter *l, uint64_t now_ns, uint64_t total, uint64_t max_len)
{
	while (total) {
		uint64_t len = MIN(total, 1 + (uint64_t)rand() % max_len), at_ns;

		at_ns = limiter_ready_ns(l, now_ns, len);
		if (at_ns > now_ns)
			cr_assert_gt(limiter_ready_ns(l, at_ns - 1, len), at_ns - 1,
				     "it would have been ready earlier than it said");
		now_ns = MAX(now_ns, at_ns);
		cr_assert_leq(limiter_ready_ns(l, now_ns, len), now_ns);
		charge(l, now_ns, len);
		total -= len;
	}
	return now_ns;
}

Test(limiter, unlimited_is_always_ready)
{
	struct limiter l = { 0 };

	cr_assert_eq(limiter_ready_ns(&l, 5, UINT64_MAX), 5);
	charge(&l, 5, UINT64_MAX);
	cr_assert_eq(limiter_ready_ns(&l, 5, 1), 5);
}

Test(limiter, exact_over_time_for_any_request_size)
{
	static const uint64_t rates[] = { 1, 1000, 64 * KiB, MiB + 7, 16 * MiB, GiB, 40 * GiB };
	static const uint64_t sizes[] = { 1, 4096, 65536, MiB };

	for (unsigned i = 0; i < ARRAY_LEN(rates); i++)
		for (unsigned j = 0; j < ARRAY_LEN(sizes); j++) {
			/* About a thousand requests. */
			uint64_t total = sizes[j] * 500 + 1, start_ns = 77 * NS, end_ns;
			struct limiter l = { 0 };
			double want;

			srand(i * 100 + j);
			limiter_set(&l, start_ns, rates[i], 0);
			end_ns = send_all(&l, start_ns, total, sizes[j]);
			want = (double)total / rates[i] * NS;
			/* Never early by more than a bucket the last request may owe. */
			cr_assert_geq((double)(end_ns - start_ns) + 1,
				      want - (double)MAX(sizes[j], l.burst) / rates[i] * NS);
			cr_assert_leq((double)(end_ns - start_ns), want * 1.000001 + 2,
				      "rate %" PRIu64 " size %" PRIu64, rates[i], sizes[j]);
		}
}

Test(limiter, a_new_limiter_has_no_tokens)
{
	struct limiter l = { 0 };

	limiter_set(&l, 0, 1000, 100);
	cr_assert_eq(limiter_ready_ns(&l, 0, 50), 50 * NS / 1000);
}

Test(limiter, idle_time_earns_a_burst_and_no_more)
{
	struct limiter l = { 0 };

	limiter_set(&l, 0, 1000, 100);
	cr_assert_eq(limiter_ready_ns(&l, 3600 * NS, 100), 3600 * NS);
	charge(&l, 3600 * NS, 100);
	cr_assert_eq(limiter_ready_ns(&l, 3600 * NS, 1), 3600 * NS + NS / 1000);
}

Test(limiter, larger_than_the_bucket_is_paid_afterwards)
{
	struct limiter l = { 0 };

	limiter_set(&l, 0, 1000, 100);
	cr_assert_eq(limiter_ready_ns(&l, NS, 5000), NS);
	charge(&l, NS, 5000);
	/* 4900 owed, and 100 for the next full bucket. */
	cr_assert_eq(limiter_ready_ns(&l, NS, 5000), NS + 5 * NS);
}

Test(limiter, a_change_acts_at_once)
{
	struct limiter l = { 0 };

	limiter_set(&l, 0, 1, 1);
	cr_assert_eq(limiter_ready_ns(&l, 0, MiB), NS);
	limiter_set(&l, 1, MiB, MiB);
	cr_assert_leq(limiter_ready_ns(&l, 1, MiB), NS + 2);
	limiter_set(&l, 2, 0, 0);
	cr_assert_eq(limiter_ready_ns(&l, 2, MiB), 2);
	/* Limited again: what went meanwhile earns nothing. */
	limiter_set(&l, 9 * NS, 1000, 1000);
	cr_assert_eq(limiter_ready_ns(&l, 9 * NS, 1000), 10 * NS);
}

Test(limiter, no_window_exceeds_rate_and_burst)
{
	for (unsigned seed = 1; seed <= 20; seed++) {
		struct limiter l = { 0 };
		uint64_t now_ns = 0, rate, window_ns = NS / 10, at_ns[2000], len[2000];

		srand(seed);
		rate = MiB + (uint64_t)rand() % GiB;
		limiter_set(&l, 0, rate, 0);
		for (unsigned i = 0; i < ARRAY_LEN(at_ns); i++) {
			len[i] = 1 + (uint64_t)rand() % (64 * KiB);
			now_ns += rand() % 3 ? 0 : (uint64_t)rand() % (NS / 1000);
			now_ns = MAX(now_ns, limiter_ready_ns(&l, now_ns, len[i]));
			charge(&l, now_ns, len[i]);
			at_ns[i] = now_ns;
		}
		for (unsigned i = 0; i < ARRAY_LEN(at_ns); i++) {
			uint64_t sum = 0;

			for (unsigned j = i;
			     j < ARRAY_LEN(at_ns) && at_ns[j] <= at_ns[i] + window_ns; j++)
				sum += len[j];
			cr_assert_leq(sum, rate / 10 + l.burst + 1, "seed %u", seed);
		}
	}
}

/* Requests take a while, and sometimes the device stands still and then does all of them at once.
 * It is what is done that counts. */
Test(limiter, no_window_of_what_is_done_exceeds_rate_and_burst)
{
	static uint64_t done_ns[4000], len[4000];

	for (unsigned seed = 1; seed <= 20; seed++) {
		struct limiter l = { 0 };
		uint64_t now_ns = 0, rate, window_ns = NS / 10, sum = 0, last_ns = 0;
		unsigned first = 0, n = 0, first_in_window = 0;

		srand(seed);
		rate = 16 * MiB + (uint64_t)rand() % GiB;
		limiter_set(&l, 0, rate, 0);
		while (n < ARRAY_LEN(len)) {
			uint64_t at_ns, bytes = 1 + (uint64_t)rand() % (rate / 256);

			for (; first < n && done_ns[first] <= now_ns; first++)
				limiter_done(&l, done_ns[first], len[first]);
			at_ns = limiter_ready_ns(&l, now_ns, bytes);
			if (at_ns > now_ns) {
				now_ns = first < n ? MIN(at_ns, MAX(done_ns[first], now_ns + 1))
						   : at_ns;
				continue;
			}
			limiter_charge(&l, now_ns, bytes);
			len[n] = bytes;
			/* In the order they were begun. */
			done_ns[n] = MAX(last_ns, now_ns + (uint64_t)rand() % (NS / 500));
			if (rand() % 300 == 0)
				done_ns[n] += NS / 4;
			last_ns = done_ns[n++];
		}
		for (unsigned i = 0; i < n; i++) {
			sum += len[i];
			while (done_ns[first_in_window] + window_ns < done_ns[i])
				sum -= len[first_in_window++];
			cr_assert_leq(sum, rate / 10 + l.burst + 1, "seed %u", seed);
		}
	}
}

/* The slowest rate with the largest debt: longer than the clock has numbers for, never a time in
 * the past, and not the sign for "something must end first". */
Test(limiter, a_wait_without_end_is_no_time_in_the_past)
{
	struct limiter l = { 0 };
	uint64_t now_ns = 5 * NS, at_ns;

	limiter_set(&l, now_ns, 1, INT64_MAX);
	charge(&l, now_ns, INT64_MAX);
	at_ns = limiter_ready_ns(&l, now_ns, INT64_MAX);
	cr_assert_eq(at_ns, UINT64_MAX - 1, "%" PRIu64, at_ns);
}

Test(limiter, what_is_saved_or_owed_is_told)
{
	struct limiter l = { 0 };

	cr_assert_eq(limiter_saved(&l, NS), 0, "it is unlimited");
	limiter_set(&l, 0, 1000, 100);
	cr_assert_eq(limiter_saved(&l, 0), 0);
	cr_assert_eq(limiter_saved(&l, NS / 20), 50);
	cr_assert_eq(limiter_saved(&l, NS), 100, "a bucket's");
	charge(&l, NS, 250);
	cr_assert_eq(limiter_saved(&l, NS), -150);
}
