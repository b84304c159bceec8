/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * QED: what happens to the header: before the first write, when the link is
 * dropped, and when an image is made.
 */
#include <criterion/criterion.h>
#include <errno.h>

#include "formats/core/layer_check.h"
#include "formats/core/layer_fill.h"
#include "formats/core/layer_header.h"
#include "formats/core/staged.h"
#include "formats/qed/create.h"
#include "formats/qed/disk.h"
#include "formats/qed/header.h"
#include "formats/qed/image.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/files/sparse_file.h"
#include "tests/support/images/qed_images.h"
#include "tests/support/rigs/qed_rig.h"
#include "tests/support/rigs/rig.h"

static struct file *flagged_image(uint64_t features, uint64_t autoclear)
{
	struct file *file = qed_images_sound();

	put_le64(mem_file_inode(file)->bytes + QED_H_FEATURES, features);
	put_le64(mem_file_inode(file)->bytes + QED_H_AUTOCLEAR, autoclear);
	put_le64(mem_file_inode(file)->bytes + QED_H_COMPAT, 0x5a);
	return file;
}

Test(qed_begin, need_check_and_autoclear_are_cleared_in_one_write)
{
	static const struct {
		uint64_t features, autoclear;
		unsigned n_writes, n_syncs;
	} cases[] = {
		{ 0, 0, 0, 0 }, { 2, 0, 1, 2 }, { 0, UINT64_C(1) << 40, 1, 2 }, { 2, 6, 1, 2 }
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct file *file = flagged_image(cases[i].features, cases[i].autoclear);
		struct mem_inode *inode = mem_file_inode(file);
		uint64_t n_writes = inode->n_writes, n_syncs = inode->n_syncs;
		struct qed_images_reports reports;
		struct qed_rig rig;

		qed_images_check(file, &reports);
		cr_assert(!reports.n_errors && reports.n_leaks == !!cases[i].features);
		cr_assert_eq(qed_rig_open(&rig, file, NULL), 0);
		cr_assert_eq(qed_of(rig.layer)->need_check, !!cases[i].features);
		cr_assert_eq(layer_begin_writing(rig.layer, NULL), 0);
		cr_assert_eq(inode->n_writes - n_writes, cases[i].n_writes);
		cr_assert_eq(inode->n_syncs - n_syncs, cases[i].n_syncs);
		cr_assert_eq(le64(inode->bytes + QED_H_FEATURES), 0);
		cr_assert_eq(le64(inode->bytes + QED_H_AUTOCLEAR), 0);
		cr_assert_eq(le64(inode->bytes + QED_H_COMPAT), 0x5a);
		cr_assert(!qed_of(rig.layer)->need_check);
		qed_rig_close(&rig);
		file_close(file);
	}
}

Test(qed_begin, need_check_on_a_damaged_image_stays)
{
	struct file *file = flagged_image(2, 1);
	struct mem_inode *inode = mem_file_inode(file);
	uint64_t n_writes = inode->n_writes;
	struct err err = { 0 };
	struct qed_rig rig;

	put_le64(inode->bytes + 8200, 12288);
	cr_assert_eq(qed_rig_open(&rig, file, NULL), 0);
	cr_assert_eq(layer_begin_writing(rig.layer, &err), -EUCLEAN);
	cr_assert(strstr(err.message, "qemu-img check"), "%s", err.message);
	cr_assert_eq(inode->n_writes, n_writes);
	qed_rig_close(&rig);
	file_close(file);
}

Test(qed_begin, a_failed_header_write_leaves_need_check)
{
	struct file *file = flagged_image(2, 0);
	struct qed_rig rig;

	cr_assert_eq(qed_rig_open(&rig, file, NULL), 0);
	mem_file_inode(file)->write_error = -EIO;
	cr_assert_eq(layer_begin_writing(rig.layer, NULL), -EIO);
	cr_assert(qed_of(rig.layer)->need_check);
	qed_rig_close(&rig);
	file_close(file);
}

Test(qed_begin, tables_too_large_for_a_device)
{
	const struct image_create how = { .guest_len = 1 * GiB,
					  .cluster_len = 2 * MiB,
					  .table_clusters = 16 };
	struct file *file = sparse_file_new("device", 0);
	struct err err = { 0 };
	struct qed_rig rig;

	cr_assert_eq(qed_rig_make(file, &how, NULL), 0);
	file->len = 64 * MiB;
	file->is_block = true;
	cr_assert_eq(qed_rig_open(&rig, file, NULL), 0);
	cr_assert_eq(layer_begin_writing(rig.layer, &err), -ENOTSUP);
	cr_assert(strstr(err.message, "32 MiB"), "%s", err.message);
	qed_rig_close(&rig);
	file_close(file);
}

