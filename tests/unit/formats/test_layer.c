/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Promises of formats/core/layer*.h: an answer that does not fit its question is
 * an error and goes no further, whichever table gave it; a table that is absent
 * means that there is nothing to do.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>

#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/core/layer_fill.h"
#include "formats/core/layer_guest.h"
#include "formats/core/layer_header.h"
#include "formats/core/layer_shared.h"
#include "formats/core/layer_tables.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/err.h"

#define GRANULE   4096u
#define CLUSTER   (4 * GRANULE)
#define GUEST_LEN (64 * (uint64_t)CLUSTER)
/* What is asked for. */
#define OFF (3 * (uint64_t)CLUSTER)
#define LEN (2 * (uint64_t)CLUSTER)

/* What the next call answers. */
static struct {
	int rc;
	struct extent extent;
	struct write_extent write;
	struct destination to;
	struct table_need place;
	uint64_t end_off;
} says;

static int fake_map(struct layer *layer, uint64_t guest_off, uint64_t len, struct extent *out,
		    struct table_need *need)
{
	*out = says.extent;
	return says.rc;
}

static int fake_copy_target(struct layer *layer, uint64_t guest_off, uint64_t len, unsigned copy,
			    struct destination *out, struct table_need *need)
{
	*out = says.to;
	return says.rc;
}

static int fake_map_write(struct layer *layer, uint64_t guest_off, uint64_t len,
			  struct write_extent *out, struct table_need *need)
{
	*out = says.write;
	return says.rc;
}

static int fake_write_target(struct layer *layer, uint64_t guest_off, uint64_t len,
			     struct destination *out, struct table_need *need)
{
	*out = says.to;
	return says.rc;
}

static int fake_table_at(struct layer *layer, uint64_t guest_off, bool *has, uint64_t *end_off,
			 struct table_need *need)
{
	*has = true;
	*end_off = says.end_off;
	return says.rc;
}

static int fake_table_place(struct layer *layer, uint64_t guest_off, struct table_need *place,
			    uint64_t *end_off, struct table_need *need)
{
	*place = says.place;
	*end_off = says.end_off;
	return says.rc;
}

static const struct layer_fill_ops fill_ops = { .map_backed = fake_map,
						.copy_target = fake_copy_target };
static const struct layer_guest_ops guest_ops = { .map_write = fake_map_write,
						  .write_target = fake_write_target };
static const struct layer_tables_ops tables_ops = { .table_at = fake_table_at,
						    .table_place = fake_table_place,
						    .has_table = fake_table_at };
static const struct layer_ops all_ops = {
	.name = "fake",
	.tables = &tables_ops,
	.fill = &fill_ops,
	.guest_write = &guest_ops,
	.map = fake_map,
};
static const struct layer_ops map_ops = { .name = "fake", .map = fake_map };

static struct layer layer_with(const struct layer_ops *ops)
{
	return (struct layer){ .ops = ops,
			       .guest_len = GUEST_LEN,
			       .backed_len = GUEST_LEN,
			       .cluster_len = CLUSTER,
			       .granule_len = GRANULE };
}

static const struct {
	uint64_t guest_off, len;
	bool fits;
} extents[] = {
	{ OFF, LEN, true },         { OFF, 1, true },
	{ OFF, GRANULE + 1, true }, { OFF, 0, false },
	{ OFF, LEN + 1, false },    { OFF, UINT64_MAX, false },
	{ OFF - 1, LEN, false },    { OFF + GRANULE, LEN - GRANULE, false },
	{ UINT64_MAX, LEN, false },
};

Test(layer, an_extent_that_is_not_what_was_asked_for_is_damage)
{
	struct layer layer = layer_with(&all_ops);
	struct table_need need;
	struct extent e;

	for (size_t i = 0; i < ARRAY_LEN(extents); i++) {
		int expect = extents[i].fits ? 0 : -EUCLEAN;

		says.extent =
			(struct extent){ .guest_off = extents[i].guest_off, .len = extents[i].len };
		cr_expect_eq(layer_map(&layer, OFF, LEN, &e, &need), expect, "row %zu", i);
		cr_expect_eq(layer_map_backed(&layer, OFF, LEN, &e, &need), expect, "row %zu", i);
	}
}

Test(layer, an_error_or_a_wanted_table_is_passed_on_as_it_is)
{
	static const int rcs[] = { TABLE_NEED, -EIO, -ENOMEM, -ENOENT };
	struct layer layer = layer_with(&all_ops);
	struct table_need need, place;
	struct write_extent w;
	struct destination to;
	struct extent e;
	uint64_t end = 0;
	bool has;

	for (size_t i = 0; i < ARRAY_LEN(rcs); i++) {
		says.rc = rcs[i]; /* with an answer that fits nothing */
		cr_expect_eq(layer_map(&layer, OFF, LEN, &e, &need), rcs[i]);
		cr_expect_eq(layer_map_backed(&layer, OFF, LEN, &e, &need), rcs[i]);
		cr_expect_eq(layer_map_write(&layer, OFF, LEN, &w, &need), rcs[i]);
		cr_expect_eq(layer_copy_target(&layer, OFF, LEN, 0, &to, &need), rcs[i]);
		cr_expect_eq(layer_write_target(&layer, OFF, LEN, &to, &need), rcs[i]);
		cr_expect_eq(layer_table_at(&layer, OFF, &has, &end, &need), rcs[i]);
		cr_expect_eq(layer_has_table(&layer, OFF, &has, &end, &need), rcs[i]);
		cr_expect_eq(layer_table_place(&layer, OFF, &place, &end, &need), rcs[i]);
	}
}

