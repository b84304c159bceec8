/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Promises of engine/copy/walk/plan.h at their borders: plan_next(), which says what is
 * to be done with a range, and plan_run(), which says where its bytes come from.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "formats/chain/chain.h"
#include "io/base.h"
#include "tests/support/rigs/plan_rig.h"

/* ---- plan_next() at its borders ---- */

static void expect_next(struct chain *chain, uint64_t off, uint64_t end, enum plan_action want,
			uint64_t want_len)
{
	enum plan_action action;
	struct table_need need;
	uint64_t len;

	cr_assert_eq(plan_next(chain, off * UNIT, end * UNIT, &action, &len, &need), 0);
	cr_assert(action == want && len == want_len * UNIT,
		  "at %" PRIu64 ": action %d for %" PRIu64 " units, not %d for %" PRIu64, off,
		  (int)action, len / UNIT, (int)want, want_len);
}

Test(plan, what_is_held_and_what_is_not)
{
	struct chain *chain = plan_rig_chain(3, 4 * UNIT);

	plan_rig_fill(chain, 0, 0, 4, EXTENT_DATA, 0);
	plan_rig_fill(chain, 0, 4, 8, EXTENT_ZERO, 0);
	plan_rig_fill(chain, 2, 10, 20, EXTENT_DATA, 4096);
	expect_next(chain, 0, UNITS, PLAN_PRESENT, 4);
	expect_next(chain, 4, UNITS, PLAN_PRESENT, 4);
	expect_next(chain, 4, 5, PLAN_PRESENT, 1);
	expect_next(chain, 8, UNITS, PLAN_COPY, UNITS - 8); /* data begins inside the granule */
	expect_next(chain, 12, UNITS, PLAN_COPY, UNITS - 12);
	expect_next(chain, 12, 16, PLAN_COPY, 4);
	expect_next(chain, 20, UNITS, PLAN_SKIP, UNITS - 20);
	expect_next(chain, 20, 24, PLAN_SKIP, 4);
	plan_rig_drop(chain);
}

/* Half a granule of zeros is none: data behind it would be left behind. */
Test(plan, zeros_are_passed_over_by_whole_granules)
{
	struct chain *chain = plan_rig_chain(2, 4 * UNIT);

	plan_rig_fill(chain, 1, 15, 16, EXTENT_DATA, 0);
	expect_next(chain, 0, UNITS, PLAN_SKIP, 12);
	expect_next(chain, 12, UNITS, PLAN_COPY, UNITS - 12);
	expect_next(chain, 16, UNITS, PLAN_SKIP, UNITS - 16);
	plan_rig_fill(chain, 1, 12, 13, EXTENT_DATA, 0);
	expect_next(chain, 0, UNITS, PLAN_SKIP, 12);
	plan_rig_drop(chain);
}

/* The disk's last granule may be a part of one; a range that ends inside one is no end. */
Test(plan, the_last_granule_ends_with_the_disk)
{
	struct chain *chain = plan_rig_chain(2, 4 * UNIT);

	chain->layers[0]->guest_len = chain->layers[0]->backed_len = 10 * UNIT;
	expect_next(chain, 0, 10, PLAN_SKIP, 10);
	expect_next(chain, 8, 10, PLAN_SKIP, 2);
	plan_rig_fill(chain, 1, 9, 10, EXTENT_DATA, 0);
	expect_next(chain, 0, 10, PLAN_SKIP, 8);
	expect_next(chain, 8, 10, PLAN_COPY, 2);
	plan_rig_drop(chain);
}

/* A base that is shorter reads zeros behind its end. */
Test(plan, a_layer_that_ends_hides_what_lies_below)
{
	struct chain *chain = plan_rig_chain(3, 2 * UNIT);

	plan_rig_fill(chain, 2, 0, UNITS, EXTENT_DATA, 0);
	chain->layers[1]->guest_len = 20 * UNIT;
	expect_next(chain, 0, UNITS, PLAN_COPY, UNITS);
	expect_next(chain, 18, UNITS, PLAN_COPY, UNITS - 18);
	expect_next(chain, 20, UNITS, PLAN_SKIP, UNITS - 20);
	plan_rig_drop(chain);
}

