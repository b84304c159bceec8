/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * QED: what the check finds, in images of any length, and that damage is
 * neither read as data nor written to.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>

#include "formats/core/layer_check.h"
#include "formats/core/layer_fill.h"
#include "formats/qed/check.h"
#include "formats/qed/disk.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/files/sparse_file.h"
#include "tests/support/images/qed_images.h"
#include "tests/support/rigs/qed_rig.h"
#include "tests/support/rigs/rig.h"
#include "tests/support/time_limit.h"

#define CLUSTER 4096u

Test(qed_check, a_sound_image_has_no_finding)
{
	struct file *file = qed_images_sound();
	struct qed_images_reports reports;
	struct check_result found = qed_images_check(file, &reports);

	cr_assert(!found.n_errors && !found.n_leaks && !found.n_check_errors);
	cr_assert_eq(found.n_allocated_clusters, 2);
	cr_assert_eq(found.n_zero_clusters, 1);
	cr_assert_eq(found.n_total_clusters, 2048);
	cr_assert_eq(found.image_end_off, 5 * CLUSTER);
	cr_assert(!reports.n_errors && !reports.n_leaks);
	file_close(file);
}

/* One change to the sound image, and what comes of it. */
struct damage {
	const char *what;
	uint64_t at, entry; /* written there */
	uint64_t n_errors, n_leaks;
	const char *says;
};

static const struct damage damages[] = {
	{ "data twice", 8216, 12288, 1, 0, "something else" },
	{ "data at 2^63", 8216, UINT64_MAX << 63, 1, 0, "end of the file" },
	{ "data is the L1 table", 8216, 4096, 1, 0, "something else" },
	{ "data is its L2 table", 8216, 8192, 1, 0, "something else" },
	{ "data misaligned", 8216, 12800, 1, 0, "not on a cluster" },
	{ "data reserved bits", 8216, 3, 1, 0, "not on a cluster" },
	{ "data at the end", 8216, 5 * CLUSTER, 1, 0, "end of the file" },
	{ "data far away", 8216, -UINT64_C(4096), 1, 0, "end of the file" },
	{ "data gone", 8192, 0, 0, 1, "not in use" },
	{ "data gone at the end", 8200, 0, 0, 1, "not in use" },
	{ "L2 gone", 4096, 0, 0, 3, "not in use" },
	{ "L2 misaligned", 4096, 8704, 1, 3, "not in use" },
	{ "L2 beyond", 4096, 5 * CLUSTER, 1, 3, "not in use" },
	{ "L2 marked zero", 4096, 1, 1, 3, "not in use" },
	{ "L2 twice", 4104, 8192, 1, 0, "not checked" },
	{ "L2 is the L1 table", 4104, 4096, 1, 0, "not checked" },
	{ "L2 is a data cluster", 4104, 12288, 1, 0, "something else" },
};

Test(qed_check, damage_is_found_and_never_written_to)
{
	for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
		const struct damage *d = &damages[i];
		struct file *file = qed_images_sound();
		struct qed_images_reports reports;
		struct qed_rig rig;
		struct err err = { 0 };

		put_le64(mem_file_inode(file)->bytes + d->at, d->entry);
		struct check_result found = qed_images_check(file, &reports);
		cr_expect_eq(found.n_errors, d->n_errors, "%s: %" PRIu64, d->what, found.n_errors);
		cr_expect_eq(found.n_leaks, d->n_leaks, "%s: %" PRIu64, d->what, found.n_leaks);
		cr_expect(strstr(reports.last, d->says), "%s: %s", d->what, reports.last);

		uint64_t n_writes = mem_file_inode(file)->n_writes;
		cr_assert_eq(qed_rig_open(&rig, file, &err), 0);
		int rc = layer_begin_writing(rig.layer, &err);
		cr_expect_eq(rc, d->n_errors ? -EUCLEAN : 0, "%s: %d", d->what, rc);
		cr_expect(!rc || strstr(err.message, "sound.qed"), "%s", err.message);
		if (rc) /* else leaks were taken out */
			cr_expect_eq(mem_file_inode(file)->n_writes, n_writes, "%s", d->what);
		qed_rig_close(&rig);
		found = qed_images_check(file, &reports);
		cr_expect(found.n_errors == d->n_errors && (rc || !found.n_leaks), "%s", d->what);
		file_close(file);
	}
}

