/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What qcow2 and QED share, without either: where a table is, or how far there
 * is none, and that entries change all together or not at all.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "formats/core/table_cache.h"
#include "formats/core/two_level.h"
#include "io/base.h"

#define TABLE_SPAN (64 * KiB) /* guest bytes */
#define SLICE_SPAN (16 * KiB)
#define SLICE_LEN  512u

/* ---- where tables are ---- */

/* The second of the disk's tables is there, the others are not. */
static int l2_off(struct layer *layer, uint64_t guest_off, uint64_t *off, struct table_need *need)
{
	if (guest_off >= 3 * TABLE_SPAN)
		return -EIO;
	*off = guest_off / TABLE_SPAN == 1 ? MiB : 0;
	return 0;
}

static struct table_need slice(const struct layer *layer, uint64_t off, uint64_t guest_off)
{
	return (struct table_need){ .host_off =
					    off + guest_off % TABLE_SPAN / SLICE_SPAN * SLICE_LEN,
				    .len = SLICE_LEN };
}

static uint64_t l2_span(const struct layer *layer)
{
	return TABLE_SPAN;
}

static uint64_t slice_span(const struct layer *layer)
{
	return SLICE_SPAN;
}

static const struct two_level_lookup lookup = { l2_off, slice, l2_span, slice_span };

Test(two_level, a_table_is_told_up_to_its_end)
{
	struct layer layer = { 0 };
	struct table_need need;
	uint64_t end;
	bool has;

	for (unsigned i = 0; i < 3; i++)
		for (uint64_t at = 0; at < TABLE_SPAN; at += TABLE_SPAN / 2 - 512) {
			cr_assert_eq(two_level_table_at(&layer, &lookup, i * TABLE_SPAN + at, &has,
							&end, &need),
				     0);
			cr_assert_eq(has, i == 1);
			cr_assert_eq(end, (i + 1) * TABLE_SPAN);
		}
	cr_assert_eq(two_level_table_at(&layer, &lookup, 3 * TABLE_SPAN, &has, &end, &need), -EIO);
	cr_assert_not(has);
}

/* What is loaded ahead of a walk: slice by slice, and nothing where there is no table. */
Test(two_level, a_place_is_one_slice_or_none)
{
	struct layer layer = { 0 };
	struct table_need need, place;
	uint64_t end;

	for (uint64_t at = 0; at < 3 * TABLE_SPAN; at += 4096) {
		bool has = at / TABLE_SPAN == 1;
		uint64_t span = has ? SLICE_SPAN : TABLE_SPAN;

		cr_assert_eq(two_level_table_place(&layer, &lookup, at, &place, &end, &need), 0);
		cr_assert_eq(place.len, has ? SLICE_LEN : 0);
		cr_assert_eq(end, (at / span + 1) * span);
		if (has)
			cr_assert_eq(place.host_off,
				     MiB + (at - TABLE_SPAN) / SLICE_SPAN * SLICE_LEN);
	}
	cr_assert_eq(two_level_table_place(&layer, &lookup, 3 * TABLE_SPAN, &place, &end, &need),
		     -EIO);
}

/* ---- publishing ---- */

static char calls[64];  /* p, l, s: prepare, link, set; and the mapping's number */
static size_t fails_at; /* the call that answers `answer`, from 1 on; 0: none */
static int answer;

static int note(char what, uint64_t guest_off)
{
	size_t n = strlen(calls);

	calls[n] = what;
	calls[n + 1] = (char)('0' + guest_off / TABLE_SPAN);
	return fails_at && n / 2 + 1 == fails_at ? answer : 0;
}

static int prepare(struct layer *layer, const struct mapping *map, struct table_need *need)
{
	return note('p', map->guest_off);
}

static int link(struct layer *layer, uint64_t guest_off, uint64_t len, struct table_need *need)
{
	return note('l', guest_off);
}

static void set(struct layer *layer, const struct mapping *map)
{
	note('s', map->guest_off);
}

static int publish(size_t call_that_fails, int code)
{
	static const struct two_level_change change = { prepare, link, set };
	const struct mapping maps[2] = { { .guest_off = 0, .len = 4096 },
					 { .guest_off = TABLE_SPAN, .len = 4096 } };
	struct layer layer = { 0 };
	struct table_need need;

	memset(calls, 0, sizeof(calls));
	fails_at = call_that_fails;
	answer = code;
	return two_level_publish(&layer, &change, maps, 2, &need);
}

/* Linking may push a slice out of the cache that was there before: so it is asked for again. */
Test(two_level, entries_are_asked_for_linked_asked_for_and_set)
{
	cr_assert_eq(publish(0, 0), 0);
	cr_assert_str_eq(calls, "p0p1l0l1p0p1s0s1");
}

Test(two_level, what_fails_or_must_wait_sets_nothing)
{
	static const int codes[] = { TABLE_NEED, -EIO };

	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		for (size_t n = 1; n <= 6; n++) {
			cr_assert_eq(publish(n, codes[i]), codes[i], "call %zu", n);
			cr_assert_eq(strlen(calls), 2 * n, "call %zu: %s", n, calls);
			cr_assert_null(strchr(calls, 's'), "call %zu: %s", n, calls);
		}
}
