/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Promises of io/scale.h: (a * b + more) / divisor is exact for any operands, and says
 * UINT64_MAX where 64 bits can't hold it.
 */
#include <criterion/criterion.h>
#include <inttypes.h>

#include "io/base.h"
#include "io/scale.h"
#include "tests/support/random.h"

static const uint64_t edges[] = { 0,
				  1,
				  2,
				  999999999,
				  1000000000,
				  UINT32_MAX,
				  UINT64_C(1) << 32,
				  (UINT64_C(1) << 32) + 1,
				  INT64_MAX,
				  UINT64_C(1) << 63,
				  (UINT64_C(1) << 63) + 1,
				  UINT64_MAX - 1,
				  UINT64_MAX };

/* Of any number of bits, so that small numbers are as likely as large ones. */
static uint64_t draw(uint64_t *seed)
{
	uint64_t n = random_step(seed);

	return n >> random_below(seed, 64);
}

/* The result times the divisor, plus the rest, is what was divided: counted back with halves of
 * 64 bits, so that this also judges where the compiler has no wider type. */
static void judge(uint64_t a, uint64_t b, uint64_t more, uint64_t divisor)
{
	uint64_t rest = 77, result = scale(a, b, more, divisor, &rest);
	struct scale_wide asked = scale_product(a, b), back;

	asked.high += __builtin_add_overflow(asked.low, more, &asked.low);
	if (asked.high >= divisor) {
		cr_assert_eq(result, UINT64_MAX);
		cr_assert_eq(rest, 0);
		return;
	}
	cr_assert_lt(rest, divisor);
	back = scale_product(result, divisor);
	back.high += __builtin_add_overflow(back.low, rest, &back.low);
	cr_assert(back.high == asked.high && back.low == asked.low,
		  "%" PRIu64 " * %" PRIu64 " + %" PRIu64 " by %" PRIu64 " is %" PRIu64
		  " rest %" PRIu64,
		  a, b, more, divisor, result, rest);
}

Test(scale, products_have_both_halves)
{
	struct scale_wide n = scale_product(UINT64_MAX, UINT64_MAX);

	cr_assert_eq(n.high, UINT64_MAX - 1);
	cr_assert_eq(n.low, 1);
	n = scale_product(UINT64_C(0x123456789abcdef0), UINT64_C(0xfedcba9876543210));
	cr_assert_eq(n.high, UINT64_C(0x121fa00ad77d7422));
	cr_assert_eq(n.low, UINT64_C(0x236d88fe5618cf00));
}

#ifdef __SIZEOF_INT128__
Test(scale, products_are_the_compilers)
{
	uint64_t seed = 0x5ca1e;

	for (unsigned i = 0; i < 100000; i++) {
		uint64_t a = draw(&seed), b = draw(&seed);
		unsigned __int128 wide = (unsigned __int128)a * b;
		struct scale_wide n = scale_product(a, b);

		cr_assert_eq(n.low, (uint64_t)wide);
		cr_assert_eq(n.high, (uint64_t)(wide >> 64));
	}
}
#endif

Test(scale, results_are_exact_at_every_border)
{
	for (size_t a = 0; a < ARRAY_LEN(edges); a++)
		for (size_t b = 0; b < ARRAY_LEN(edges); b++)
			for (size_t more = 0; more < ARRAY_LEN(edges); more++)
				for (size_t by = 1; by < ARRAY_LEN(edges); by++)
					judge(edges[a], edges[b], edges[more], edges[by]);
}

Test(scale, results_are_exact_anywhere)
{
	uint64_t seed = 0x5ca1f, rest;

	for (unsigned i = 0; i < 200000; i++) {
		uint64_t a = draw(&seed), b = draw(&seed);
		uint64_t more = draw(&seed);

		judge(a, b, more, MAX(draw(&seed), UINT64_C(1)));
	}
	/* A day in nanoseconds at 20 GB/s passes 64 bits in between. */
	cr_assert_eq(scale(UINT64_C(86400000000000), UINT64_C(20000000000), 5, 1000000000, &rest),
		     UINT64_C(1728000000000000));
	cr_assert_eq(rest, 5);
}
