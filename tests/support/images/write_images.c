/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * See write_images.h. build_image.c makes no extended L2 entries; an empty
 * image has no entries at all, so for one of those the header's bit is enough.
 */
#include "tests/support/images/write_images.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>

#include "formats/qcow2/create.h"
#include "io/base.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/rigs/write_rig.h"

#define INCOMPAT_AT 72

struct file *write_image_built(const struct build_how *how)
{
	struct build_image built = build_image(how);
	struct file *file = mem_file_new("img", built.len);

	memcpy(mem_file_inode(file)->bytes, built.bytes, built.len);
	build_image_free(&built);
	return file;
}

static void set_extended(struct file *file)
{
	uint8_t *at = mem_file_inode(file)->bytes + INCOMPAT_AT;

	put_be64(at, be64(at) | 1 << 4);
}

struct file *write_image_extended(uint64_t guest_len, unsigned refcount_bits)
{
	struct image_create how = {
		.guest_len = guest_len,
		.cluster_len = 16 * KiB,
		.refcount_bits = refcount_bits,
		.backing_name = "b",
		.backing_format = IMAGE_RAW,
	};
	struct file *file = mem_file_new("img", 0);
	struct err err = { 0 };

	cr_assert_eq(qcow2_create(file, &how, &err), 0, "%s", err.message);
	set_extended(file);
	return file;
}

struct file *write_image_external(uint64_t guest_len, bool extended)
{
	static const struct build_ext name = { 0x44415441, "data", 4 };
	struct build_how how = {
		.cluster_bits = 14,
		.guest_len = guest_len,
		.backing_name = "b",
		.backing_format = "raw",
		.exts = &name,
		.n_exts = 1,
		.incompat = 1 << 2,
	};
	struct file *file = write_image_built(&how);

	if (extended)
		set_extended(file);
	return file;
}

/* ---- an internal snapshot ---- */

static uint8_t *bytes_of(struct file *file, uint64_t off)
{
	return mem_file_inode(file)->bytes + off;
}

static uint64_t cluster_len_of(struct file *file)
{
	return UINT64_C(1) << be32(bytes_of(file, 20));
}

/* One reference more to the cluster at host_off; its block exists. */
static void refer(struct file *file, uint64_t host_off)
{
	uint64_t idx = host_off / cluster_len_of(file), per_block = cluster_len_of(file) / 2;
	uint64_t block = be64(bytes_of(file, be64(bytes_of(file, 48)) + 8 * (idx / per_block)));
	uint8_t *at = bytes_of(file, block + 2 * (idx % per_block));

	cr_assert(block, "no refcount block");
	put_be16(at, be16(at) + 1);
}

static uint64_t append_clusters(struct file *file, uint64_t len)
{
	uint64_t off = round_up(file->len, cluster_len_of(file));

	cr_assert_eq(file_truncate(file, off + round_up(len, cluster_len_of(file))), 0);
	for (uint64_t at = off; at < file->len; at += cluster_len_of(file))
		refer(file, at);
	return off;
}

/* The entry at `at` is not alone with its cluster any more. */
static uint64_t share(struct file *file, uint64_t at)
{
	uint64_t entry = be64(bytes_of(file, at)), off = entry & UINT64_C(0x00fffffffffffe00);

	cr_assert(!(entry >> 62 & 1), "compressed");
	if (off) {
		refer(file, off);
		put_be64(bytes_of(file, at), entry & ~(UINT64_C(1) << 63));
	}
	return off;
}

void write_image_snapshot(struct file *file)
{
	uint64_t l1_off = be64(bytes_of(file, 40)), n_l1 = be32(bytes_of(file, 36));
	bool extended = be64(bytes_of(file, INCOMPAT_AT)) >> 4 & 1;
	uint64_t copy_off, table_off;

	for (uint64_t i = 0; i < n_l1; i++) {
		uint64_t l2_off = share(file, l1_off + 8 * i);

		for (uint64_t at = 0; l2_off && at < cluster_len_of(file); at += extended ? 16 : 8)
			share(file, l2_off + at);
	}
	copy_off = append_clusters(file, 8 * n_l1);
	memcpy(bytes_of(file, copy_off), bytes_of(file, l1_off), 8 * n_l1);
	table_off = append_clusters(file, 72);
	put_be64(bytes_of(file, table_off), copy_off);
	put_be32(bytes_of(file, table_off + 8), n_l1);
	put_be16(bytes_of(file, table_off + 12), 1);
	put_be16(bytes_of(file, table_off + 14), 1);
	put_be32(bytes_of(file, table_off + 36), 24);
	memcpy(bytes_of(file, table_off + 48), bytes_of(file, 24), 8);
	put_be64(bytes_of(file, table_off + 56), UINT64_MAX);
	memcpy(bytes_of(file, table_off + 64), "1s", 2);
	put_be32(bytes_of(file, 60), 1);
	put_be64(bytes_of(file, 64), table_off);
}

/* ---- the judge ---- */

void write_image_assert_sound(struct file *file, struct file *data, unsigned snapshot,
			      const uint8_t *below, uint64_t below_len, const uint8_t *want,
			      uint64_t len)
{
	autofree uint8_t *got = malloc(len);
	uint64_t n_leaks;
	char why[256];
	int rc = write_rig_check(file, &n_leaks, why, sizeof(why));

	cr_assert_eq(rc, 0, "%s (%s)", why, strerror(-rc));
	cr_assert_eq(n_leaks, 0, "%s", why);
	rc = write_rig_read_fresh(file, data, snapshot, below, below_len, got, len);
	cr_assert_eq(rc, 0, "%s", strerror(-rc));
	if (!memcmp(got, want, len))
		return;
	for (uint64_t i = 0; i < len; i++)
		cr_assert_eq(got[i], want[i], "disk %u, byte %#" PRIx64 " is %02x, not %02x",
			     snapshot, i, got[i], want[i]);
}
