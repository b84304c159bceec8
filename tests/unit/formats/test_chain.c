/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Mapping through a chain against a flat model, and the names of backing
 * files. The layers are made up here, so that they can be of any length, ask
 * for tables at any time, answer less than they could, and lie. Opening is in
 * test_chain_open.c and its neighbours.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>

#include "formats/chain/chain.h"
#include "formats/chain/hidden.h"
#include "formats/chain/map.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/file_rest.h"
#include "io/file/opener.h"
#include "tests/unit/formats/fake_layer.h"

/* ---- A layer made up of units ---- */

/* ---- The model: what one byte reads from ---- */

struct expected_layer {
	enum extent_kind kind;
	unsigned depth;
	uint64_t host_off; /* DATA: of the byte; COMPRESSED: of the cluster */
};

static struct expected_layer source_of(struct chain *chain, unsigned from, uint64_t off)
{
	for (unsigned d = from; d < chain->n_layers; d++) {
		const struct fake *fake = fake_at(chain, d);
		uint64_t unit = off / UNIT;

		if (off >= fake->layer.guest_len)
			break;
		switch (fake->kind[unit]) {
		case EXTENT_UNALLOCATED: continue;
		case EXTENT_ZERO: return (struct expected_layer){ EXTENT_ZERO, d, 0 };
		case EXTENT_DATA:
			return (struct expected_layer){ EXTENT_DATA, d,
							fake->host_off[unit] + off % UNIT };
		case EXTENT_COMPRESSED:
			return (struct expected_layer){
				EXTENT_COMPRESSED, d,
				fake->host_off[round_down(unit, COMP_LEN / UNIT)]
			};
		}
	}
	return (struct expected_layer){ EXTENT_ZERO, chain->n_layers, 0 };
}

/* chain_map() as the engine runs it: what is missing is loaded, and it is asked again. */
static int map_loading(struct chain *chain, unsigned from, uint64_t off, uint64_t len,
		       struct extent *e)
{
	struct table_need need = { 0 };

	for (int i = 0; i < 100; i++) {
		int rc = chain_map(chain, from, off, len, e, &need);

		if (rc != TABLE_NEED)
			return rc;
		/* The fake layers do not say whose table it is; at least one is missing there. */
		bool missing = false;
		for (unsigned d = 0; d < chain->n_layers; d++) {
			missing |= !fake_at(chain, d)->loaded[need.host_off];
			fake_at(chain, d)->loaded[need.host_off] = true;
		}
		cr_assert(missing, "asked for a table that is there");
	}
	cr_assert_fail("loads without end");
	return -EIO;
}

static void check_byte(struct chain *chain, unsigned from, const struct extent *e, uint64_t i,
		       uint64_t seed)
{
	struct expected_layer s = source_of(chain, from, e->guest_off + i);

	cr_assert(s.kind == e->kind && s.depth == e->depth,
		  "seed %" PRIu64 ": kind %d depth %u at %" PRIu64 ", should be %d %u", seed,
		  e->kind, e->depth, e->guest_off + i, s.kind, s.depth);
	if (e->kind == EXTENT_ZERO)
		cr_assert_not(e->has_host, "seed %" PRIu64, seed);
	else
		cr_assert(e->has_host &&
				  s.host_off == e->host_off + (e->kind == EXTENT_DATA ? i : 0),
			  "seed %" PRIu64, seed);
}

static void check_extent(struct chain *chain, unsigned from, uint64_t off, uint64_t len,
			 const struct extent *e, uint64_t seed)
{
	cr_assert(e->guest_off == off && e->len > 0 && e->len <= len,
		  "seed %" PRIu64 ": [%" PRIu64 ", +%" PRIu64 ") asked at %" PRIu64, seed,
		  e->guest_off, e->len, off);
	cr_assert_neq(e->kind, EXTENT_UNALLOCATED, "seed %" PRIu64, seed);
	/* The first and the last byte within each unit: at most one layer ends between them. */
	for (uint64_t i = 0, end; i < e->len; i = end) {
		end = MIN(round_down(off + i, UNIT) + UNIT - off, e->len);
		check_byte(chain, from, e, i, seed);
		check_byte(chain, from, e, end - 1, seed);
	}
	if (e->kind == EXTENT_COMPRESSED)
		cr_assert(e->skip == off % COMP_LEN && e->skip + e->len <= COMP_LEN &&
				  e->host_len == 100,
			  "seed %" PRIu64, seed);
}

