/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * New images: sound by our check and by qemu-img's, described by qemu-img info
 * as they were asked for, refused with a sentence where they can't be, and not
 * taken for an image before all of it is on the disk.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/qcow2/create.h"
#include "formats/qcow2/open.h"
#include "io/file/opener.h"
#include "io/posix/opener.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/files/qemu_img.h"
#include "tests/support/files/scratch.h"

TestSuite(qcow2_create, .init = scratch_make, .fini = scratch_remove);

static const uint32_t cluster_lens[] = { 512, 1024, 4096, 8192, 65536, 2 << 20 };

static void assert_sound(struct file *file, const struct image_create *how, const char *what)
{
	struct check_result result = { 0 };
	struct layer *layer;
	struct err err = { 0 };

	cr_assert_eq(qcow2_open(file, NULL, &layer, &err), 0, "%s: %s", what, err.message);
	cr_assert_eq(layer_check(layer, &result, &err), 0, "%s: %s", what, err.message);
	cr_assert_eq(result.n_errors + result.n_leaks + result.n_check_errors, 0, "%s", what);
	cr_assert_eq(result.n_allocated_clusters, 0, "%s", what);
	cr_assert_eq(result.image_end_off, file->len, "%s: the file is longer", what);
	cr_assert_eq(layer->guest_len, how->guest_len, "%s", what);
	cr_assert_eq(layer->cluster_len, how->cluster_len, "%s", what);
	cr_assert_eq(layer->has_backing, how->backing_name != NULL, "%s", what);
	if (how->backing_name) {
		cr_assert_str_eq(layer->backing.name, how->backing_name);
		cr_assert_eq(layer->backing.format, how->backing_format, "%s", what);
	}
	cr_assert_eq(layer->refused.read.code, 0, "%s: %s", what, layer->refused.read.why);
	cr_assert_eq(layer->refused.write.code, 0, "%s: %s", what, layer->refused.write.why);
	layer_close(layer);
}

/* The largest disk that clusters of this length reach, cut to what is worth the time. */
static uint64_t largest(uint32_t cluster_len)
{
	uint64_t reach = (UINT64_C(4) << 20) * cluster_len * (cluster_len / 8);

	return MIN(reach, cluster_len <= 4096 ? 64 * GiB : UINT64_C(1) << 50);
}

Test(qcow2_create, every_geometry_is_sound_by_our_check)
{
	for (size_t c = 0; c < ARRAY_LEN(cluster_lens); c++)
		for (unsigned bits = 1; bits <= 64; bits *= 2) {
			const uint64_t lens[] = { 0, 512, MiB, GiB + 512,
						  largest(cluster_lens[c]) };

			for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
				struct image_create how = {
					.guest_len = lens[i],
					.cluster_len = cluster_lens[c],
					.refcount_bits = bits,
					.backing_name = i % 2 ? "dir/b" : NULL,
					.backing_format = IMAGE_RAW,
				};
				struct file *file = mem_file_new("img", 0);
				struct err err;
				char what[100];

				snprintf(what, sizeof(what), "clusters of %u, %u bits, %" PRIu64,
					 cluster_lens[c], bits, lens[i]);
				cr_assert_eq(qcow2_create(file, &how, &err), 0, "%s: %s", what,
					     err.message);
				assert_sound(file, &how, what);
				file_close(file);
			}
		}
}

static void create_on_disk(const char *path, const struct image_create *how)
{
	struct file_opener *opener = file_opener_posix();
	struct file *file;
	struct err err;

	remove(path);
	cr_assert_eq(opener->create(opener, path, &file, &err), 0, "%s", err.message);
	cr_assert_eq(qcow2_create(file, how, &err), 0, "%s", err.message);
	file_close(file);
}

