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
#include "formats/chain/chain_base.h"
#include "formats/chain/map.h"
#include "formats/chain/name.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/file_rest.h"
#include "io/file/opener.h"
#include "tests/support/random.h"

#define N_SEEDS    10000
#define MAX_LAYERS 6
#define UNIT       64 /* bytes; all borders but the ends of layers lie on these */
#define MAX_LEN    (200 * UNIT)
#define MAX_UNITS  (MAX_LEN / UNIT)
#define COMP_LEN   (4 * UNIT) /* a compressed cluster */

static uint64_t rng;

static uint64_t roll(uint64_t below)
{
	return random_below(&rng, below);
}

/* ---- A layer made up of units ---- */

struct fake {
	struct layer layer; /* first */
	enum extent_kind kind[MAX_UNITS];
	uint64_t host_off[MAX_UNITS]; /* of the unit, where it has data */
	bool loaded[MAX_UNITS / 8];   /* "tables" of eight units */
	bool stingy;                  /* may answer less than it could */
	unsigned n_maps;
	int error;
	/* A false answer. */
	bool lie;
	uint64_t lie_len, lie_skew;
};

static struct fake *fake_of(struct layer *layer)
{
	return (struct fake *)layer;
}

static bool goes_on(const struct fake *fake, uint64_t unit)
{
	if (fake->kind[unit + 1] != fake->kind[unit])
		return false;
	if (fake->kind[unit] == EXTENT_COMPRESSED)
		return (unit + 1) % (COMP_LEN / UNIT) != 0;
	return fake->kind[unit] != EXTENT_DATA ||
	       fake->host_off[unit + 1] == fake->host_off[unit] + UNIT;
}

static int fake_map(struct layer *layer, uint64_t guest_off, uint64_t len, struct extent *out,
		    struct table_need *need)
{
	struct fake *fake = fake_of(layer);
	uint64_t unit = guest_off / UNIT, end = (unit + 1) * UNIT;

	fake->n_maps++;
	cr_assert(len > 0 && guest_off < layer->guest_len && len <= layer->guest_len - guest_off,
		  "asked outside of the layer");
	if (fake->error)
		return fake->error;
	if (!fake->loaded[unit / 8]) {
		*need = (struct table_need){ .file = NULL, .host_off = unit / 8, .len = 8 };
		return TABLE_NEED;
	}
	while (end < guest_off + len && fake->loaded[end / UNIT / 8] &&
	       goes_on(fake, end / UNIT - 1))
		end += UNIT;
	*out = (struct extent){
		.kind = fake->kind[unit],
		.guest_off = guest_off + fake->lie_skew,
		.len = MIN(end - guest_off, len),
	};
	if (fake->stingy)
		out->len = 1 + roll(out->len);
	if (fake->lie)
		out->len = fake->lie_len;
	if (out->kind == EXTENT_DATA) {
		out->has_host = true;
		out->host_off = fake->host_off[unit] + guest_off % UNIT;
	} else if (out->kind == EXTENT_COMPRESSED) {
		out->has_host = true;
		out->host_off = fake->host_off[round_down(unit, COMP_LEN / UNIT)];
		out->host_len = 100;
		out->skip = (uint32_t)(guest_off % COMP_LEN);
	}
	return 0;
}

static void fake_close(struct layer *layer)
{
	free(layer);
}

static const struct layer_ops fake_ops = {
	.name = "fake",
	.map = fake_map,
	.close = fake_close,
};

static void fake_fill(struct fake *fake, uint64_t from, uint64_t to, enum extent_kind kind)
{
	uint64_t host_off = roll(1000) * UNIT;

	for (uint64_t unit = from; unit < to; unit++, host_off += UNIT) {
		fake->kind[unit] = kind;
		fake->host_off[unit] = host_off;
	}
}

/* Mostly unallocated, so that questions go deep. */
static void fake_scatter(struct fake *fake, unsigned n)
{
	static const enum extent_kind kinds[] = { EXTENT_DATA, EXTENT_ZERO, EXTENT_COMPRESSED,
						  EXTENT_UNALLOCATED, EXTENT_DATA };

	while (n--) {
		enum extent_kind kind = kinds[roll(ARRAY_LEN(kinds))];
		uint64_t from = roll(MAX_UNITS), to = MIN(from + 1 + roll(30), (uint64_t)MAX_UNITS);

		if (kind == EXTENT_COMPRESSED) {
			from = round_down(from, COMP_LEN / UNIT);
			to = from + COMP_LEN / UNIT;
		}
		fake_fill(fake, from, to, kind);
	}
	/* A compressed cluster that was overwritten in part is none any more. */
	for (uint64_t from = 0; from < MAX_UNITS; from += COMP_LEN / UNIT)
		for (uint64_t i = 0; i < COMP_LEN / UNIT; i++)
			if (fake->kind[from] != fake->kind[from + i] ||
			    fake->host_off[from + i] != fake->host_off[from] + i * UNIT)
				for (uint64_t j = 0; j < COMP_LEN / UNIT; j++)
					if (fake->kind[from + j] == EXTENT_COMPRESSED)
						fake->kind[from + j] = EXTENT_ZERO;
}