static struct chain *random_chain(void)
{
	struct chain *chain = calloc(1, sizeof(*chain));
	unsigned n = 1 + (unsigned)fake_roll(MAX_LAYERS);

	for (unsigned d = 0; d < n; d++) {
		/* Ends inside of units and sectors, too; the longest may be any of them. */
		uint64_t guest_len = fake_roll(3) ? fake_roll(MAX_LEN + 1) : MAX_LEN;
		struct fake *fake = fake_new(guest_len, fake_roll(2));

		fake_scatter(fake, (unsigned)fake_roll(12));
		fake->stingy = fake_roll(3) == 0;
		fake->layer.is_overlay = d == 0 && fake_roll(2);
		chain->layers[chain->n_layers++] = &fake->layer;
	}
	return chain;
}

Test(chain, map_agrees_with_a_flat_model)
{
	for (uint64_t seed = 1; seed <= N_SEEDS; seed++) {
		fake_rng = seed * UINT64_C(0x9e3779b97f4a7c15);
		struct chain *chain = random_chain();
		struct extent e;

		for (uint64_t off = 0; off < MAX_LEN; off += e.len) {
			uint64_t len = 1 + fake_roll(MAX_LEN - off);

			cr_assert_eq(map_loading(chain, 0, off, len, &e), 0);
			check_extent(chain, 0, off, len, &e, seed);
		}
		for (int i = 0; i < 40; i++) {
			uint64_t off = fake_roll(MAX_LEN), len = 1 + fake_roll(MAX_LEN - off);
			unsigned from = (unsigned)fake_roll(chain->n_layers + 1);

			/* An overlay changes between two questions. */
			if (chain->layers[0]->is_overlay)
				fake_scatter(fake_at(chain, 0), 1);
			cr_assert_eq(map_loading(chain, from, off, len, &e), 0);
			check_extent(chain, from, off, len, &e, seed);
		}
		chain_drop(chain);
	}
}

/* Measured with QEMU: 8M base <- 2M middle <- 8M top reads zeros past 2M. */
Test(chain, short_layer_hides_what_lies_below)
{
	struct chain *chain = chain_of(3);
	struct extent e;
	struct table_need need;

	fake_fill(fake_at(chain, 2), 0, MAX_UNITS, EXTENT_DATA);
	chain->layers[1]->guest_len = 1000;
	cr_assert_eq(chain_map(chain, 0, 0, MAX_LEN, &e, &need), 0);
	cr_assert(e.kind == EXTENT_DATA && e.depth == 2 && e.len == 1000);
	cr_assert_eq(chain_map(chain, 0, 1000, MAX_LEN - 1000, &e, &need), 0);
	cr_assert(e.kind == EXTENT_ZERO && e.depth == 3 && e.len == MAX_LEN - 1000);
	/* Beyond the top layer, too, and beyond all of them. */
	cr_assert_eq(chain_map(chain, 0, MAX_LEN, 5, &e, &need), 0);
	cr_assert(e.kind == EXTENT_ZERO && e.depth == 3 && e.len == 5);
	cr_assert_eq(chain_map(chain, 0, UINT64_MAX - 4, 5, &e, &need), 0);
	cr_assert(e.kind == EXTENT_ZERO && e.len == 5);
	chain_drop(chain);
}

/* Zeros of dropped layers want entries where the new base would show through, and nowhere else. */
Test(chain, zeros_behind_the_new_base_need_no_entry)
{
	struct chain *chain = chain_of(3);
	struct extent e;
	struct table_need need;

	fake_fill(fake_at(chain, 1), 0, MAX_UNITS, EXTENT_ZERO);
	chain->layers[2]->guest_len = 1000;
	chain->pull_to = 2;
	cr_assert_eq(chain_map_pulled(chain, 0, MAX_LEN, &e, &need), 0);
	cr_assert(e.kind == EXTENT_ZERO && e.len == 1000);
	cr_assert_eq(chain_map_pulled(chain, 999, MAX_LEN - 999, &e, &need), 0);
	cr_assert(e.kind == EXTENT_ZERO && e.len == 1);
	cr_assert_eq(chain_map_pulled(chain, 1000, MAX_LEN - 1000, &e, &need), 0);
	cr_assert(e.kind == EXTENT_UNALLOCATED && e.len == MAX_LEN - 1000);
	chain_drop(chain);
}