/* Only where the header has more than its first cluster can an entry lie inside it. */
Test(qed_check, an_entry_that_leads_into_the_header_is_found)
{
	const struct image_create how = { .guest_len = 1 * MiB,
					  .cluster_len = CLUSTER,
					  .table_clusters = 1 };
	struct file *file = mem_file_new("header.qed", 0);
	struct qed_images_reports reports;
	uint8_t *bytes;

	cr_assert_eq(qed_rig_make(file, &how, NULL), 0);
	cr_assert_eq(file_truncate(file, 5 * CLUSTER), 0);
	bytes = mem_file_inode(file)->bytes;
	put_le32(bytes + QED_H_HEADER_CLUSTERS, 2);
	put_le64(bytes + QED_H_L1_OFF, 2 * CLUSTER);
	put_le64(bytes + 2 * CLUSTER, 3 * CLUSTER);
	put_le64(bytes + 3 * CLUSTER, 4 * CLUSTER);
	struct check_result found = qed_images_check(file, &reports);
	cr_assert(!found.n_errors && !found.n_leaks);
	put_le64(bytes + 3 * CLUSTER, CLUSTER);
	found = qed_images_check(file, &reports);
	cr_assert(found.n_errors == 1 && found.n_leaks == 1);
	put_le64(bytes + 2 * CLUSTER, CLUSTER);
	found = qed_images_check(file, &reports);
	cr_assert_eq(found.n_errors, 1);
	file_close(file);
}

/* Tables of two clusters that have one in common, either one. */
Test(qed_check, tables_half_over_each_other_are_found)
{
	const struct image_create how = { .guest_len = 8 * MiB,
					  .cluster_len = CLUSTER,
					  .table_clusters = 2 };

	for (uint64_t second = 3; second <= 5; second++) {
		struct file *file = mem_file_new("half.qed", 0);
		struct qed_images_reports reports;

		cr_assert_eq(qed_rig_make(file, &how, NULL), 0);
		cr_assert_eq(file_truncate(file, 8 * CLUSTER), 0);
		put_le64(mem_file_inode(file)->bytes + CLUSTER, 4 * CLUSTER);
		put_le64(mem_file_inode(file)->bytes + CLUSTER + 8, second * CLUSTER);
		cr_assert_eq(qed_images_check(file, &reports).n_errors, 1);
		cr_assert(strstr(reports.last, "not checked"), "%s", reports.last);
		file_close(file);
	}
}

/* map() answers what it can, and says -EUCLEAN for the rest. */
Test(qed_check, damage_is_never_read_as_data)
{
	static const struct {
		uint64_t at, entry;
		int rc0, rc3; /* of guest offsets 0 and 12288 */
	} cases[] = {
		{ 8216, 12800, 0, -EUCLEAN },
		{ 8216, 5 * CLUSTER, 0, -EUCLEAN },
		{ 8216, 2, 0, -EUCLEAN },
		{ 8216, -UINT64_C(4096), 0, -EUCLEAN },
		{ 4096, 1, -EUCLEAN, -EUCLEAN },
		{ 4096, 8704, -EUCLEAN, -EUCLEAN },
		{ 4096, 5 * CLUSTER, -EUCLEAN, -EUCLEAN },
		{ 4096, -UINT64_C(4096), -EUCLEAN, -EUCLEAN },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct file *file = qed_images_sound();
		struct qed_rig rig;
		struct extent e;

		put_le64(mem_file_inode(file)->bytes + cases[i].at, cases[i].entry);
		cr_assert_eq(qed_rig_open(&rig, file, NULL), 0);
		cr_expect_eq(qed_rig_map(&rig, 0, 8 * MiB, &e), cases[i].rc0, "case %zu", i);
		if (!cases[i].rc0)
			cr_expect(e.kind == EXTENT_DATA && e.host_off == 12288 && e.len == 8192);
		cr_expect_eq(qed_rig_map(&rig, 12288, 512, &e), cases[i].rc3, "case %zu", i);
		qed_rig_close(&rig);
		file_close(file);
	}
}

