/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the bytes of a source must be: io/source/expect.h. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "io/base.h"
#include "io/source/expect.h"

#define CHUNK 4096u
#define LEN   (3 * CHUNK + 1000) /* the last chunk is a short one */

static uint8_t bytes[LEN], digests[4 * SOURCE_DIGEST_LEN];

static void digest_all(void)
{
	for (unsigned i = 0; i < 4; i++) {
		XXH128_canonical_t canonical;

		XXH128_canonicalFromHash(
			&canonical, XXH3_128bits(bytes + i * CHUNK, MIN(CHUNK, LEN - i * CHUNK)));
		memcpy(digests + i * SOURCE_DIGEST_LEN, &canonical, SOURCE_DIGEST_LEN);
	}
}

static void set_up(void)
{
	srand(1);
	for (size_t i = 0; i < LEN; i++)
		bytes[i] = (uint8_t)(rand() >> 5);
	digest_all();
}

TestSuite(expect, .init = set_up);

Test(expect, a_source_has_whole_chunks_and_a_rest)
{
	cr_assert_eq(source_expect_count(CHUNK, 0), 0);
	cr_assert_eq(source_expect_count(CHUNK, 1), 1);
	cr_assert_eq(source_expect_count(CHUNK, CHUNK), 1);
	cr_assert_eq(source_expect_count(CHUNK, LEN), 4);
}

/* Any byte that differs is found, in any read of whole chunks that has it, and in no other. */
Test(expect, any_other_byte_is_found)
{
	struct source_expect *expect = source_expect_new(digests, CHUNK, LEN);

	cr_assert_eq(source_expect_chunk_len(expect), CHUNK);
	cr_assert(source_expect_holds(expect, bytes, 0, LEN));
	for (unsigned draw = 0; draw < 500; draw++) {
		size_t bad = (size_t)rand() % LEN;
		unsigned from = (unsigned)rand() % 4, to = from + 1 + (unsigned)rand() % (4 - from);
		size_t end = MIN(to * CHUNK, LEN);
		bool has_it = bad >= from * CHUNK && bad < end;
		uint8_t flip = (uint8_t)(1 << rand() % 8);

		bytes[bad] ^= flip;
		cr_assert_eq(source_expect_holds(expect, bytes + from * CHUNK, from * CHUNK,
						 end - from * CHUNK),
			     !has_it, "draw %u", draw);
		bytes[bad] ^= flip;
	}
	source_expect_free(expect);
}

/* Zeros of a short chunk have another digest. */
Test(expect, chunks_of_zeros_are_known_by_their_digests)
{
	struct source_expect *expect;

	memset(bytes + CHUNK, 0, CHUNK);
	memset(bytes + 3 * CHUNK, 0, LEN - 3 * CHUNK);
	digest_all();
	expect = source_expect_new(digests, CHUNK, LEN);
	for (size_t off = 0; off < LEN; off += 333)
		cr_assert_eq(source_expect_is_zero(expect, off),
			     off / CHUNK == 1 || off / CHUNK == 3, "byte %zu", off);
	source_expect_free(expect);
}

Test(expect, two_are_the_same_where_all_is)
{
	struct source_expect *a = source_expect_new(digests, CHUNK, LEN);
	struct source_expect *same = source_expect_new(digests, CHUNK, LEN), *other;

	cr_assert(source_expect_is_same(a, same));
	cr_assert(source_expect_is_same(NULL, NULL));
	cr_assert_not(source_expect_is_same(a, NULL));
	cr_assert_not(source_expect_is_same(NULL, a));
	other = source_expect_new(digests, CHUNK, LEN + 1);
	cr_assert_not(source_expect_is_same(a, other), "another length");
	source_expect_free(other);
	other = source_expect_new(digests, 2 * CHUNK, LEN);
	cr_assert_not(source_expect_is_same(a, other), "other chunks");
	source_expect_free(other);
	digests[sizeof(digests) - 1] ^= 1;
	other = source_expect_new(digests, CHUNK, LEN);
	cr_assert_not(source_expect_is_same(a, other), "another digest");
	source_expect_free(other);
	source_expect_free(a);
	source_expect_free(same);
	source_expect_free(NULL);
}
