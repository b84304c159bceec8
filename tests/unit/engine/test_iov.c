/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Promises of engine/core/ranges/iov.h, function by function: iov_is_sound(), iov_len(),
 * iov_slice(), iov_zero(), iov_fill(); and all of them against a flat copy of
 * the vector's bytes.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/core/ranges/iov.h"
#include "io/base.h"

#define N_SEEDS 2000
#define MAX_N   9
#define MAX_LEN 20 /* of an entry */

Test(iov, sound_is_what_has_bytes_where_it_has_a_length)
{
	static struct iovec many[IOV_MAX_ENTRIES];
	char byte;
	struct iovec iov[3] = { { &byte, 1 }, { NULL, 0 }, { &byte, 1 } };

	cr_assert(iov_is_sound(iov, 3), "an empty entry may lead nowhere");
	cr_assert(iov_is_sound(NULL, 0));
	cr_assert_not(iov_is_sound(NULL, 1));
	cr_assert_not(iov_is_sound(iov, -1));
	cr_assert(iov_is_sound(many, IOV_MAX_ENTRIES));
	cr_assert_not(iov_is_sound(many, IOV_MAX_ENTRIES + 1));
	iov[2].iov_base = NULL;
	cr_assert_not(iov_is_sound(iov, 3), "the last one is looked at, too");
	cr_assert(iov_is_sound(iov, 2));
}

Test(iov, a_length_that_overflows_is_the_largest)
{
	struct iovec iov[3] = { { NULL, SIZE_MAX - 5 }, { NULL, 5 }, { NULL, 1 } };

	cr_assert_eq(iov_len(iov, 0), 0);
	cr_assert_eq(iov_len(iov, 1), SIZE_MAX - 5);
	cr_assert_eq(iov_len(iov, 2), UINT64_MAX, "the last sum that there is");
	cr_assert_eq(iov_len(iov, 3), UINT64_MAX, "one more overflows");
	iov[2].iov_len = SIZE_MAX;
	cr_assert_eq(iov_len(iov, 3), UINT64_MAX);
}

Test(iov, slices_have_no_empty_entries)
{
	char bytes[8];
	struct iovec iov[4] = { { bytes, 4 }, { bytes + 4, 0 }, { NULL, 0 }, { bytes + 4, 4 } };
	struct iovec out[4];

	cr_assert_eq(iov_slice(iov, 4, 0, 0, out), 0);
	cr_assert_eq(iov_slice(iov, 4, 8, 0, out), 0, "nothing, at its end");
	cr_assert_eq(iov_slice(iov, 4, 3, 2, out), 2);
	cr_assert(out[0].iov_base == bytes + 3 && out[0].iov_len == 1);
	cr_assert(out[1].iov_base == bytes + 4 && out[1].iov_len == 1);
	cr_assert_eq(iov_slice(iov, 4, 4, 4, out), 1, "it begins where an entry does");
	cr_assert(out[0].iov_base == bytes + 4 && out[0].iov_len == 4);
	cr_assert_eq(iov_slice(iov, 4, 0, 4, out), 1, "it ends where an entry does");
	cr_assert(out[0].iov_base == bytes && out[0].iov_len == 4);
}

/* ---- against a flat copy ---- */

struct vector {
	uint8_t bytes[MAX_N][MAX_LEN + 1]; /* one more than is ever the vector's */
	struct iovec iov[MAX_N];
	unsigned n;
	uint64_t len;
	uint8_t *at[MAX_N * MAX_LEN]; /* where the vector's byte N lies */
};

static void draw(struct vector *v)
{
	v->n = (unsigned)rand() % (MAX_N + 1);
	v->len = 0;
	for (unsigned i = 0; i < v->n; i++) {
		size_t len = rand() % 3 ? (size_t)rand() % (MAX_LEN + 1) : 0;

		memset(v->bytes[i], 0xee, sizeof(v->bytes[i]));
		v->iov[i] = (struct iovec){ v->bytes[i], len };
		for (size_t k = 0; k < len; k++) {
			v->bytes[i][k] = (uint8_t)(1 + rand() % 200);
			v->at[v->len++] = &v->bytes[i][k];
		}
	}
}

static void check_slice(const struct vector *v, uint64_t off, uint64_t len, unsigned seed)
{
	struct iovec out[MAX_N];
	unsigned n = iov_slice(v->iov, v->n, off, len, out);
	uint64_t at = off;

	cr_assert_leq(n, v->n, "seed %u", seed);
	for (unsigned i = 0; i < n; i++) {
		cr_assert_neq(out[i].iov_len, 0, "seed %u: an empty entry", seed);
		for (size_t k = 0; k < out[i].iov_len; k++, at++)
			cr_assert_eq((uint8_t *)out[i].iov_base + k, v->at[at],
				     "seed %u: byte %" PRIu64, seed, at);
	}
	cr_assert_eq(at, off + len, "seed %u: it is %" PRIu64 " bytes long", seed, at - off);
	cr_assert_eq(iov_len(out, n), len, "seed %u", seed);
}

static void check_put(struct vector *v, uint64_t off, uint64_t len, bool zero, unsigned seed)
{
	struct vector before = *v;
	uint8_t from[MAX_N * MAX_LEN];

	for (uint64_t i = 0; i < len; i++)
		from[i] = zero ? 0 : (uint8_t)(201 + rand() % 30);
	if (zero)
		iov_zero(v->iov, v->n, off, len);
	else
		iov_fill(v->iov, v->n, off, from, len);
	for (uint64_t i = 0; i < len; i++) {
		cr_assert_eq(*v->at[off + i], from[i], "seed %u: byte %" PRIu64, seed, off + i);
		/* Put back, so that what is left must be as it was. */
		*v->at[off + i] = ((uint8_t *)before.bytes)[v->at[off + i] - (uint8_t *)v->bytes];
	}
	cr_assert_arr_eq(v->bytes, before.bytes, sizeof(v->bytes), "seed %u: a neighbour", seed);
}

Test(iov, pieces_agree_with_a_flat_copy)
{
	for (unsigned seed = 1; seed <= N_SEEDS; seed++) {
		static struct vector v;

		srand(seed);
		draw(&v);
		cr_assert_eq(iov_len(v.iov, v.n), v.len, "seed %u", seed);
		for (unsigned i = 0; i < 8; i++) {
			uint64_t off = (uint64_t)rand() % (v.len + 1);
			uint64_t len = (uint64_t)rand() % (v.len - off + 1);

			check_slice(&v, off, len, seed);
			check_put(&v, off, len, i % 2, seed);
		}
		check_slice(&v, 0, v.len, seed);
		check_put(&v, 0, v.len, false, seed);
	}
}