static struct fake *fake_new(uint64_t guest_len, bool loaded)
{
	struct fake *fake = calloc(1, sizeof(*fake));

	fake->layer = (struct layer){
		.ops = &fake_ops, .guest_len = guest_len, .cluster_len = 512, .n_users = 1
	};
	for (size_t i = 0; i < ARRAY_LEN(fake->loaded); i++)
		fake->loaded[i] = loaded || roll(2);
	return fake;
}

static struct chain *chain_of(unsigned n_layers)
{
	struct chain *chain = calloc(1, sizeof(*chain));

	for (unsigned i = 0; i < n_layers; i++)
		chain->layers[chain->n_layers++] = &fake_new(MAX_LEN, true)->layer;
	return chain;
}

static struct fake *fake_at(struct chain *chain, unsigned depth)
{
	return fake_of(chain->layers[depth]);
}

static void chain_drop(struct chain *chain)
{
	for (unsigned i = 0; i < chain->n_layers; i++)
		layer_close(chain->layers[i]);
	free(chain);
}

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
	unsigned n = 1 + (unsigned)roll(MAX_LAYERS);

	for (unsigned d = 0; d < n; d++) {
		/* Ends inside of units and sectors, too; the longest may be any of them. */
		uint64_t guest_len = roll(3) ? roll(MAX_LEN + 1) : MAX_LEN;
		struct fake *fake = fake_new(guest_len, roll(2));

		fake_scatter(fake, (unsigned)roll(12));
		fake->stingy = roll(3) == 0;
		fake->layer.is_overlay = d == 0 && roll(2);
		chain->layers[chain->n_layers++] = &fake->layer;
	}
	return chain;
}

Test(chain, map_agrees_with_a_flat_model)
{
	for (uint64_t seed = 1; seed <= N_SEEDS; seed++) {
		rng = seed * UINT64_C(0x9e3779b97f4a7c15);
		struct chain *chain = random_chain();
		struct extent e;

		for (uint64_t off = 0; off < MAX_LEN; off += e.len) {
			uint64_t len = 1 + roll(MAX_LEN - off);

			cr_assert_eq(map_loading(chain, 0, off, len, &e), 0);
			check_extent(chain, 0, off, len, &e, seed);
		}
		for (int i = 0; i < 40; i++) {
			uint64_t off = roll(MAX_LEN), len = 1 + roll(MAX_LEN - off);
			unsigned from = (unsigned)roll(chain->n_layers + 1);

			/* An overlay changes between two questions. */
			if (chain->layers[0]->is_overlay)
				fake_scatter(fake_at(chain, 0), 1);
			cr_assert_eq(map_loading(chain, from, off, len, &e), 0);
			check_extent(chain, from, off, len, &e, seed);
		}
		chain_drop(chain);
	}
}

/* FACTS B.5 as measured with QEMU: 8M base <- 2M middle <- 8M top reads zeros past 2M. */
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

/* ---- Names ---- */