Test(plan, above_a_base_that_stays_zeros_need_entries)
{
	struct chain *chain = plan_rig_chain(3, 4 * UNIT);

	chain->pull_to = 2;
	plan_rig_fill(chain, 2, 0, UNITS, EXTENT_DATA, 0);
	plan_rig_fill(chain, 1, 8, 16, EXTENT_ZERO, 0);
	plan_rig_fill(chain, 1, 16, 17, EXTENT_DATA, 0);
	chain->layers[0]->has_zero_entries = true;
	expect_next(chain, 0, UNITS, PLAN_SKIP, 8); /* the base has it, and stays */
	expect_next(chain, 8, UNITS, PLAN_ZERO, 8);
	expect_next(chain, 12, 16, PLAN_ZERO, 4);
	expect_next(chain, 16, UNITS, PLAN_COPY, UNITS - 16);
	chain->layers[0]->has_zero_entries = false; /* then zeros are data */
	expect_next(chain, 8, UNITS, PLAN_COPY, UNITS - 8);
	/* Behind the base's end they read as zeros by themselves. */
	chain->layers[2]->guest_len = 8 * UNIT;
	expect_next(chain, 8, UNITS, PLAN_SKIP, 8);
	plan_rig_drop(chain);
}

Test(plan, far_away_it_is_the_same)
{
	uint64_t end = UINT64_C(1) << 62;
	struct chain *chain = plan_rig_chain(2, 4 * UNIT);
	enum plan_action action;
	struct table_need need;
	uint64_t len;

	chain->layers[0]->backed_len =
		end; /* a snapshot's, and behind the base's end all is zero */
	fake_of(chain->layers[0])->error = -EIO;
	cr_assert_eq(plan_next(chain, 0, LEN, &action, &len, &need), -EIO);
	fake_of(chain->layers[0])->error = 0;
	fake_of(chain->layers[1])->needs = true;
	cr_assert_eq(plan_next(chain, 0, LEN, &action, &len, &need), TABLE_NEED);
	cr_assert_eq(plan_next(chain, 0, LEN, &action, &len, &need), 0, "and then it is there");
	cr_assert(action == PLAN_SKIP && len == LEN);
	plan_rig_drop(chain);
}

/* ---- plan_run() at its borders ---- */

static struct plan run(struct chain *chain, uint64_t off, uint64_t end, uint32_t max_len,
		       uint32_t unit)
{
	static struct plan plan;
	struct table_need need;

	memset(&plan, 0xa5, sizeof(plan));
	cr_assert_eq(
		plan_run(chain, off * UNIT, end * UNIT, max_len * UNIT, unit * UNIT, &plan, &need),
		0);
	cr_assert_eq(plan.guest_off, off * UNIT);
	return plan;
}

Test(plan, neighbours_are_one_part)
{
	struct chain *chain = plan_rig_chain(3, 4 * UNIT);
	struct plan plan;

	plan_rig_fill(chain, 1, 0, 4, EXTENT_DATA, 64 * UNIT);
	plan_rig_fill(chain, 1, 4, 8, EXTENT_DATA, 68 * UNIT);   /* goes on */
	plan_rig_fill(chain, 1, 8, 12, EXTENT_DATA, 73 * UNIT);  /* a unit further */
	plan_rig_fill(chain, 2, 12, 16, EXTENT_DATA, 77 * UNIT); /* goes on, in another file */
	plan = run(chain, 0, UNITS, 16, 4);
	cr_assert_eq(plan.n_parts, 3);
	cr_assert(plan.parts[0].buf_off == 0 && plan.parts[0].len == 8 * UNIT &&
		  plan.parts[0].host_off == 64 * UNIT && plan.parts[0].depth == 1);
	cr_assert(plan.parts[1].buf_off == 8 * UNIT && plan.parts[1].depth == 1);
	cr_assert(plan.parts[2].buf_off == 12 * UNIT && plan.parts[2].depth == 2);
	cr_assert(plan.len == 16 * UNIT && plan.data_len == 16 * UNIT);
	plan_rig_drop(chain);
}