/* QEMU cuts such a cluster off: it is readable, padded, and no reason to write. */
Test(qed_check, a_cluster_the_file_has_a_part_of)
{
	struct file *file = qed_images_sound();
	struct qed_images_reports reports;
	struct qed_rig rig;
	struct extent e;

	cr_assert_eq(file_truncate(file, 5 * CLUSTER - 512), 0);
	cr_assert_eq(qed_images_check(file, &reports).n_errors, 1);
	cr_assert_eq(qed_rig_open(&rig, file, NULL), 0);
	cr_assert_eq(qed_rig_map(&rig, CLUSTER, CLUSTER, &e), 0);
	cr_assert(e.kind == EXTENT_DATA && e.host_off == 4 * CLUSTER && e.len == CLUSTER);
	cr_assert_eq(layer_begin_writing(rig.layer, NULL), -EUCLEAN);
	qed_rig_close(&rig);

	/* Nothing refers to it: it is cut off before it is a leak in the middle. */
	put_le64(mem_file_inode(file)->bytes + 8200, 0);
	cr_assert_eq(qed_rig_open(&rig, file, NULL), 0);
	cr_assert_eq(layer_begin_writing(rig.layer, NULL), 0);
	cr_assert_eq(rig.layer->alloc_end, 4 * CLUSTER);
	cr_assert_eq(rig.layer->zero_from, 4 * CLUSTER);
	cr_assert_eq(file->len, 4 * CLUSTER);
	qed_rig_close(&rig);
	file_close(file);
}

Test(qed_check, read_errors_are_not_damage)
{
	struct file *file = qed_images_sound();
	struct check_result found = { 0 };
	struct qed_rig rig;

	cr_assert_eq(qed_rig_open(&rig, file, NULL), 0);
	mem_file_inode(file)->read_error = -EIO;
	cr_assert_eq(qed_check(rig.layer, &found, NULL), 0);
	cr_assert(found.n_check_errors == 1 && !found.n_errors && !found.n_leaks);
	cr_assert_eq(layer_begin_writing(rig.layer, NULL), -EIO);
	qed_rig_close(&rig);
	file_close(file);
}

/* ---- more clusters than a window has ---- */

/* 4 TiB of 4 KiB clusters: eight windows of 512 GiB. Tables and data are strewn over all of
 * them. */