/* ---- dropping the link ---- */

/* What a raw base holds may look like an image of some format: it must never be asked. */
Test(qed_detach, a_raw_base_is_not_to_be_probed)
{
	for (unsigned raw = 0; raw < 2; raw++) {
		struct file *file = qed_images_sound();
		uint8_t *bytes = mem_file_inode(file)->bytes;
		struct staged staged = { 0 };
		struct qed_rig rig;

		put_le64(bytes + QED_H_FEATURES, 1 | (raw ? 0 : QED_F_NO_PROBE));
		put_le32(bytes + QED_H_BACKING_OFF, 100);
		put_le32(bytes + QED_H_BACKING_LEN, 4);
		memcpy(bytes + 100, "base", 4);
		cr_assert_eq(qed_rig_open(&rig, file, NULL), 0);
		cr_assert_eq(layer_begin_writing(rig.layer, NULL), 0);
		cr_assert_eq(
			layer_plan_link(rig.layer, "other", raw ? IMAGE_RAW : IMAGE_QCOW2, NULL),
			0);
		cr_assert_eq(layer_stage_link(rig.layer, &staged), 0);
		rig_write_stages(&staged, STAGE_NAME, N_STAGES);
		qed_rig_close(&rig);
		cr_assert_eq(le64(bytes + QED_H_FEATURES), 1 | (raw ? QED_F_NO_PROBE : 0));
		cr_assert_eq(qed_rig_open(&rig, file, NULL), 0);
		cr_assert_str_eq(rig.layer->backing.name, "other");
		cr_assert_eq(rig.layer->backing.format, raw ? IMAGE_RAW : IMAGE_UNKNOWN);
		qed_rig_close(&rig);
		file_close(file);
	}
}

/* The user called the base raw for this time. The next program to open the image would probe it. */
Test(qed_detach, that_the_base_was_called_raw_is_recorded_before_data_is)
{
	struct file *file = qed_images_sound();
	uint8_t *bytes = mem_file_inode(file)->bytes;
	struct staged staged = { 0 };
	struct qed_rig rig;

	put_le64(bytes + QED_H_FEATURES, 1);
	put_le32(bytes + QED_H_BACKING_OFF, 100);
	put_le32(bytes + QED_H_BACKING_LEN, 4);
	memcpy(bytes + 100, "base", 4);
	cr_assert_eq(qed_rig_open(&rig, file, NULL), 0);
	rig.layer->backing.told_raw = true;
	cr_assert_eq(layer_begin_writing(rig.layer, NULL), 0);
	cr_assert_eq(le64(bytes + QED_H_FEATURES), 1 | QED_F_NO_PROBE);

	/* It was said of that base, of no other. */
	cr_assert_eq(layer_plan_link(rig.layer, "other", IMAGE_QCOW2, NULL), 0);
	cr_assert_eq(layer_stage_link(rig.layer, &staged), 0);
	rig_write_stages(&staged, STAGE_NAME, N_STAGES);
	layer_link_durable(rig.layer);
	cr_assert_eq(layer_begin_writing(rig.layer, NULL), 0);
	cr_assert_eq(le64(bytes + QED_H_FEATURES), 1);
	qed_rig_close(&rig);
	file_close(file);
}

static void change_link(struct qed_rig *rig, const char *name, enum image_format format)
{
	struct staged staged = { 0 };

	cr_assert_eq(layer_plan_link(rig->layer, name, format, NULL), 0);
	cr_assert_eq(layer_stage_link(rig->layer, &staged), 0);
	rig_write_stages(&staged, STAGE_NAME, N_STAGES);
	layer_link_durable(rig->layer);
}

/* Job after job on one open disk: what is in memory is what the next one changes, and what any
 * later write of the header says again. */
Test(qed_detach, a_link_is_changed_again_and_again)
{
	static const struct {
		const char *name;
		enum image_format format;
		uint64_t features;
	} links[] = {
		{ "raw", IMAGE_RAW, QED_F_BACKING_FILE | QED_F_NO_PROBE },
		{ "image", IMAGE_QCOW2, QED_F_BACKING_FILE },
		{ "again", IMAGE_RAW, QED_F_BACKING_FILE | QED_F_NO_PROBE },
		{ NULL, IMAGE_UNKNOWN, 0 },
		{ "new", IMAGE_QED, QED_F_BACKING_FILE },
		{ NULL, IMAGE_UNKNOWN, 0 },
	};
	struct file *file = qed_images_sound();
	uint8_t *bytes = mem_file_inode(file)->bytes;
	struct qed_rig rig;

	put_le64(bytes + QED_H_FEATURES, QED_F_BACKING_FILE);
	put_le32(bytes + QED_H_BACKING_OFF, 100);
	put_le32(bytes + QED_H_BACKING_LEN, 4);
	memcpy(bytes + 100, "base", 4);
	cr_assert_eq(qed_rig_open(&rig, file, NULL), 0);
	cr_assert_eq(layer_begin_writing(rig.layer, NULL), 0);
	for (size_t i = 0; i < ARRAY_LEN(links); i++) {
		struct qed *q = qed_of(rig.layer);
		uint8_t staged[QED_HEADER_LEN];

		change_link(&rig, links[i].name, links[i].format);
		cr_assert_eq(le64(bytes + QED_H_FEATURES), links[i].features, "change %zu", i);
		memcpy(staged, bytes, sizeof(staged));
		cr_assert_eq(qed_rewrite_header(q, q->features, q->autoclear, NULL), 0);
		cr_assert(!memcmp(staged, bytes, sizeof(staged)), "change %zu", i);
		cr_assert_eq(rig.layer->backing.probe, links[i].features == QED_F_BACKING_FILE);
	}
	qed_rig_close(&rig);
	file_close(file);
}