Test(chain, what_was_dropped_is_in_no_count)
{
	struct chain *chain = chain_of(4);
	struct layer *dropped[] = { chain->layers[1], chain->layers[2] }, *base = chain->layers[3];
	struct extent e;
	struct table_need need;
	struct file *files = NULL;

	fake_fill(fake_at(chain, 1), 0, MAX_UNITS, EXTENT_DATA);
	fake_fill(fake_at(chain, 3), 0, MAX_UNITS, EXTENT_DATA);
	for (size_t i = 0; i < ARRAY_LEN(dropped); i++)
		dropped[i]->n_users = 2; /* another chain has them still */
	chain->pull_to = 3;
	chain->format_from[3] = CHAIN_FORMAT_TOLD;
	chain->is_resolved[3] = true;
	chain_hide(chain, 1, chain->pull_to);
	cr_assert_eq(chain_map(chain, 0, 0, 512, &e, &need), 0);
	cr_assert_eq(e.depth, 3);
	chain_show_all(chain);
	cr_assert_eq(chain_map(chain, 0, 0, 512, &e, &need), 0);
	cr_assert_eq(e.depth, 1);
	chain_hide(chain, 1, chain->pull_to);
	chain_drop_hidden(chain, NULL, NULL, &files);
	file_close_all(files);
	cr_assert_eq(chain->n_layers, 2);
	cr_assert_eq(chain->pull_to, 2, "all that is left is to be pulled next");
	cr_assert_eq(chain->hidden_to, 0);
	cr_assert_eq(chain->layers[1], base);
	cr_assert_eq(chain->format_from[1], CHAIN_FORMAT_TOLD, "what is known of it goes along");
	cr_assert(chain->is_resolved[1]);
	cr_assert_eq(chain_map(chain, 0, 0, 512, &e, &need), 0);
	cr_assert_eq(e.depth, 1);
	for (size_t i = 0; i < ARRAY_LEN(dropped); i++) {
		cr_assert_eq(dropped[i]->n_users, 1);
		layer_close(dropped[i]);
	}
	chain_drop(chain);
}

Test(chain, errors_of_a_layer_come_through)
{
	struct chain *chain = chain_of(3);
	struct extent e;
	struct table_need need;

	fake_at(chain, 2)->error = -EIO;
	cr_assert_eq(chain_map(chain, 0, 0, 512, &e, &need), -EIO);
	fake_at(chain, 2)->error = 0;
	chain->layers[1]->refused.read.code = -ENOTSUP;
	cr_assert_eq(chain_map(chain, 0, 0, 512, &e, &need), -ENOTSUP,
		     "opened for info only: its tables mean nothing here");
	chain_drop(chain);
}

Test(chain, an_answer_that_can_not_be_is_corruption)
{
	static const struct {
		uint64_t len, skew;
	} rows[] = { { 0, 0 }, { MAX_LEN + 1, 0 }, { UINT64_MAX, 0 }, { 512, 512 } };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct chain *chain = chain_of(3);
		struct extent e;
		struct table_need need;

		fake_at(chain, 1)->lie = true;
		fake_at(chain, 1)->lie_len = rows[i].len;
		fake_at(chain, 1)->lie_skew = rows[i].skew;
		cr_assert_eq(chain_map(chain, 0, 0, MAX_LEN, &e, &need), -EUCLEAN, "row %zu", i);
		chain_drop(chain);
	}
}

/* The cursor walks over a deep chain in small steps: layers without data are asked once. */
Test(chain, deep_layers_are_not_searched_again_for_every_step)
{
	struct chain *chain = chain_of(CHAIN_MAX_DEPTH + 1);
	struct extent e;
	struct table_need need;

	chain->layers[0]->is_overlay = true;
	for (int pass = 0; pass < 2; pass++) {
		for (uint64_t off = 0; off < MAX_LEN; off += UNIT) {
			cr_assert_eq(chain_map(chain, 0, off, UNIT, &e, &need), 0);
			cr_assert(e.kind == EXTENT_ZERO && e.depth == CHAIN_MAX_DEPTH + 1);
		}
	}
	for (unsigned d = 1; d < chain->n_layers; d++)
		cr_assert_eq(fake_at(chain, d)->n_maps, 1, "depth %u", d);
	cr_assert_eq(fake_at(chain, 0)->n_maps, 2 * MAX_UNITS, "the overlay is asked every time");
	chain_drop(chain);
}
