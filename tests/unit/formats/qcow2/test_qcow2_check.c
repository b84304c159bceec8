/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The check on images built in memory: sound ones have no finding, one planted
 * fault has exactly the findings it must have, and neither the size of the
 * counters' window nor how often a table is referred to changes the verdict.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/qcow2/check/check.h"
#include "formats/qcow2/image/disk.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/images/build_image.h"
#include "tests/support/random.h"

#define COPIED  (UINT64_C(1) << 63)
#define PACKED  (UINT64_C(1) << 62)
#define N_GUEST 600u /* guest clusters: more than one L2 table up to 4 KiB clusters */

struct verdict {
	struct check_result result;
	uint64_t n_reads;
	uint64_t hash; /* of all texts, in any order */
	char first[512];
};

static void note(void *opaque, bool is_leak, const char *text)
{
	struct verdict *v = opaque;
	uint64_t h = is_leak ? 7 : 11;

	if (!v->first[0])
		snprintf(v->first, sizeof(v->first), "%s", text);
	for (; *text; text++)
		h = (h ^ (uint8_t)*text) * 0x100000001b3u;
	v->hash += h;
}

static struct verdict check_bytes(const uint8_t *bytes, uint64_t len, uint64_t window)
{
	struct file *file = mem_file_new("img", len);
	struct verdict v = { 0 };
	struct layer *layer;
	struct err err = { 0 };

	memcpy(mem_file_inode(file)->bytes, bytes, len);
	v.result = (struct check_result){ .report = note, .opaque = &v, .max_reports = 100000 };
	cr_assert_eq(qcow2_open(file, NULL, &layer, &err), 0, "%s", err.message);
	if (window)
		cr_assert_eq(qcow2_check_windowed(layer, &v.result, &err, window), 0);
	else
		cr_assert_eq(layer_check(layer, &v.result, &err), 0, "%s", err.message);
	cr_assert_eq(mem_file_inode(file)->n_writes, 0, "it wrote");
	v.n_reads = mem_file_inode(file)->n_reads;
	layer_close(layer);
	file_close(file);
	return v;
}

static struct verdict check_image(const struct build_image *image)
{
	static const uint64_t windows[] = { 1, 7, 64, 1000 };
	struct verdict v = check_bytes(image->bytes, image->len, 0);

	for (size_t i = 0; i < ARRAY_LEN(windows); i++) {
		struct verdict w = check_bytes(image->bytes, image->len, windows[i]);

		cr_assert_eq(w.result.n_errors, v.result.n_errors, "window %" PRIu64, windows[i]);
		cr_assert_eq(w.result.n_leaks, v.result.n_leaks, "window %" PRIu64, windows[i]);
		cr_assert_eq(w.hash, v.hash, "window %" PRIu64, windows[i]);
		cr_assert_eq(w.result.image_end_off, v.result.image_end_off);
		cr_assert_eq(w.result.n_allocated_clusters, v.result.n_allocated_clusters);
		cr_assert_eq(w.result.n_zero_clusters, v.result.n_zero_clusters);
		cr_assert_eq(w.result.n_compressed_clusters, v.result.n_compressed_clusters);
	}
	return v;
}

static size_t random_clusters(uint64_t *state, unsigned version, bool compressed,
			      struct build_cluster out[N_GUEST])
{
	size_t n = 0;

	for (uint64_t i = 0; i < N_GUEST; i++) {
		enum build_kind kind = random_below(state, BUILD_COMPRESSED + 1 + 3);

		if (kind > BUILD_COMPRESSED)
			continue;
		if ((kind == BUILD_ZERO_PLAIN || kind == BUILD_ZERO_ALLOC) && version == 2)
			kind = BUILD_DATA;
		if (kind == BUILD_COMPRESSED && !compressed)
			kind = BUILD_DATA;
		out[n++] = (struct build_cluster){ i, kind, i + 1 };
	}
	return n;
}