Test(qed_detach, one_write_that_keeps_the_rest)
{
	struct file *file = qed_images_sound();
	uint8_t *bytes = mem_file_inode(file)->bytes, before[QED_HEADER_LEN];
	struct staged staged = { 0 };
	struct qed_rig rig;

	put_le64(bytes + QED_H_FEATURES, 5);
	put_le64(bytes + QED_H_COMPAT, UINT64_MAX);
	put_le32(bytes + QED_H_BACKING_OFF, 100);
	put_le32(bytes + QED_H_BACKING_LEN, 4);
	memcpy(bytes + 100, "base", 4);
	memcpy(before, bytes, sizeof(before));
	cr_assert_eq(qed_rig_open(&rig, file, NULL), 0);
	cr_assert_eq(layer_begin_writing(rig.layer, NULL), 0);
	cr_assert_eq(layer_stage_link(rig.layer, &staged), 0);
	for (int stage = 0; stage < N_STAGES; stage++)
		cr_assert_eq(staged.n[stage], stage == STAGE_HEADER);
	const struct staged_write *write = staged.head[STAGE_HEADER];
	cr_assert(write->host_off == 0 && write->len == QED_HEADER_LEN && !write->next);
	rig_write_stages(&staged, STAGE_HEADER, N_STAGES);
	qed_rig_close(&rig);

	put_le64(before + QED_H_FEATURES, 0);
	put_le64(before + QED_H_BACKING_OFF, 0);
	cr_assert(!memcmp(before, bytes, sizeof(before)));
	cr_assert_eq(qed_rig_open(&rig, file, NULL), 0);
	cr_assert(!rig.layer->has_backing && !rig.layer->backing.name);
	qed_rig_close(&rig);
	file_close(file);
}

/* ---- creation ---- */

/* table_entries^2 * cluster_size fits into 64 bits: all are powers of two. */
static bool reach_fits(uint32_t cluster, uint32_t table)
{
	int cluster_bits = __builtin_ctz(cluster),
	    entry_bits = __builtin_ctz(table) + cluster_bits - 3;

	return 2 * entry_bits + cluster_bits < 64;
}

Test(qed_create, what_is_asked_for_is_recorded)
{
	for (uint32_t cluster = QED_MIN_CLUSTER_LEN; cluster <= QED_MAX_CLUSTER_LEN; cluster *= 2)
		for (uint32_t table = 2; table <= 16 && reach_fits(cluster, table); table *= 2) {
			struct image_create how = { .guest_len = 1 * MiB + 512,
						    .cluster_len = cluster,
						    .table_clusters = table,
						    .backing_name = "dir/base",
						    .backing_format =
							    table > 2 ? IMAGE_RAW : IMAGE_QED };
			struct file *file = sparse_file_new("new.qed", 0);
			struct qed_images_reports reports;
			struct qed_rig rig;

			cr_assert_eq(qed_create(file, &how, NULL), 0);
			cr_assert_eq(file->len, cluster + (uint64_t)cluster * table);
			struct check_result found = qed_images_check(file, &reports);
			cr_assert(!found.n_errors && !found.n_leaks);
			cr_assert_eq(qed_rig_open(&rig, file, NULL), 0);
			cr_assert_eq(rig.layer->guest_len, how.guest_len);
			cr_assert_eq(rig.layer->cluster_len, cluster);
			cr_assert_eq(qed_of(rig.layer)->table_clusters, table);
			cr_assert_str_eq(rig.layer->backing.name, "dir/base");
			cr_assert_eq(rig.layer->backing.format,
				     table > 2 ? IMAGE_RAW : IMAGE_UNKNOWN);
			qed_rig_close(&rig);
			file_close(file);
		}
}