Test(layer, what_a_write_meets_must_fit_its_kind)
{
	static const struct {
		struct write_extent e;
		bool fits;
	} rows[] = {
		{ { .kind = WRITE_IN_PLACE, .guest_off = OFF, .len = LEN }, true },
		{ { .kind = WRITE_IN_PLACE, .guest_off = OFF, .len = 0 }, false },
		{ { .kind = WRITE_IN_PLACE, .guest_off = OFF, .len = LEN + 1 }, false },
		{ { .kind = WRITE_IN_PLACE, .guest_off = OFF + 1, .len = 1 }, false },
		{ { .kind = WRITE_NEW, .guest_off = OFF, .len = 1, .unit_len = GRANULE }, true },
		{ { .kind = WRITE_NEW, .guest_off = OFF, .len = 1, .unit_len = CLUSTER }, true },
		{ { .kind = WRITE_NEW, .guest_off = OFF, .len = 1, .unit_len = 0 }, false },
		{ { .kind = WRITE_NEW, .guest_off = OFF, .len = 1, .unit_len = 512 }, false },
		{ { .kind = WRITE_SHARED,
		    .guest_off = OFF,
		    .len = 1,
		    .lock_off = OFF - CLUSTER,
		    .lock_len = 2 * CLUSTER },
		  true },
		{ { .kind = WRITE_SHARED, .guest_off = OFF, .len = 1 }, false },
		{ { .kind = WRITE_SHARED,
		    .guest_off = OFF,
		    .len = 1,
		    .lock_off = OFF + CLUSTER,
		    .lock_len = CLUSTER },
		  false },
		{ { .kind = WRITE_SHARED,
		    .guest_off = OFF,
		    .len = 1,
		    .lock_off = OFF - CLUSTER,
		    .lock_len = CLUSTER },
		  false },
		{ { .kind = (enum write_kind)77, .guest_off = OFF, .len = 1 }, false },
	};
	struct layer layer = layer_with(&all_ops);
	struct table_need need;
	struct write_extent e;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		says.write = rows[i].e;
		cr_expect_eq(layer_map_write(&layer, OFF, LEN, &e, &need),
			     rows[i].fits ? 0 : -EUCLEAN, "row %zu", i);
	}
}

Test(layer, a_destination_holds_for_a_part_of_the_range)
{
	static const struct {
		uint64_t len;
		int expect;
	} rows[] = {
		{ LEN, 0 },
		{ 1, 0 },
		{ 0, -EUCLEAN },
		{ LEN + 1, -EUCLEAN },
		{ UINT64_MAX, -EUCLEAN },
	};
	struct layer layer = layer_with(&all_ops);
	struct table_need need;
	struct destination to;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		says.to = (struct destination){ .len = rows[i].len };
		cr_expect_eq(layer_copy_target(&layer, OFF, LEN, 1, &to, &need), rows[i].expect);
		cr_expect_eq(layer_write_target(&layer, OFF, LEN, &to, &need), rows[i].expect);
	}
}

Test(layer, a_walk_over_tables_gets_on_or_fails)
{
	static const uint64_t ends[] = { OFF + 1, OFF + GRANULE, UINT64_MAX, OFF, OFF - 1, 0 };
	struct layer layer = layer_with(&all_ops);
	struct table_need need, place;
	uint64_t end;
	bool has;

	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		int expect = ends[i] > OFF ? 0 : -EUCLEAN;

		says.end_off = ends[i];
		cr_expect_eq(layer_table_at(&layer, OFF, &has, &end, &need), expect);
		cr_expect_eq(layer_has_table(&layer, OFF, &has, &end, &need), expect);
		cr_expect_eq(layer_table_place(&layer, OFF, &place, &end, &need), expect);
	}
	says.end_off = UINT64_MAX;
	says.place.len = TABLE_MAX_LEN;
	cr_expect_eq(layer_table_place(&layer, OFF, &place, &end, &need), 0);
	says.place.len = TABLE_MAX_LEN + 8;
	cr_expect_eq(layer_table_place(&layer, OFF, &place, &end, &need), -EUCLEAN);
}

Test(layer, what_a_format_can_not_do_is_nothing_to_do)
{
	struct layer layer = layer_with(&map_ops);
	struct layer_info info = { .version = 3 };
	uint64_t n_left = 7;

	cr_expect(!layer_has_tables(&layer) && !layer_can_check(&layer));
	cr_expect(!layer_frees_space(&layer) && !layer_has_claims(&layer));
	cr_expect_eq(layer_begin_writing(&layer, NULL), 0);
	cr_expect_eq(layer_begin_measuring(&layer, NULL), 0);
	cr_expect_eq(layer_stage(&layer, NULL), 0);
	cr_expect(!layer_keeps_tables(&layer));
	cr_expect(!layer_may_leak(&layer));
	cr_expect(!layer_has_freed(&layer));
	layer_reftable_durable(&layer);
	layer_link_durable(&layer);
	cr_expect_eq(layer_reclaim(&layer, &n_left, NULL), 0);
	cr_expect_eq(n_left, 0);
	layer_describe(&layer, &info);
	cr_expect_eq(info.version, 0);
}
