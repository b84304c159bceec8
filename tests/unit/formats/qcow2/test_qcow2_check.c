/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The check on images built in memory: sound ones have no finding, one planted
 * fault has exactly the findings it must have, and neither the size of the
 * counters' window nor how often a table is referred to changes the verdict.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/qcow2/check/check.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/open.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/images/build_image.h"
#include "tests/support/random.h"
#include "tests/unit/formats/qcow2/check_rig.h"

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
		struct verdict v = verdict_of_image(&image);
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

/* Zero flags exist from version 3 on. */
Test(qcow2_check, zero_flag_in_version_2_is_an_error)
{
	struct build_how how = check_small;
	struct build_image image;
	struct verdict v;

	how.version = 2;
	how.n_clusters = 4;
	image = build_image(&how);
	build_put64(&image, build_l2_entry_off(&image, 9), 1);
	v = verdict_of_image(&image);
	cr_assert_eq(v.result.n_errors, 1);
	cr_assert(strstr(v.first, "zero flag"), "%s", v.first);
	build_image_free(&image);
}

/* The host offset and the guest's, or the table, stand in every text. */
Test(qcow2_check, reports_say_where)
{
	struct build_image image = build_image(&check_small);
	struct verdict v;
	char expected[64];

	build_put64(&image, build_l2_entry_off(&image, 2), COPIED | (image.len + 0x10000));
	v = verdict_of_image(&image);
	cr_assert(strstr(v.first, "guest offset 0x2000 "), "%s", v.first);
	snprintf(expected, sizeof(expected), "%#" PRIx64, image.len + 0x10000);
	cr_assert(strstr(v.first, expected), "%s", v.first);
	build_image_free(&image);
}

Test(qcow2_check, no_more_reports_than_asked_for)
{
	struct build_image image = build_image(&check_small);
	struct file *file = mem_file_new("img", image.len);
	struct verdict v = { 0 };
	struct check_result counted;
	struct layer *layer;
	struct err err;

	build_put64(&image, image.reftable_off, 0);
	memcpy(mem_file_inode(file)->bytes, image.bytes, image.len);
	cr_assert_eq(qcow2_open(file, NULL, &layer, &err), 0);
	counted = (struct check_result){ .report = verdict_note, .opaque = &v, .max_reports = 0 };
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
		struct verdict v = verdict_of_bytes(image.bytes, image.len + more, 0);

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
	struct build_image image = build_image(&check_small);
	uint64_t first = image.len >> 12, n = 30;
	struct verdict v;

	image.bytes = realloc(image.bytes, image.len + n * 4096);
	memset(image.bytes + image.len, 0, n * 4096);
	image.len += n * 4096;
	for (uint64_t i = 0; i < n; i += 2)
		put_be16(image.bytes + image.refblock_off + 2 * (first + i), 1);
	v = verdict_of_image(&image);
	cr_assert_eq(v.result.n_errors, 0, "%s", v.first);
	cr_assert_eq(v.result.n_leaks, n / 2);
	cr_assert_eq(v.result.image_end_off, (first + n - 1) << 12);
	build_image_free(&image);
}

Test(qcow2_check, read_errors_are_no_verdict)
{
	struct build_image image = build_image(&check_small);
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
	v = verdict_of_bytes(image.bytes, image.len, 0);
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
		struct build_how how = check_small;
		struct build_image image;

		how.cluster_bits = 9 + 3 * random_below(&state, 2);
		how.refcount_bits = 8u << random_below(&state, 4);
		image = build_image(&how);
		mutate(&image, &state);
		struct verdict v = verdict_of_bytes(image.bytes, image.len, 0);
		struct verdict w =
			verdict_of_bytes(image.bytes, image.len, 1 + random_below(&state, 20));
		cr_assert_eq(v.hash, w.hash, "seed %" PRIu64, seed);
		cr_assert_eq(v.result.n_errors, w.result.n_errors, "seed %" PRIu64, seed);
		cr_assert_eq(v.result.n_leaks, w.result.n_leaks, "seed %" PRIu64, seed);
		build_image_free(&image);
	}
}