Test(qed_check, an_image_larger_than_a_window_is_checked_whole)
{
	const struct image_create how = { .guest_len = 256 * MiB,
					  .cluster_len = CLUSTER,
					  .table_clusters = 1 };
	struct file *file = sparse_file_new("wide.qed", 0);
	uint64_t n_used = 2, n_clusters = 4096 * GiB / CLUSTER, entry;
	uint8_t buf[8], *used = calloc(1, n_clusters / 8);
	struct qed_images_reports reports;

	rig_seed(7);
	cr_assert_eq(qed_rig_make(file, &how, NULL), 0);
	file->len = 4096 * GiB;
	used[0] = 3;
	for (uint64_t i = 0; i < 128 + 3000; i++) {
		uint64_t cluster, data = i - 128, at = 4096 + i * 8;

		do
			cluster = rig_roll(n_clusters);
		while (used[cluster / 8] >> (cluster % 8) & 1);
		used[cluster / 8] |= (uint8_t)(1u << (cluster % 8));
		n_used++;
		if (i >= 128) { /* all tables are there: one of them, by the number of the data */
			cr_assert_eq(file_read(file, buf, 8, 4096 + data % 128 * 8), 0);
			at = le64(buf) + data / 128 * 8;
		}
		put_le64(buf, cluster * CLUSTER);
		cr_assert_eq(file_write(file, buf, 8, at), 0);
	}
	free(used);
	struct check_result found = qed_images_check(file, &reports);
	cr_assert(!found.n_errors && !found.n_check_errors);
	cr_assert_eq(found.n_allocated_clusters, 3000);
	cr_assert_eq(found.n_leaks, n_clusters - n_used);
	cr_assert_eq(reports.n_leaks, 100, "no more than asked for");

	/* The same cluster twice, named by the first and by the last table. */
	cr_assert_eq(file_read(file, buf, 8, 4096), 0);
	entry = le64(buf);
	cr_assert_eq(file_read(file, buf, 8, entry), 0);
	put_le64(buf, le64(buf));
	cr_assert_eq(file_read(file, &entry, 8, 4096 + 127 * 8), 0);
	cr_assert_eq(file_write(file, buf, 8, le64toh(entry) + 511 * 8), 0);
	found = qed_images_check(file, &reports);
	cr_assert_eq(found.n_errors, 1);
	cr_assert_eq(found.n_leaks, n_clusters - n_used);

	/* The same table twice. */
	cr_assert_eq(file_write(file, &entry, 8, 4096), 0);
	found = qed_images_check(file, &reports);
	cr_assert(found.n_errors == 1 && !found.n_leaks);
	file_close(file);
}

/* Windows that nothing refers to are not walked. */
Test(qed_check, windows_without_references_are_not_walked)
{
	const struct image_create how = { .guest_len = 2 * MiB,
					  .cluster_len = CLUSTER,
					  .table_clusters = 1 };
	struct file *file = sparse_file_new("eib.qed", 0);
	struct qed_images_reports reports;
	uint8_t buf[8];

	cr_assert_eq(qed_rig_make(file, &how, NULL), 0);
	file->len = round_down(INT64_MAX, CLUSTER);
	put_le64(buf, UINT64_C(1) << 60);
	cr_assert_eq(file_write(file, buf, 8, CLUSTER), 0);
	for (uint64_t i = 0; i < 4; i++) {
		put_le64(buf, (UINT64_C(1) << 61) + (i << 53));
		cr_assert_eq(file_write(file, buf, 8, (UINT64_C(1) << 60) + i * 8), 0);
	}
	struct check_result found = qed_images_check(file, &reports);
	cr_assert(!found.n_errors && !found.n_check_errors);
	cr_assert_eq(found.n_leaks, file->len / CLUSTER - 2 - 5);
	cr_assert_eq(found.image_end_off, (UINT64_C(1) << 61) + (UINT64_C(3) << 53) + CLUSTER);
	cr_assert_eq(reports.n_leaks, 6);
	file_close(file);
}

TIME_LIMIT(60);
/* An 8 EiB file whose few references are as far apart as possible ends in an answer, soon. */
Test(qed_check, references_strewn_over_exabytes_are_checked_soon, .timeout = TIME_LIMIT_CLOCK(60))
{
	const struct image_create how = { .guest_len = 2 * MiB,
					  .cluster_len = CLUSTER,
					  .table_clusters = 1 };
	struct file *file = sparse_file_new("eib.qed", 0);
	struct qed_images_reports reports;
	uint8_t buf[8];

	cr_assert_eq(qed_rig_make(file, &how, NULL), 0);
	file->len = round_down(INT64_MAX, CLUSTER);
	put_le64(buf, 8192);
	cr_assert_eq(file_write(file, buf, 8, 4096), 0);
	for (uint64_t i = 0; i < 512; i++) {
		put_le64(buf, (i + 1) << 53);
		cr_assert_eq(file_write(file, buf, 8, 8192 + i * 8), 0);
	}
	struct check_result found = qed_images_check(file, &reports);
	cr_assert_eq(found.n_check_errors, 1);
	cr_assert_eq(found.n_errors, 0);
	file_close(file);
}
