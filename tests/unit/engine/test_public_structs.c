/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What crosses the public interface: structs of any version (engine/api/options/structs.h), errors
 * and extents (engine/core/export.h).
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "engine/api/options/structs.h"
#include "engine/core/export.h"
#include "formats/chain/chain.h"
#include "formats/core/layer.h"
#include "io/base.h"
#include "io/err.h"

/* ---- structs by their size ---- */

struct options {
	size_t size;
	uint32_t first, second;
	uint64_t third;
};

Test(structs, no_options_are_zeros)
{
	struct options got = { .size = 1, .third = 1 }, none = { 0 };

	cr_assert(options_import(&got, sizeof(got), NULL));
	cr_assert_eq(memcmp(&got, &none, sizeof(got)), 0);
}

Test(structs, a_shorter_version_is_filled_up_with_zeros)
{
	struct options caller = { .size = offsetof(struct options, third), .first = 7, .third = 9 };
	struct options got;

	memset(&got, 0xff, sizeof(got));
	cr_assert(options_import(&got, sizeof(got), &caller));
	cr_assert_eq(got.first, 7);
	cr_assert_eq(got.third, 0, "behind the caller's struct");
}

Test(structs, a_longer_version_must_not_ask_for_what_is_not_known)
{
	struct {
		struct options known;
		uint8_t more[16];
	} caller = { .known = { .size = sizeof(caller), .third = 5 } };
	struct options got;

	cr_assert(options_import(&got, sizeof(got), &caller));
	cr_assert_eq(got.third, 5);
	for (unsigned i = 0; i < sizeof(caller.more); i++) {
		caller.more[i] = 1;
		cr_assert_not(options_import(&got, sizeof(got), &caller), "byte %u", i);
		caller.more[i] = 0;
	}
}

Test(structs, a_size_that_no_version_has_is_refused)
{
	static union {
		size_t size;
		uint8_t bytes[4097];
	} caller;
	struct options got;

	caller.size = sizeof(size_t) - 1;
	cr_assert_not(options_import(&got, sizeof(got), &caller));
	cr_assert_not(result_fits(&caller, sizeof(size_t)));
	caller.size = sizeof(size_t);
	cr_assert(options_import(&got, sizeof(got), &caller));
	caller.size = 4096;
	cr_assert(options_import(&got, sizeof(got), &caller));
	cr_assert(result_fits(&caller, 4096));
	caller.size = 4097;
	cr_assert_not(options_import(&got, sizeof(got), &caller));
	cr_assert_not(result_fits(&caller, 16));
	caller.size = 15;
	cr_assert_not(result_fits(&caller, RESULT_FIRST_LEN(struct options, second)));
	caller.size = 16;
	cr_assert(result_fits(&caller, RESULT_FIRST_LEN(struct options, second)));
}

/* The caller's size stays, and no byte behind what it says is written. */
Test(structs, a_result_fills_what_the_caller_has_room_for)
{
	struct options result = { .size = 1, .first = 2, .second = 3, .third = UINT64_MAX };

	for (size_t size = sizeof(size_t); size <= 64; size++) {
		union {
			size_t size;
			uint8_t bytes[72];
		} out;

		memset(&out, 0xee, sizeof(out));
		out.size = size;
		result_export(&out, &result, sizeof(result));
		cr_assert_eq(out.size, size);
		for (size_t i = sizeof(size_t); i < sizeof(out.bytes); i++) {
			uint8_t want = i >= size ? 0xee : 0;

			if (i < MIN(size, sizeof(result)))
				want = ((const uint8_t *)&result)[i];
			cr_assert_eq(out.bytes[i], want, "size %zu, byte %zu", size, i);
		}
	}
}

/* ---- errors and extents ---- */

Test(export, an_error_keeps_what_the_program_may_do)
{
	struct err err = { .code = -EAGAIN, .message = "no", .remedy_name = "name" };
	struct bpull_error out = { 0 };

	err.remedy = (enum err_remedy)1;
	cr_assert_eq(error_export(&err, &out), -EAGAIN);
	cr_assert_eq(out.code, -EAGAIN);
	cr_assert_str_eq(out.message, "no");
	cr_assert_str_eq(out.remedy_name, "name");
	cr_assert_eq((int)out.remedy, 1);
	cr_assert_eq(error_export(&err, NULL), -EAGAIN);
	cr_assert_eq(error_fill(&out, -EIO, "%s %d", "byte", 5), -EIO);
	cr_assert_str_eq(out.message, "byte 5");
	cr_assert(out.remedy == BPULL_REMEDY_NONE && !out.remedy_name[0], "of the error before");
	cr_assert_eq(error_fill(NULL, -EIO, "nothing"), -EIO);
}

static struct chain chain = { .n_layers = 3 };

static struct bpull_extent exported(enum extent_kind kind, bool has_host, unsigned depth)
{
	struct extent e = { .kind = kind,
			    .guest_off = 100,
			    .len = 50,
			    .has_host = has_host,
			    .host_off = 7000,
			    .depth = depth,
			    .deepest = 1 };

	return extent_export(&chain, &e);
}

Test(export, each_kind_of_extent_says_where_it_is)
{
	struct bpull_extent e = exported(EXTENT_DATA, true, 2);

	cr_assert(e.start == 100 && e.length == 50 && e.depth == 2);
	cr_assert(e.present && e.data && !e.zero && !e.compressed);
	cr_assert(e.has_offset && e.offset == 7000);
	e = exported(EXTENT_COMPRESSED, true, 0);
	cr_assert(e.present && e.data && e.compressed && !e.has_offset && !e.offset);
	e = exported(EXTENT_ZERO, false, 0);
	cr_assert(e.present && e.zero && !e.data && !e.has_offset);
	e = exported(EXTENT_ZERO, true, 0);
	cr_assert(e.zero && e.has_offset && e.offset == 7000);
	e = exported(EXTENT_UNALLOCATED, false, 3);
	cr_assert(!e.present && e.zero && !e.data);
	cr_assert_eq(e.depth, 1, "the last image that was looked at");
	e = exported(EXTENT_ZERO, false, 3);
	cr_assert(!e.present && e.zero && e.depth == 1, "no image answers");
}

/* Neighbours become one where nothing but their place tells them apart. */
Test(export, neighbours_that_are_alike_become_one)
{
	const struct bpull_extent a = { .start = 0,
					.length = 10,
					.depth = 1,
					.present = 1,
					.data = 1,
					.has_offset = 1,
					.offset = 100 };

	for (unsigned what = 0; what <= 7; what++) {
		struct bpull_extent last = a, next = a;

		next.start = 10;
		next.offset = 110;
		next.depth += what == 1;
		next.present ^= what == 2;
		next.zero ^= what == 3;
		next.data ^= what == 4;
		next.compressed ^= what == 5;
		next.has_offset ^= what == 6;
		next.offset += what == 7;
		cr_assert_eq(extent_merge(&last, &next), !what, "difference %u", what);
		cr_assert_eq(last.length, what ? 10 : 20);
	}
}