static void assert_info(const char *path, const struct image_create *how)
{
	char json[8192];

	cr_assert_eq(qemu_img_run(json, sizeof(json), "qemu-img check -f qcow2 %s", path), 0, "%s",
		     json);
	cr_assert_eq(
		qemu_img_run(json, sizeof(json), "qemu-img info --output=json -f qcow2 %s", path),
		0, "%s", json);
	cr_assert_eq(qemu_img_number(json, "virtual-size", -1), how->guest_len, "%s", json);
	cr_assert_eq(qemu_img_number(json, "cluster-size", -1), how->cluster_len, "%s", json);
	cr_assert_eq(!!strstr(json, "\"compat\": \"1.1\""), how->version == 3, "%s", json);
	if (how->version == 3) {
		cr_assert_eq(qemu_img_number(json, "refcount-bits", -1), how->refcount_bits);
		cr_assert_eq(!!strstr(json, "\"lazy-refcounts\": true"), how->lazy_refcounts);
		cr_assert_eq(!!strstr(json, "\"compression-type\": \"zstd\""), how->zstd);
	}
	cr_assert_eq(!!strstr(json, "\"backing-filename\": \"base.raw\""), !!how->backing_name,
		     "%s", json);
	cr_assert_eq(!!strstr(json, "\"backing-filename-format\": \"raw\""), !!how->backing_name,
		     "%s", json);
}

static void judge_by_qemu(uint32_t cluster_len, unsigned bits, unsigned version, bool backing)
{
	struct image_create how = {
		.guest_len = 3 * GiB + 512 * (uint64_t)bits,
		.cluster_len = cluster_len,
		.refcount_bits = bits,
		.version = version,
		.backing_name = backing ? "base.raw" : NULL,
		.backing_format = IMAGE_RAW,
		.lazy_refcounts = version == 3 && bits % 3 == 1,
		.zstd = version == 3 && backing,
	};
	const char *path = scratch("img");

	create_on_disk(path, &how);
	assert_info(path, &how);
	/* A guest's write and its neighbours: what is reserved must really be. */
	cr_assert_eq(qemu_img_run(NULL, 0,
				  "qemu-io -f qcow2 -c 'write -P 7 1M 3M' -c 'read -P 7 1M 3M' "
				  "-c 'read -P 0 4M 1M' %s | grep -q 'Pattern verification failed'",
				  path),
		     1);
	cr_assert_eq(qemu_img_run(NULL, 0, "qemu-img check -f qcow2 %s", path), 0);
}

Test(qcow2_create, qemu_takes_images_of_every_shape)
{
	if (!qemu_img_installed())
		scratch_skip("qemu-img and qemu-io are not installed");
	cr_assert_eq(qemu_img_run(NULL, 0, "truncate -s 16M %s", scratch("base.raw")), 0);
	for (size_t c = 0; c < ARRAY_LEN(cluster_lens); c++) {
		judge_by_qemu(cluster_lens[c], 16, 2, c % 2);
		/* Half of the widths; the next length has the other half. */
		for (unsigned bits = c % 2 ? 2 : 1; bits <= 64; bits *= 4)
			judge_by_qemu(cluster_lens[c], bits, 3, (c / 2 + bits) % 2);
	}
}

Test(qcow2_create, the_largest_disk_of_small_clusters_is_sound)
{
	struct image_create how = { .guest_len = 128 * GiB, .cluster_len = 512 };
	struct file *file = mem_file_new("img", 0);
	struct err err;

	cr_assert_eq(qcow2_create(file, &how, &err), 0, "%s", err.message);
	assert_sound(file, &how, "128 GiB of 512 bytes");
	file_close(file);
	file = mem_file_new("img", 0);
	how.guest_len += 512;
	cr_assert_eq(qcow2_create(file, &how, &err), -EFBIG);
	cr_assert(strstr(err.message, "use larger clusters"), "%s", err.message);
	cr_assert_eq(file->len, 0, "something was written");
	file_close(file);
}