Test(qcow2_check, sound_images_have_no_finding)
{
	for (uint64_t seed = 1; seed <= 60; seed++) {
		uint64_t state = seed * 0x9e3779b97f4a7c15u;
		struct build_cluster clusters[N_GUEST];
		struct build_how how = { .version = 2 + random_below(&state, 3) % 2 };

		how.cluster_bits = 9 + random_below(&state, 4);
		how.refcount_bits = how.version == 2 ? 16 : 1u << random_below(&state, 7);
		how.zstd = how.version == 3 && random_below(&state, 2);
		how.guest_len = (uint64_t)N_GUEST << how.cluster_bits;
		how.shuffle_seed = random_below(&state, 2) * seed;
		how.n_extra_l1 = random_below(&state, 200);
		how.clusters = clusters;
		/* Packed clusters share host clusters: some eight references each. */
		how.n_clusters =
			random_clusters(&state, how.version, how.refcount_bits >= 8, clusters);
		struct build_image image = build_image(&how);
		struct verdict v = check_image(&image);
		uint64_t n[BUILD_COMPRESSED + 1] = { 0 };

		for (size_t i = 0; i < how.n_clusters; i++)
			n[clusters[i].kind]++;
		cr_assert_eq(v.result.n_errors + v.result.n_leaks + v.result.n_check_errors, 0,
			     "seed %" PRIu64 ": %s", seed, v.first);
		cr_assert_eq(v.result.n_compressed_clusters, n[BUILD_COMPRESSED]);
		cr_assert_eq(v.result.n_zero_clusters, n[BUILD_ZERO_PLAIN] + n[BUILD_ZERO_ALLOC]);
		cr_assert_eq(v.result.n_allocated_clusters,
			     n[BUILD_DATA] + n[BUILD_ZERO_ALLOC] + n[BUILD_COMPRESSED]);
		cr_assert_eq(v.result.n_total_clusters, N_GUEST);
		cr_assert_eq(v.result.image_end_off, image.len);
		build_image_free(&image);
	}
}

/* A small image to break: clusters 0..3 are data, 4 zero with a cluster, 5 compressed. */
static const struct build_cluster small_clusters[] = {
	{ 0, BUILD_DATA, 1 },       { 1, BUILD_DATA, 2 },       { 2, BUILD_DATA, 3 },
	{ 3, BUILD_DATA, 4 },       { 4, BUILD_ZERO_ALLOC, 5 }, { 5, BUILD_COMPRESSED, 6 },
	{ 6, BUILD_ZERO_PLAIN, 0 },
};
static const struct build_how small = {
	.cluster_bits = 12,
	.guest_len = 1 << 20,
	.clusters = small_clusters,
	.n_clusters = 7,
};

enum target {
	L1,       /* entry 0 of the L1 table */
	L2,       /* + n: entry n of the L2 table */
	REFTABLE, /* + n */
	REFCOUNT, /* + n: of host cluster n, 16 bits */
};

/* What replaces the entry: old & keep | set, with these standing for offsets in the image. */
#define AT_REFTABLE (UINT64_C(1) << 60)
#define AT_L2       (UINT64_C(2) << 60)
#define AT_DATA0    (UINT64_C(3) << 60)
#define AT_REFBLOCK (UINT64_C(4) << 60)
#define BEHIND_END  (UINT64_C(5) << 60)

struct fault {
	const char *what;
	enum target target;
	unsigned idx;
	uint64_t keep, set, place;
	uint64_t n_errors, n_leaks;
	const char *text; /* in the first finding */
};

#define ALL UINT64_MAX

