/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * QED: running out of memory or space, and space that comes back.
 */
#include <criterion/criterion.h>
#include <errno.h>

#include "formats/core/layer_check.h"
#include "formats/core/layer_fill.h"
#include "formats/qed/check.h"
#include "formats/qed/image.h"
#include "formats/qed/map.h"
#include "tests/support/fail_alloc.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/images/qed_images.h"
#include "tests/support/rigs/qed_rig.h"

static void publish_without_memory(bool is_block)
{
	unsigned n_failed = 0;
	int rc = -ENOMEM;

	for (int k = 0; rc; k++) {
		struct file *file = mem_file_new("oom.qed", is_block ? 1 * MiB : 0);
		const struct image_create how = { .guest_len = 64 * MiB,
						  .cluster_len = 4096,
						  .table_clusters = 16 };
		struct check_result found = { 0 };
		struct mapping map = { .guest_off = 40 * MiB, .len = 8192 };
		struct qed_rig rig;
		struct extent e;
		uint64_t got;

		file->is_block = is_block;
		if (is_block)
			memset(mem_file_inode(file)->bytes, 0x10, file->len);
		qed_rig_create(&rig, file, &how);
		cr_assert_eq(layer_reserve(rig.layer, map.len, &map.host_off, &got), 0);
		cr_assert_eq(got, map.len);
		cr_assert_eq(file_write(file, "data", 4, map.host_off), 0);
		fail_alloc_after = k;
		rc = qed_rig_publish(&rig, &map, 1);
		fail_alloc_after = -1;
		if (rc) {
			cr_assert_eq(rc, -ENOMEM, "k %d: %d", k, rc);
			n_failed++;
			cr_assert_eq(qed_rig_map(&rig, map.guest_off, map.len, &e), 0);
			cr_assert_eq(e.kind, EXTENT_UNALLOCATED);
			qed_rig_commit(&rig); /* comes in between */
			cr_assert_eq(qed_rig_publish(&rig, &map, 1), 0, "k %d", k);
		}
		if (file->len < map.host_off + map.len)
			cr_assert_eq(file_truncate(file, map.host_off + map.len), 0);
		qed_rig_commit(&rig);
		table_cache_drop_clean(rig.cache, file);
		cr_assert_eq(qed_rig_map(&rig, map.guest_off, map.len, &e), 0);
		cr_assert(e.kind == EXTENT_DATA && e.host_off == map.host_off && e.len == map.len);
		cr_assert_eq(qed_check(rig.layer, &found, NULL), 0);
		cr_assert(!found.n_errors && !found.n_leaks && found.n_allocated_clusters == 2,
			  "k %d", k);
		qed_rig_close(&rig);
		file_close(file);
	}
	cr_assert(n_failed >= 4, "%u", n_failed);
}

Test(qed_map, publish_without_memory_changes_nothing)
{
	publish_without_memory(false);
	publish_without_memory(true);
}

Test(qed_map, a_full_device_says_so)
{
	struct file *file = mem_file_new("device", 60 * KiB + 1024);
	const struct image_create how = { .guest_len = 64 * MiB,
					  .cluster_len = 4096,
					  .table_clusters = 4 };
	struct mapping map = { .len = 4096, .is_zero = true };
	struct qed_rig rig;
	uint64_t host_off, got;

	file->is_block = true;
	qed_rig_create(&rig, file, &how);
	cr_assert_eq(rig.layer->alloc_end, 20 * KiB);
	cr_assert_eq(rig.layer->zero_from, UINT64_MAX);
	cr_assert_eq(layer_reserve(rig.layer, 32 * KiB, &host_off, &got), 0);
	cr_assert(host_off == 20 * KiB && got == 32 * KiB);
	cr_assert_eq(qed_rig_publish(&rig, &map, 1), -ENOSPC, "8 KiB are left, a table has 16");
	cr_assert_eq(layer_reserve(rig.layer, 32 * KiB, &host_off, &got), 0);
	cr_assert(host_off == 52 * KiB && got == 8 * KiB);
	cr_assert_eq(layer_reserve(rig.layer, 4096, &host_off, &got), -ENOSPC);
	layer_release(rig.layer, 36 * KiB, 24 * KiB);
	cr_assert_eq(qed_rig_publish(&rig, &map, 1), 0);
	qed_rig_close(&rig);
	file_close(file);
}

/* Whatever order pieces come back in, neighbours become one piece again, and the last one becomes
 * the free end. */
Test(qed_map, pieces_given_back_join)
{
	static const unsigned orders[6][3] = {
		{ 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(orders); i++)
		for (int with_last = 0; with_last < 2; with_last++) {
			struct file *file = qed_images_small();
			uint64_t start, host_off[4], off, got;
			struct qed_rig rig;

			cr_assert_eq(qed_rig_open(&rig, file, NULL), 0);
			cr_assert_eq(layer_begin_writing(rig.layer, NULL), 0);
			start = rig.layer->alloc_end;
			for (int n = 0; n < 4; n++)
				cr_assert_eq(layer_reserve(rig.layer, 8192, &host_off[n], &got), 0);
			if (with_last == 1)
				layer_release(rig.layer, host_off[3], 8192);
			for (int n = 0; n < 3; n++)
				layer_release(rig.layer, host_off[orders[i][n]], 8192);
			cr_assert_eq(rig.layer->alloc_end, with_last ? start : start + 32768);
			cr_assert_eq(qed_of(rig.layer)->gaps.n, !with_last);
			cr_assert_eq(layer_reserve(rig.layer, 24576, &off, &got), 0);
			cr_assert(off == start && got == 24576);
			if (!with_last)
				layer_release(rig.layer, host_off[3], 8192);
			layer_release(rig.layer, start, 24576);
			cr_assert_eq(rig.layer->alloc_end, start);
			cr_assert_eq(rig.layer->zero_from, start + 32768);
			qed_rig_close(&rig);
			file_close(file);
		}
}