Test(qcow2_create, what_cannot_be_is_refused)
{
	static char name_1024[1025], name_377[378];
	static const struct {
		struct image_create how;
		int code;
		const char *sentence;
	} cases[] = {
		{ { .guest_len = 1000 }, -EINVAL, "not a multiple of 512" },
		{ { .cluster_len = 256 }, -EINVAL, "not a power of two" },
		{ { .cluster_len = 4 << 20 }, -EINVAL, "not a power of two" },
		{ { .cluster_len = 65537 }, -EINVAL, "not a power of two" },
		{ { .refcount_bits = 3 }, -EINVAL, "refcounts of 3 bits" },
		{ { .refcount_bits = 128 }, -EINVAL, "refcounts of 128 bits" },
		{ { .version = 1 }, -EINVAL, "version 1" },
		{ { .version = 4 }, -EINVAL, "version 4" },
		{ { .version = 2, .refcount_bits = 8 }, -EINVAL, "16 bits only" },
		{ { .version = 2, .lazy_refcounts = true }, -EINVAL, "lazy refcounts" },
		{ { .version = 2, .zstd = true }, -EINVAL, "zstd" },
		{ { .backing_name = "" }, -EINVAL, "1 to 1023 bytes" },
		{ { .backing_name = name_1024 }, -EINVAL, "1 to 1023 bytes" },
		{ { .backing_name = name_377, .cluster_len = 512, .backing_format = IMAGE_QCOW2 },
		  -EINVAL,
		  "does not fit" },
		{ { .guest_len = UINT64_MAX - 511, .cluster_len = 65536 }, -EFBIG, "too large" },
	};

	memset(name_1024, 'x', 1024);
	memset(name_377, 'x', 377);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct file *file = mem_file_new("img", 0);
		struct err err = { 0 };

		cr_assert_eq(qcow2_create(file, &cases[i].how, &err), cases[i].code, "case %zu: %s",
			     i, err.message);
		cr_assert(strstr(err.message, cases[i].sentence), "case %zu: %s", i, err.message);
		cr_assert_eq(mem_file_inode(file)->n_writes, 0, "case %zu wrote", i);
		file_close(file);
	}
}

/* One byte less than refused above. */
Test(qcow2_create, the_longest_name_that_fits_is_kept)
{
	static char name[377];
	struct image_create how = {
		.guest_len = MiB,
		.cluster_len = 512,
		.backing_name = memset(name, 'x', 376),
		.backing_format = IMAGE_QCOW2,
	};
	struct file *file = mem_file_new("img", 0);
	struct err err;

	cr_assert_eq(qcow2_create(file, &how, &err), 0, "%s", err.message);
	assert_sound(file, &how, "a name to the last byte");
	file_close(file);
}

/* Calls as they come: 'W' for a write, 'H' for one of the header, 'S' for a flush. */
static char calls[64];
static const struct file_ops *real_ops;

static int log_write(struct file *file, const void *buf, size_t len, uint64_t off)
{
	strncat(calls, off ? "W" : "H", sizeof(calls) - strlen(calls) - 1);
	return real_ops->write_at(file, buf, len, off);
}

static int log_sync(struct file *file)
{
	strncat(calls, "S", sizeof(calls) - strlen(calls) - 1);
	return real_ops->sync(file);
}

Test(qcow2_create, header_is_written_last_and_flushed)
{
	struct image_create how = { .guest_len = GiB };
	struct file *file = mem_file_new("img", 0);
	struct file_ops ops = *file->ops;
	struct err err;

	real_ops = file->ops;
	ops.write_at = log_write;
	ops.sync = log_sync;
	file->ops = &ops;
	cr_assert_eq(qcow2_create(file, &how, &err), 0, "%s", err.message);
	cr_assert_str_eq(calls, "WWSHS");
	file->ops = real_ops;
	file_close(file);
}

Test(qcow2_create, write_errors_are_told)
{
	struct image_create how = { .guest_len = GiB };
	struct file *file = mem_file_new("img", 0);
	struct err err;

	mem_file_inode(file)->write_error = -ENOSPC;
	cr_assert_eq(qcow2_create(file, &how, &err), -ENOSPC);
	cr_assert(strstr(err.message, "img"), "%s", err.message);
	file_close(file);
}

/* Nothing is assumed to be zero there. */
Test(qcow2_create, old_bytes_of_a_device_become_no_entries)
{
	struct image_create how = { .guest_len = GiB, .cluster_len = 4096 };
	struct file *file = mem_file_new("dev", 64 * MiB);
	struct layer *layer;
	struct err err;
	struct check_result result = { 0 };

	memset(mem_file_inode(file)->bytes, 0xee, 64 * MiB);
	file->is_block = true;
	cr_assert_eq(qcow2_create(file, &how, &err), 0, "%s", err.message);
	cr_assert_eq(qcow2_open(file, NULL, &layer, &err), 0, "%s", err.message);
	cr_assert_eq(layer_check(layer, &result, &err), 0);
	cr_assert_eq(result.n_errors + result.n_leaks, 0);
	layer_close(layer);
	file_close(file);
	file = mem_file_new("dev", 8192);
	file->is_block = true;
	cr_assert_eq(qcow2_create(file, &how, &err), -ENOSPC);
	file_close(file);
}