static const struct fault faults[] = {
	{ "L1 reserved bit", L1, 0, ALL, 1, 0, 1, 0, "reserved" },
	{ "L1 reserved high bit", L1, 0, ALL, UINT64_C(1) << 56, 0, 1, 0, "reserved" },
	/* The table, four data clusters, the zero one and the packed one are lost. */
	{ "L2 table misaligned", L1, 0, ALL, 512, 0, 1, 7, "not cluster aligned" },
	{ "L2 table beyond the end", L1, 0, COPIED, 0, BEHIND_END, 1, 7, "beyond the end" },
	{ "L2 table is the header", L1, 0, COPIED, 0, 0, 1, 7, "header" },
	{ "L1 COPIED clear", L1, 0, ~COPIED, 0, 0, 1, 0, "COPIED is clear" },
	{ "L2 reserved bit", L2, 0, ALL, 2, 0, 1, 0, "reserved" },
	{ "data misaligned", L2, 0, ALL, 512, 0, 1, 1, "not cluster aligned" },
	{ "data beyond the end", L2, 0, COPIED, 0, BEHIND_END, 1, 1, "beyond the end" },
	{ "data is the header", L2, 7, 0, COPIED, 0, 1, 0, "header" },
	{ "COPIED clear", L2, 0, ~COPIED, 0, 0, 1, 0, "COPIED is clear" },
	{ "COPIED clear on a zero cluster", L2, 4, ~COPIED, 0, 0, 1, 0, "COPIED is clear" },
	{ "COPIED set on compressed", L2, 5, ALL, COPIED, 0, 1, 0, "compressed" },
	{ "compressed beyond the end", L2, 5, UINT64_C(1) << 62, 0, BEHIND_END, 1, 1,
	  "beyond the end" },
	/* Used twice with a refcount of one. */
	{ "data used twice", L2, 7, 0, COPIED, AT_DATA0, 1, 0, "too low" },
	{ "data entry lost", L2, 0, 0, 0, 0, 0, 1, "used 0 times" },
	/* An owner too many, and the refcount says so, too. */
	{ "data is the refcount table", L2, 7, 0, COPIED, AT_REFTABLE, 2, 0, "one owner" },
	{ "data is a refcount block", L2, 7, 0, COPIED, AT_REFBLOCK, 2, 0, "one owner" },
	{ "data is the L2 table", L2, 7, 0, COPIED, AT_L2, 2, 0, "guest data, too" },
	/* The format lets compressed clusters share host clusters, with none but one another. */
	{ "packed in a data cluster", L2, 7, 0, PACKED, AT_DATA0, 2, 0, "inside" },
	{ "packed at a data cluster's end", L2, 7, 0, PACKED + 500, AT_DATA0, 2, 0, "inside" },
	{ "packed in the refcount table", L2, 7, 0, PACKED, AT_REFTABLE, 2, 0, "one owner" },
	{ "packed in a refcount block", L2, 7, 0, PACKED, AT_REFBLOCK, 2, 0, "one owner" },
	{ "packed in the L2 table", L2, 7, 0, PACKED, AT_L2, 2, 0, "guest data, too" },
	{ "packed in the header", L2, 7, 0, PACKED, 0, 2, 0, "one owner" },
	{ "refcount one up", REFCOUNT, 1, 0, 2, 0, 0, 1, "refcount 2" },
	{ "refcount at its limit", REFCOUNT, 1, 0, 65535, 0, 0, 1, "refcount 65535" },
	{ "refcount one down", REFCOUNT, 1, 0, 0, 0, 1, 0, "too low" },
	{ "header's refcount", REFCOUNT, 0, 0, 0, 0, 1, 0, "too low" },
	/* Host cluster 3 is the first data cluster: COPIED is wrong now. */
	{ "data refcount one up", REFCOUNT, 3, 0, 2, 0, 1, 1, "COPIED is set" },
	{ "data refcount one down", REFCOUNT, 3, 0, 0, 0, 2, 0, "COPIED is set" },
	{ "reftable reserved bit", REFTABLE, 0, ALL, 1, 0, 1, 0, "reserved" },
	/* All 11 clusters but the lost block's have no refcount; COPIED is wrong for six. */
	{ "refblock misaligned", REFTABLE, 0, ALL, 512, 0, 17, 0, "not cluster aligned" },
	{ "refblock beyond the end", REFTABLE, 0, 0, 0, BEHIND_END, 17, 0, "beyond the end" },
	{ "refblock missing", REFTABLE, 0, 0, 0, 0, 16, 0, "COPIED is set" },
	{ "refblock twice", REFTABLE, 1, 0, 0, AT_REFBLOCK, 2, 0, "one owner" },
	{ "refblock is the L2 table", REFTABLE, 1, 0, 0, AT_L2, 2, 0, "one owner" },
};

static uint64_t place_off(const struct build_image *image, uint64_t place)
{
	if (place == AT_REFTABLE)
		return image->reftable_off;
	if (place == AT_REFBLOCK)
		return image->refblock_off;
	if (place == AT_L2)
		return build_get64(image, image->l1_off) & QCOW2_OFF_MASK;
	if (place == AT_DATA0)
		return build_get64(image, build_l2_entry_off(image, 0)) & QCOW2_OFF_MASK;
	return place == BEHIND_END ? image->len + (UINT64_C(1) << image->cluster_bits) : 0;
}

static void plant(struct build_image *image, const struct fault *fault)
{
	uint64_t set = fault->set | place_off(image, fault->place), at = 0;

	switch (fault->target) {
	case L1: at = image->l1_off; break;
	case L2: at = build_l2_entry_off(image, fault->idx); break;
	case REFTABLE: at = image->reftable_off + 8 * fault->idx; break;
	case REFCOUNT: put_be16(image->bytes + image->refblock_off + 2 * fault->idx, set); return;
	}
	build_put64(image, at, (build_get64(image, at) & fault->keep) | set);
}

