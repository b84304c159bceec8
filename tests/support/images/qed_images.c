/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * See qed_images.h. Bytes are put where the specification has them, so that a
 * mistake in publish() is not made here too.
 */
#include <criterion/criterion.h>
#include <stdio.h>

#include "formats/core/layer_check.h"
#include "formats/qed/check.h"
#include "tests/support/files/mem_file.h"
#include "tests/support/images/qed_images.h"
#include "tests/support/rigs/qed_rig.h"

#define CLUSTER 4096u

struct file *qed_images_small(void)
{
	struct file *file = mem_file_new("small.qed", 0);
	const struct image_create how = { .guest_len = 1 * MiB,
					  .cluster_len = 4096,
					  .table_clusters = 2 };

	cr_assert_eq(qed_rig_make(file, &how, NULL), 0);
	cr_assert_eq(file->len, 12 * KiB);
	return file;
}

struct file *qed_images_sound(void)
{
	const struct image_create how = { .guest_len = 8 * MiB,
					  .cluster_len = CLUSTER,
					  .table_clusters = 1 };
	struct file *file = mem_file_new("sound.qed", 0);
	uint8_t *bytes;

	cr_assert_eq(qed_rig_make(file, &how, NULL), 0);
	cr_assert_eq(file_truncate(file, 5 * CLUSTER), 0);
	bytes = mem_file_inode(file)->bytes;
	put_le64(bytes + 4096, 8192);
	put_le64(bytes + 8192, 12288);
	put_le64(bytes + 8200, 16384);
	put_le64(bytes + 8208, 1);
	return file;
}

static void take_report(void *opaque, bool is_leak, const char *text)
{
	struct qed_images_reports *reports = opaque;

	reports->n_errors += !is_leak;
	reports->n_leaks += is_leak;
	snprintf(reports->last, sizeof(reports->last), "%s", text);
	cr_expect(!strchr(text, '\n'));
}

struct check_result qed_images_check(struct file *file, struct qed_images_reports *reports)
{
	struct check_result found = { .report = take_report,
				      .opaque = reports,
				      .max_reports = 100 };
	struct qed_rig rig;
	struct err err = { 0 };

	*reports = (struct qed_images_reports){ 0 };
	cr_assert_eq(qed_rig_open(&rig, file, &err), 0, "%s", err.message);
	cr_assert_eq(qed_check(rig.layer, &found, &err), 0, "%s", err.message);
	qed_rig_close(&rig);
	return found;
}