/* Zeros inside a cluster are read with it; a whole cluster of them is left to the cursor. */
Test(plan, a_run_ends_where_a_cluster_needs_no_reading)
{
	struct chain *chain = plan_rig_chain(2, 4 * UNIT);
	struct plan plan;

	plan_rig_fill(chain, 1, 0, 5, EXTENT_DATA, 0);
	plan_rig_fill(chain, 1, 12, 16, EXTENT_DATA, 0);
	plan = run(chain, 0, UNITS, 64, 4);
	cr_assert_eq(plan.len, 8 * UNIT, "%u", plan.len);
	cr_assert_eq(plan.data_len, 5 * UNIT);
	plan_rig_fill(chain, 1, 11, 12, EXTENT_DATA,
		      0); /* six units of zeros, and no whole cluster */
	plan = run(chain, 0, UNITS, 16, 4);
	cr_assert_eq(plan.len, 16 * UNIT);
	cr_assert_eq(plan.data_len, 10 * UNIT);
	plan = run(chain, 4, UNITS, 4, 4);
	cr_assert_eq(plan.len, 4 * UNIT, "no more than was asked for");
	plan_rig_drop(chain);
}

Test(plan, the_disks_end_is_rounded_up)
{
	struct chain *chain = plan_rig_chain(2, 4 * UNIT);
	struct plan plan;

	chain->layers[0]->guest_len = chain->layers[0]->backed_len = 10 * UNIT;
	plan_rig_fill(chain, 1, 0, UNITS, EXTENT_DATA, 0);
	plan = run(chain, 8, 10, 64, 4);
	cr_assert(plan.len == 4 * UNIT && plan.data_len == 2 * UNIT && plan.n_parts == 1 &&
		  plan.parts[0].len == 2 * UNIT);
	plan_rig_drop(chain);
}

Test(plan, pieces_of_a_compressed_cluster_know_each_other)
{
	struct chain *chain = plan_rig_chain(3, 8 * UNIT);
	struct plan plan;

	plan_rig_fill(chain, 2, 0, 16, EXTENT_COMPRESSED, 1000);
	for (unsigned unit = 2; unit < 8; unit += 3) /* the layer above hides two pieces */
		plan_rig_fill(chain, 1, unit, unit + 1, EXTENT_DATA, 9000 * unit);
	plan = run(chain, 0, 16, 16, 8);
	/* C 0-1, D 2, C 3-4, D 5, C 6-7, and the next cluster. */
	cr_assert_eq(plan.n_parts, 6);
	cr_assert(plan.parts[0].same == 2 && !plan.parts[0].is_repeat && plan.parts[0].skip == 0);
	cr_assert(plan.parts[2].same == 4 && plan.parts[2].is_repeat &&
		  plan.parts[2].skip == 3 * UNIT);
	cr_assert(plan.parts[4].same == 0 && plan.parts[4].is_repeat &&
		  plan.parts[4].skip == 6 * UNIT && plan.parts[4].host_len == 77);
	cr_assert(!plan.parts[5].same && !plan.parts[5].is_repeat);
	plan_rig_drop(chain);
}

/* The same place in two files is two clusters. */
Test(plan, one_place_of_two_files_is_two_clusters)
{
	struct chain *chain = plan_rig_chain(3, 8 * UNIT);
	struct plan plan;

	plan_rig_fill(chain, 1, 0, 8, EXTENT_COMPRESSED, 1000);
	plan_rig_fill(chain, 2, 8, 16, EXTENT_COMPRESSED, 1000);
	plan = run(chain, 0, 16, 16, 8);
	cr_assert_eq(plan.n_parts, 2);
	cr_assert(!plan.parts[0].same && !plan.parts[1].is_repeat);
	plan_rig_drop(chain);
}

/* ---- plans that are full ---- */

static void make_long(struct chain *chain)
{
	for (unsigned d = 0; d < chain->n_layers; d++)
		chain->layers[d]->guest_len = chain->layers[d]->backed_len = MAX_UNITS * UNIT;
}