Test(qcow2_check, each_fault_has_its_findings)
{
	for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
		struct build_image image = build_image(&small);
		struct verdict v;

		plant(&image, &faults[i]);
		v = check_image(&image);
		cr_expect_eq(v.result.n_errors, faults[i].n_errors, "%s: %" PRIu64 " errors, %s",
			     faults[i].what, v.result.n_errors, v.first);
		cr_expect_eq(v.result.n_leaks, faults[i].n_leaks, "%s: %" PRIu64 " leaks, %s",
			     faults[i].what, v.result.n_leaks, v.first);
		cr_expect(strstr(v.first, faults[i].text), "%s: %s", faults[i].what, v.first);
		build_image_free(&image);
	}
}

/* Zero flags exist from version 3 on. */
Test(qcow2_check, zero_flag_in_version_2_is_an_error)
{
	struct build_how how = small;
	struct build_image image;
	struct verdict v;

	how.version = 2;
	how.n_clusters = 4;
	image = build_image(&how);
	build_put64(&image, build_l2_entry_off(&image, 9), 1);
	v = check_image(&image);
	cr_assert_eq(v.result.n_errors, 1);
	cr_assert(strstr(v.first, "zero flag"), "%s", v.first);
	build_image_free(&image);
}

/* The host offset and the guest's, or the table, stand in every text. */
Test(qcow2_check, reports_say_where)
{
	struct build_image image = build_image(&small);
	struct verdict v;
	char expected[64];

	build_put64(&image, build_l2_entry_off(&image, 2), COPIED | (image.len + 0x10000));
	v = check_image(&image);
	cr_assert(strstr(v.first, "guest offset 0x2000 "), "%s", v.first);
	snprintf(expected, sizeof(expected), "%#" PRIx64, image.len + 0x10000);
	cr_assert(strstr(v.first, expected), "%s", v.first);
	build_image_free(&image);
}

Test(qcow2_check, no_more_reports_than_asked_for)
{
	struct build_image image = build_image(&small);
	struct file *file = mem_file_new("img", image.len);
	struct verdict v = { 0 };
	struct check_result counted;
	struct layer *layer;
	struct err err;

	build_put64(&image, image.reftable_off, 0);
	memcpy(mem_file_inode(file)->bytes, image.bytes, image.len);
	cr_assert_eq(qcow2_open(file, NULL, &layer, &err), 0);
	counted = (struct check_result){ .report = note, .opaque = &v, .max_reports = 0 };
	cr_assert_eq(layer_check(layer, &counted, &err), 0);
	cr_assert_eq(counted.n_errors, 16);
	cr_assert_str_eq(v.first, "");
	layer_close(layer);
	file_close(file);
	build_image_free(&image);
}

/* The file may end inside its last cluster; a range reaching a cluster behind it is damage. */
Test(qcow2_check, last_cluster_may_be_cut)
{
	static const struct build_cluster last[] = { { 0, BUILD_DATA, 1 } };
	struct build_how how = { .cluster_bits = 12, .guest_len = 1 << 20, .clusters = last };
	struct build_image image;
	uint64_t l2;

	how.n_clusters = 1;
	image = build_image(&how);
	/* Move the data to the very end, behind the refcount table. */
	l2 = build_l2_entry_off(&image, 0);
	uint64_t old = build_get64(&image, l2) & QCOW2_OFF_MASK;
	build_put64(&image, l2, COPIED | image.len);
	put_be16(image.bytes + image.refblock_off + 2 * (old >> 12), 0);
	put_be16(image.bytes + image.refblock_off + 2 * (image.len >> 12), 1);
	image.bytes = realloc(image.bytes, image.len + 4096);
	for (uint64_t more = 0; more <= 4096; more += 512) {
		struct verdict v = check_bytes(image.bytes, image.len + more, 0);

		/* Without a byte of it the cluster lies wholly behind the end. */
		cr_assert_eq(v.result.n_errors, more ? 0 : 1, "%" PRIu64 ": %s", more, v.first);
		cr_assert_eq(v.result.n_leaks, 0, "%" PRIu64 ": %s", more, v.first);
		cr_assert_eq(v.result.image_end_off, image.len + (more ? 4096 : 0));
	}
	build_image_free(&image);
}