Test(chain, backing_names_become_paths)
{
	static const struct {
		const char *image, *recorded;
		int rc;
		const char *path; /* or what the sentence must hold */
	} rows[] = {
		{ "top.qcow2", "base.qcow2", 0, "base.qcow2" },
		{ "./top.qcow2", "base.qcow2", 0, "./base.qcow2" },
		{ "d/e/top.qcow2", "base.qcow2", 0, "d/e/base.qcow2" },
		{ "/d/top.qcow2", "../base", 0, "/d/../base" },
		{ "/top.qcow2", "base", 0, "/base" },
		{ "d/top.qcow2", "/abs/base", 0, "/abs/base" },
		{ "d/top.qcow2", "./a:b", 0, "d/./a:b" },
		{ "d/top.qcow2", "sub/a:b", 0, "d/sub/a:b" },
		{ "d/top.qcow2", "/a:b", 0, "/a:b" },
		{ "d/top.qcow2", "file:base.raw", 0, "base.raw" },
		{ "/d/top.qcow2", "file:../base.raw", 0, "../base.raw" },
		{ "d/top.qcow2", "file:/abs/base.raw", 0, "/abs/base.raw" },
		{ "d/top.qcow2", "file:nbd:x", 0, "nbd:x" },
		{ "d:x/top.qcow2", "base", 0, "d:x/base" },
		{ "d/top.qcow2", "json", 0, "d/json" },
		{ "d/top.qcow2", "filebase", 0, "d/filebase" },
		{ "d/top.qcow2", " base", 0, "d/ base" },
		{ "d/top.qcow2", "b\xc3\xa4se", 0, "d/b\xc3\xa4se" },
		{ "d/top.qcow2", "100%s.raw", 0, "d/100%s.raw" },
		{ "d/top.qcow2", "json:{\"driver\":\"raw\"}", -ENOTSUP, "json: descriptions" },
		{ "d/top.qcow2", "nbd://host/x", -ENOTSUP, "'nbd://host/x'" },
		{ "d/top.qcow2", "host_device:/dev/sda", -ENOTSUP, "protocols" },
		{ "d/top.qcow2", "FILE:x", -ENOTSUP, "protocols" },
		{ "d/top.qcow2", "a:b", -ENOTSUP, "./NAME" },
		{ "d/top.qcow2", "ab:c", -ENOTSUP, "protocols" },
		{ "d/top.qcow2", ":b", -ENOTSUP, "protocols" },
		{ "d/top.qcow2", "1:b", -ENOTSUP, "protocols" },
		{ "d/top.qcow2", "C:\\x", -ENOTSUP, "drive letter" },
		{ "d/top.qcow2", "c:/x", -ENOTSUP, "drive letter" },
		{ "d/top.qcow2", "", -EUCLEAN, "'d/top.qcow2'" },
		{ "d/top.qcow2", "file:", -EUCLEAN, "empty" },
		{ "d/top.qcow2", "ba\nse", -ENOTSUP, "ba\\x0ase" },
		{ "d/top.qcow2", "base\x7f", -ENOTSUP, "control" },
		{ "d/top.qcow2", "\x1b[2Jbase", -ENOTSUP, "\\x1b" },
		{ "d/top.qcow2", "json:\x01", -ENOTSUP, "control" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *path = NULL;
		struct err err = { 0 };
		int rc = chain_backing_path(rows[i].image, rows[i].recorded, &path, &err);

		cr_assert_eq(rc, rows[i].rc, "row %zu: %d %s", i, rc, err.message);
		if (rc == 0) {
			cr_assert_str_eq(path, rows[i].path, "row %zu", i);
		} else {
			cr_assert_null(path);
			cr_assert(strstr(err.message, rows[i].path), "row %zu: %s", i, err.message);
		}
		free(path);
	}
}

/* ---- Which file is the base ---- */

/* An opener of which every call fails so. */
struct failing {
	struct file_opener opener; /* first */
	int code;
	unsigned n_calls;
};

static int failing_open(struct file_opener *opener, const struct file_open *how, struct file **out,
			struct err *err)
{
	struct failing *failing = (struct failing *)opener;

	(void)how;
	(void)out;
	failing->n_calls++;
	return err ? err_set(err, failing->code, "it fails") : failing->code;
}

/* The process's want says nothing of the file; any other failure leaves the names to go by. */
Test(chain, want_is_not_taken_for_a_wrong_base)
{
	static const struct {
		int code;
		bool is_want;
	} rows[] = { { -EMFILE, true },  { -ENFILE, true },  { -ENOMEM, true },
		     { -EACCES, false }, { -ENOENT, false }, { -EIO, false } };
	struct file files[2] = { { .name = (char *)"/d/top", .real_name = (char *)"/d/top" },
				 { .name = (char *)"/d/base", .real_name = (char *)"/d/base" } };
	struct layer layers[2] = { { .file = &files[0], .backing.name = (char *)"base" },
				   { .file = &files[1] } };
	struct chain chain = { .n_layers = 2, .layers = { &layers[0], &layers[1] } };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct failing failing = { .opener.open = failing_open, .code = rows[i].code };
		bool is_want = rows[i].is_want;
		struct err err = { 0 };
		unsigned depth = 0;
		char *name = NULL;
		int rc = chain_find_base(&chain, &failing.opener, "other", &depth, &err);

		cr_assert_eq(rc, is_want ? rows[i].code : -EINVAL, "row %zu: %s", i, err.message);
		cr_assert_eq(failing.n_calls, 1);
		cr_assert(strstr(err.message, is_want ? "cannot open 'other'" : "is not in the"),
			  "row %zu: %s", i, err.message);
		cr_assert_eq(err.remedy, is_want ? ERR_REMEDY_NONE : ERR_REMEDY_LIST_CHAIN);
		/* Its own name, too, says nothing then. */
		rc = chain_find_base(&chain, &failing.opener, "base", &depth, &err);
		cr_assert_eq(rc, is_want ? rows[i].code : 0, "row %zu: %s", i, err.message);
		cr_assert_eq(depth, is_want ? 0 : 1);
		rc = chain_name_base(&chain, &failing.opener, 1, "link", &name, &err);
		cr_assert_eq(rc, is_want ? rows[i].code : -EINVAL, "row %zu: %s", i, err.message);
		cr_assert(strstr(err.message, is_want ? "cannot open 'link'" : "does not lead to"),
			  "row %zu: %s", i, err.message);
		cr_assert_null(name);
	}
}
