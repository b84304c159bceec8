/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * See write_images.h. build_image.c makes no extended L2 entries; an empty
 * image has no entries at all, so for one of those the header's bit is enough.
 */
#include "tests/write_images.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>

#include "formats/format.h"
#include "io/base.h"
#include "tests/mem_file.h"
#include "tests/write_rig.h"

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
	for (uint64_t i = 0; i < len; i++)
		cr_assert_eq(got[i], want[i], "disk %u, byte %#" PRIx64 " is %02x, not %02x",
			     snapshot, i, got[i], want[i]);
}