/* Each unit is a part of its own, but for the first two. */
static void shred(struct chain *chain)
{
	make_long(chain);
	for (unsigned u = 0; u < MAX_UNITS; u++)
		plan_rig_fill(chain, 1, u, u + 1, EXTENT_DATA, (uint64_t)u * 3 * UNIT);
}

/* A plan that is full ends with a whole cluster: the last part is cut there. */
Test(plan, full_it_goes_back_to_a_whole_cluster)
{
	struct chain *chain = plan_rig_chain(3, 4 * UNIT);
	struct plan plan;

	shred(chain);
	plan = run(chain, 0, MAX_UNITS, MAX_UNITS, 4);
	cr_assert_eq(plan.n_parts, PLAN_MAX_PARTS);
	cr_assert_eq(plan.len, PLAN_MAX_PARTS * UNIT);
	cr_assert_eq(plan.data_len, plan.len);
	plan_rig_fill(chain, 1, PLAN_MAX_PARTS - 1, PLAN_MAX_PARTS + 1, EXTENT_DATA, 7 * UNIT);
	plan = run(chain, 0, MAX_UNITS, MAX_UNITS, 4);
	cr_assert_eq(plan.n_parts, PLAN_MAX_PARTS);
	cr_assert_eq(plan.len, PLAN_MAX_PARTS * UNIT);
	cr_assert_eq(plan.parts[plan.n_parts - 1].len, UNIT, "it is cut");
	cr_assert_eq(plan.data_len, plan.len);
	plan_rig_drop(chain);
}

/* So is a piece of a compressed cluster that the pieces before lead to. */
Test(plan, full_it_leads_to_no_part_behind_its_end)
{
	enum {
		BEGIN = 4,                            /* half of a compressed cluster */
		CLUSTER = BEGIN + PLAN_MAX_PARTS - 4, /* the plan's end is its middle */
	};
	struct chain *chain = plan_rig_chain(3, 4 * UNIT);
	struct plan plan;

	shred(chain);
	plan_rig_fill(chain, 1, BEGIN, BEGIN + 2, EXTENT_DATA, 0); /* one part */
	plan_rig_fill(chain, 2, CLUSTER, CLUSTER + COMPRESS, EXTENT_COMPRESSED, 1000);
	for (unsigned u = 0; u < COMPRESS; u += 2) /* the layer above has every other unit */
		plan_rig_fill(chain, 1, CLUSTER + u, CLUSTER + u + 1, EXTENT_UNALLOCATED, 0);
	plan = run(chain, BEGIN, MAX_UNITS, MAX_UNITS - BEGIN, 4);
	cr_assert_eq(plan.len, PLAN_MAX_PARTS * UNIT, "%u", plan.len / UNIT);
	cr_assert_eq(plan.n_parts, PLAN_MAX_PARTS - 1);
	cr_assert_eq(plan.parts[plan.n_parts - 4].same, plan.n_parts - 2);
	cr_assert_eq(plan.parts[plan.n_parts - 2].same, 0, "that part is gone");
	plan_rig_drop(chain);
}

/* Above a base that stays a cluster that is to be pulled in part is copied whole, and the run goes
 * on. */
Test(plan, clusters_that_are_pulled_in_part_are_the_runs)
{
	struct chain *chain = plan_rig_chain(3, 4 * UNIT);
	struct plan plan;

	chain->pull_to = 2;
	plan_rig_fill(chain, 2, 0, UNITS, EXTENT_DATA, 0);
	plan_rig_fill(chain, 1, 0, 4, EXTENT_DATA, 0);
	plan_rig_fill(chain, 1, 6, 8, EXTENT_DATA, 0); /* of 4 and 5 the base answers */
	plan_rig_fill(chain, 1, 8, 9, EXTENT_DATA, 0);
	plan = run(chain, 0, UNITS, 64, 4);
	cr_assert_eq(plan.len, 12 * UNIT, "%u", plan.len / UNIT);
	cr_assert_eq(plan.data_len, 12 * UNIT);
	plan_rig_drop(chain);
}