Test(qed_create, sizes_and_names_outside_the_limits_are_refused)
{
	static char name_1023[1024], name_1024[1025];
	memset(name_1023, 'x', 1023);
	memset(name_1024, 'x', 1024);
	const struct {
		struct image_create how;
		int rc;
	} cases[] = {
		{ { .guest_len = 0 }, 0 },
		{ { .guest_len = 511 }, -EINVAL },
		{ { .guest_len = 512, .cluster_len = 2048 }, -EINVAL },
		{ { .guest_len = 512, .cluster_len = 12288 }, -EINVAL },
		{ { .guest_len = 512, .cluster_len = 1u << 27 }, -EINVAL },
		{ { .guest_len = 512, .table_clusters = 3 }, -EINVAL },
		{ { .guest_len = 512, .table_clusters = 32 }, -EINVAL },
		{ { .guest_len = 4 * GiB, .cluster_len = 4096, .table_clusters = 2 }, 0 },
		{ { .guest_len = 4 * GiB + 512, .cluster_len = 4096, .table_clusters = 2 },
		  -EFBIG },
		{ { .guest_len = UINT64_C(1) << 62, .cluster_len = 2 * MiB, .table_clusters = 8 },
		  0 },
		{ { .guest_len = UINT64_C(1) << 63, .cluster_len = 2 * MiB, .table_clusters = 8 },
		  -EFBIG },
		{ { .guest_len = 512, .backing_name = "" }, -EINVAL },
		{ { .guest_len = 512, .cluster_len = 4096, .backing_name = name_1023 }, 0 },
		{ { .guest_len = 512, .cluster_len = 4096, .backing_name = name_1024 }, -EINVAL },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct file *file = sparse_file_new("new.qed", 0);
		struct err err = { 0 };
		struct qed_rig rig;

		cr_assert_eq(qed_create(file, &cases[i].how, &err), cases[i].rc, "case %zu: %s", i,
			     err.message);
		if (cases[i].rc) {
			cr_assert(strstr(err.message, "new.qed") && !file->len, "case %zu", i);
		} else {
			cr_assert_eq(qed_rig_open(&rig, file, &err), 0, "case %zu: %s", i,
				     err.message);
			qed_rig_close(&rig);
		}
		file_close(file);
	}
}

/* QEMU opens none of the images that are refused here (bb/images/test_map_info.py asks it). */
Test(qed_create, tables_reach_less_than_64_bits)
{
	for (uint32_t cluster = QED_MIN_CLUSTER_LEN; cluster <= QED_MAX_CLUSTER_LEN; cluster *= 2)
		for (uint32_t table = 2; table <= 16; table *= 2) {
			struct image_create how = { .guest_len = 512,
						    .cluster_len = cluster,
						    .table_clusters = table };
			struct file *file = sparse_file_new("new.qed", 0);
			struct err err = { 0 };
			int rc = qed_create(file, &how, &err);

			cr_assert_eq(rc, reach_fits(cluster, table) ? 0 : -EINVAL, "%u, %u: %s",
				     cluster, table, err.message);
			cr_assert(!rc || (!file->len && strstr(err.message, "use smaller ones")));
			file_close(file);
		}
}

/* Nor these (the same test). */
Test(qed_create, tables_of_one_cluster_are_refused)
{
	for (uint32_t cluster = QED_MIN_CLUSTER_LEN; cluster <= QED_MAX_CLUSTER_LEN; cluster *= 2) {
		struct image_create how = { .guest_len = 512,
					    .cluster_len = cluster,
					    .table_clusters = 1 };
		struct file *file = sparse_file_new("new.qed", 0);
		struct err err = { 0 };

		cr_assert_eq(qed_create(file, &how, &err), -EINVAL, "%u", cluster);
		cr_assert(!file->len && strstr(err.message, "tables of 1 cluster"), "%s",
			  err.message);
		file_close(file);
	}
}

Test(qed_create, on_a_device_old_bytes_go)
{
	const struct image_create how = { .guest_len = 1 * MiB, .cluster_len = 4096 };
	struct file *file = mem_file_new("device", 1 * MiB);
	struct qed_images_reports reports;

	memset(mem_file_inode(file)->bytes, 0x77, 1 * MiB);
	file->is_block = true;
	cr_assert_eq(qed_create(file, &how, NULL), 0);
	cr_assert_eq(mem_file_inode(file)->n_syncs, 2);
	struct check_result found = qed_images_check(file, &reports);
	cr_assert(!found.n_errors && !found.n_leaks);
	cr_assert_eq(found.image_end_off, 20 * KiB);
	file->len = 16 * KiB;
	struct err err = { 0 };
	cr_assert_eq(qed_create(file, &how, &err), -ENOSPC, "%s", err.message);
	file_close(file);
}