/* Found without walking anything, where a window has no reference at all. */
Test(qcow2_check, leaks_behind_the_last_reference)
{
	struct build_image image = build_image(&small);
	uint64_t first = image.len >> 12, n = 30;
	struct verdict v;

	image.bytes = realloc(image.bytes, image.len + n * 4096);
	memset(image.bytes + image.len, 0, n * 4096);
	image.len += n * 4096;
	for (uint64_t i = 0; i < n; i += 2)
		put_be16(image.bytes + image.refblock_off + 2 * (first + i), 1);
	v = check_image(&image);
	cr_assert_eq(v.result.n_errors, 0, "%s", v.first);
	cr_assert_eq(v.result.n_leaks, n / 2);
	cr_assert_eq(v.result.image_end_off, (first + n - 1) << 12);
	build_image_free(&image);
}

Test(qcow2_check, read_errors_are_no_verdict)
{
	struct build_image image = build_image(&small);
	struct file *file = mem_file_new("img", image.len);
	struct check_result result = { 0 };
	struct layer *layer;
	struct err err;

	memcpy(mem_file_inode(file)->bytes, image.bytes, image.len);
	cr_assert_eq(qcow2_open(file, NULL, &layer, &err), 0);
	mem_file_inode(file)->read_error = -EIO;
	cr_assert_eq(layer_check(layer, &result, &err), 0);
	cr_assert_eq(result.n_check_errors, 1);
	cr_assert_eq(result.n_errors + result.n_leaks, 0);
	layer_close(layer);
	file_close(file);
	build_image_free(&image);
}

/* 2^19 entries that name one table: walking it for each would take minutes. */
Test(qcow2_check, one_table_named_often_is_walked_once)
{
	static const struct build_cluster one[] = { { 0, BUILD_DATA, 1 } };
	struct build_how how = { .cluster_bits = 16, .guest_len = 65536, .clusters = one };
	struct build_image image;
	struct verdict v;
	uint64_t entry;

	how.n_clusters = 1;
	how.n_extra_l1 = (1 << 19) - 1;
	image = build_image(&how);
	entry = build_get64(&image, image.l1_off);
	for (uint64_t i = 1; i < 1 << 19; i++)
		build_put64(&image, image.l1_off + 8 * i, entry);
	v = check_bytes(image.bytes, image.len, 0);
	/* Each entry but the first, the table's refcount, and its data's: used 2^19 times, too. */
	cr_assert_eq(v.result.n_errors, (1 << 19) + 1, "%s", v.first);
	/* 64 pieces of the L1 table a walk. */
	cr_assert_lt(v.n_reads, 300);
	build_image_free(&image);
}

static uint64_t mutate(struct build_image *image, uint64_t *state)
{
	/* Boundary values, and entries of the image's own in other places. */
	static const uint64_t values[] = {
		0,
		1,
		COPIED,
		UINT64_MAX,
		UINT64_C(1) << 62,
		0x1ff,
		1 << 9,
		COPIED | 0x1000,
		UINT64_C(3) << 61,
		UINT64_C(1) << 55,
		0xfffffe00,
		1 << 12,
		UINT64_C(1) << 56,
	};
	uint64_t n = 1 + random_below(state, 4);

	for (uint64_t i = 0; i < n; i++) {
		uint64_t at = 8 * random_below(state, image->len / 8);
		uint64_t v = values[random_below(state, ARRAY_LEN(values))];

		if (random_below(state, 2)) /* into a table rather than anywhere */
			at = image->l1_off + 8 * random_below(state, 8);
		if (random_below(state, 3) == 0)
			v = build_get64(image, 8 * random_below(state, image->len / 8));
		if (at >= 4096) /* the header is qcow2_open()'s */
			build_put64(image, at, v);
	}
	return n;
}

/* Whatever the tables say: it ends, stays in bounds (sanitizers), and windows agree. */
Test(qcow2_check, a_check_of_any_damage_ends_and_counts_alike)
{
	for (uint64_t seed = 1; seed <= 1500; seed++) {
		uint64_t state = seed * 0x9e3779b97f4a7c15u;
		struct build_how how = small;
		struct build_image image;

		how.cluster_bits = 9 + 3 * random_below(&state, 2);
		how.refcount_bits = 8u << random_below(&state, 4);
		image = build_image(&how);
		mutate(&image, &state);
		struct verdict v = check_bytes(image.bytes, image.len, 0);
		struct verdict w =
			check_bytes(image.bytes, image.len, 1 + random_below(&state, 20));
		cr_assert_eq(v.hash, w.hash, "seed %" PRIu64, seed);
		cr_assert_eq(v.result.n_errors, w.result.n_errors, "seed %" PRIu64, seed);
		cr_assert_eq(v.result.n_leaks, w.result.n_leaks, "seed %" PRIu64, seed);
		build_image_free(&image);
	}
}
