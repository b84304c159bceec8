/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The image builder against QEMU: what it builds is sound, and reads as it
 * says. Without this every test that stands on it proves little.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/files/qemu_img.h"
#include "tests/support/files/scratch.h"
#include "tests/support/images/build_image.h"
#include "tests/support/random.h"

TestSuite(build_image, .init = scratch_make, .fini = scratch_remove);

#define N_GUEST 300u

static uint64_t rng;

static uint64_t roll(uint64_t below)
{
	return random_below(&rng, below);
}

static void write_expected(const struct build_how *how, const char *path)
{
	uint64_t cluster_len = UINT64_C(1) << how->cluster_bits;
	uint8_t *cluster = malloc(cluster_len);
	FILE *file = fopen(path, "w");

	for (uint64_t at = 0; at < how->guest_len; at += cluster_len) {
		uint64_t len =
			how->guest_len - at < cluster_len ? how->guest_len - at : cluster_len;

		build_expect(how, at / cluster_len, cluster);
		cr_assert_eq(fwrite(cluster, 1, len, file), len);
	}
	fclose(file);
	free(cluster);
}

static void assert_qemu_reads(const struct build_how *how, const char *what)
{
	struct build_image image = build_image(how);
	const char *path = scratch_file("built", image.bytes, image.len);
	char out[4096];

	write_expected(how, scratch("expected"));
	cr_assert_eq(qemu_img_run(out, sizeof(out), "qemu-img check -f qcow2 %s", path), 0,
		     "%s: %s", what, out);
	cr_assert_eq(qemu_img_run(out, sizeof(out), "qemu-img compare -f qcow2 -F raw %s %s", path,
				  scratch("expected")),
		     0, "%s: %s", what, out);
	build_image_free(&image);
}

static size_t random_clusters(const struct build_how *how, struct build_cluster *out)
{
	size_t n = 0;

	for (uint64_t i = 0; i < N_GUEST; i++) {
		enum build_kind kind = roll(BUILD_COMPRESSED + 1);

		/* Ends and runs of what is not there, too. */
		if (roll(3) == 0)
			continue;
		if (how->version == 2 && (kind == BUILD_ZERO_PLAIN || kind == BUILD_ZERO_ALLOC))
			kind = BUILD_DATA;
		if (how->refcount_bits < 8 && kind == BUILD_COMPRESSED)
			kind = BUILD_DATA;
		out[n++] = (struct build_cluster){ i, kind, roll(1000) };
	}
	return n;
}

Test(build_image, qemu_reads_what_was_asked_for)
{
	static const struct build_ext exts[] = {
		{ 0x6a6a6a6a, "unknown", 7 },
		{ 0x7b7b7b7b, NULL, 0 },
	};

	if (!qemu_img_installed())
		scratch_skip("qemu-img and qemu-io are not installed");
	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct build_cluster clusters[N_GUEST];
		struct build_how how = { .clusters = clusters };
		char what[40];

		rng = seed * 0x9e3779b97f4a7c15u;
		snprintf(what, sizeof(what), "seed %" PRIu64, seed);
		how.version = 2 + (roll(3) > 0);
		how.cluster_bits = 9 + roll(8);
		how.refcount_bits = how.version == 2 ? 16 : 1u << roll(7);
		how.guest_len = ((uint64_t)N_GUEST << how.cluster_bits) -
				512 * roll(UINT64_C(1) << (how.cluster_bits - 9));
		how.zstd = how.version == 3 && roll(2);
		how.header_len = how.version == 3 && roll(2) ? 112 + 8 * roll(10) : 0;
		how.exts = exts;
		how.n_exts = roll(3);
		how.compat = how.version == 3 ? roll(2) << 20 : 0;
		how.autoclear = how.version == 3 ? roll(2) << 20 : 0;
		how.n_extra_l1 = roll(100);
		how.shuffle_seed = roll(2) * seed;
		how.n_clusters = random_clusters(&how, clusters);
		assert_qemu_reads(&how, what);
	}
}

/* One more cluster than are left makes the refcount table grow: QEMU agrees where that is. */
Test(build_image, a_refcount_table_grows_where_qemus_does)
{
	static const struct build_cluster one[] = { { 3, BUILD_DATA, 1 } };
	struct build_how how = {
		.cluster_bits = 9,
		.refcount_bits = 64,
		.guest_len = 4 << 20,
		.clusters = one,
		.n_clusters = 1,
		.n_clusters_left = 3,
	};
	struct build_image image;

	if (!qemu_img_installed())
		scratch_skip("qemu-img and qemu-io are not installed");
	assert_qemu_reads(&how, "nearly full");
	image = build_image(&how);
	/* 64 table entries of 64 refcounts each. */
	cr_assert_eq(image.len, (64 * 64 - 3) * 512);
	cr_assert_neq(build_get64(&image, image.reftable_off + 63 * 8), 0);
	build_image_free(&image);
}

Test(build_image, backing_name_and_format_are_recorded)
{
	struct build_how how = {
		.cluster_bits = 9,
		.guest_len = 1 << 20,
		.header_len = 128,
		.backing_name = "base.raw",
		.backing_format = "raw",
	};
	struct build_image image = build_image(&how);
	char json[4096];

	if (!qemu_img_installed())
		scratch_skip("qemu-img and qemu-io are not installed");
	scratch_file("built", image.bytes, image.len);
	cr_assert_eq(qemu_img_run(json, sizeof(json), "qemu-img info --output=json %s",
				  scratch("built")),
		     0);
	cr_assert(strstr(json, "\"backing-filename\": \"base.raw\""), "%s", json);
	cr_assert(strstr(json, "\"backing-filename-format\": \"raw\""), "%s", json);
	build_image_free(&image);
}
