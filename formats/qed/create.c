/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * QED: a new, empty image: a header cluster and an L1 table of zeros, which a
 * file gets by growing. What was asked for is checked before anything is
 * written, and the header goes last, so that a file whose creation was cut is
 * never mistaken for an image.
 */
#include "formats/qed/create.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "formats/core/layer.h"
#include "formats/qed/disk.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

#define CREATE_ZEROS_LEN 65536u

/* What is to be written, in full. */
struct create_plan {
	char name[512]; /* the file's, escaped */
	uint32_t cluster_len, table_clusters;
	uint64_t table_len;
	size_t backing_len;
};

/* The specification limits a disk to table_entries^2 * cluster_size bytes. QEMU calculates that in
 * 64 bits and opens no image where it does not fit. */
static int check_reach(const struct create_plan *plan, struct err *err)
{
	uint64_t n = plan->table_len / QED_ENTRY_LEN, reach;

	if (!mul_u64(n, n, &reach) && !mul_u64(reach, plan->cluster_len, &reach))
		return 0;
	return err_set(err, -EINVAL,
		       "%s: QEMU can't open QED images with clusters of %" PRIu32
		       " bytes and tables of %" PRIu32
		       " clusters, which would map 2^64 bytes or more; use smaller ones",
		       plan->name, plan->cluster_len, plan->table_clusters);
}

/* The specification allows tables of one cluster, and QEMU makes images with them. It opens none:
 * its test for a sum that is too large asks whether a table's last cluster lies behind its first
 * (its qed_check_table_offset()). */
static int check_tables(struct create_plan *plan, struct err *err)
{
	if (!is_power_of_2(plan->table_clusters) || plan->table_clusters > QED_MAX_TABLE_CLUSTERS)
		return err_set(err, -EINVAL,
			       "%s: QED tables can't be %" PRIu32
			       " clusters; use a power of two from 2 to 16",
			       plan->name, plan->table_clusters);
	if (plan->table_clusters < QED_MIN_NEW_TABLE_CLUSTERS)
		return err_set(err, -EINVAL,
			       "%s: QEMU can't open QED images with tables of 1 cluster; use a "
			       "power of two from 2 to 16",
			       plan->name);
	plan->table_len = (uint64_t)plan->table_clusters * plan->cluster_len;
	return check_reach(plan, err);
}

static int plan_geometry(struct create_plan *plan, const struct image_create *how, struct err *err)
{
	plan->cluster_len = how->cluster_len ? how->cluster_len : QED_DEFAULT_CLUSTER_LEN;
	plan->table_clusters =
		how->table_clusters ? how->table_clusters : QED_DEFAULT_TABLE_CLUSTERS;
	if (!is_power_of_2(plan->cluster_len) || plan->cluster_len < QED_MIN_CLUSTER_LEN ||
	    plan->cluster_len > QED_MAX_CLUSTER_LEN)
		return err_set(err, -EINVAL,
			       "%s: QED clusters can't be %" PRIu32
			       " bytes; use a power of two from 4096 to 67108864",
			       plan->name, plan->cluster_len);
	return check_tables(plan, err);
}

static int plan_guest_len(const struct create_plan *plan, uint64_t guest_len, struct err *err)
{
	uint64_t n = plan->table_len / QED_ENTRY_LEN;
	uint64_t limit = MIN(n * n * plan->cluster_len, (uint64_t)INT64_MAX - QED_MAX_CLUSTER_LEN);

	if (guest_len % 512)
		return err_set(err, -EINVAL,
			       "%s: a QED disk of %" PRIu64
			       " bytes is not a multiple of 512; round it up",
			       plan->name, guest_len);
	if (guest_len > limit)
		return err_set(
			err, -EFBIG,
			"%s: a QED disk of %" PRIu64 " bytes is more than clusters of %" PRIu32
			" bytes and tables of %" PRIu32 " clusters can hold (%" PRIu64
			"); use larger ones",
			plan->name, guest_len, plan->cluster_len, plan->table_clusters, limit);
	return 0;
}

static int plan_backing(struct create_plan *plan, const char *backing_name, struct err *err)
{
	size_t room = MIN(plan->cluster_len - QED_HEADER_LEN, QED_MAX_NEW_NAME_LEN);

	if (!backing_name)
		return 0;
	plan->backing_len = strlen(backing_name);
	if (plan->backing_len && plan->backing_len <= room)
		return 0;
	return err_set(
		err, -EINVAL,
		"%s: a backing file's name of %zu bytes can't be recorded; use one of 1 to %zu",
		plan->name, plan->backing_len, room);
}

static int write_zeros(struct file *file, uint64_t off, uint64_t len)
{
	static const uint8_t zeros[CREATE_ZEROS_LEN];
	int rc = 0;

	for (uint64_t n; !rc && len; off += n, len -= n) {
		n = MIN(len, (uint64_t)sizeof(zeros));
		rc = file_write(file, zeros, n, off);
	}
	return rc;
}

/* Header cluster and L1 table, all zeros. A device holds old bytes and must be told each one. */
static int make_zeros(struct file *file, uint64_t len)
{
	int rc = file_truncate(file, len);

	return rc || !file->is_block ? rc : write_zeros(file, 0, len);
}

static void fill_header(uint8_t *h, const struct create_plan *plan, const struct image_create *how)
{
	uint64_t features = 0;

	if (plan->backing_len)
		features = QED_F_BACKING_FILE;
	if (plan->backing_len && how->backing_format == IMAGE_RAW)
		features |= QED_F_NO_PROBE;
	put_le32(h + QED_H_MAGIC, QED_MAGIC);
	put_le32(h + QED_H_CLUSTER_LEN, plan->cluster_len);
	put_le32(h + QED_H_TABLE_CLUSTERS, plan->table_clusters);
	put_le32(h + QED_H_HEADER_CLUSTERS, 1);
	put_le64(h + QED_H_FEATURES, features);
	put_le64(h + QED_H_L1_OFF, plan->cluster_len);
	put_le64(h + QED_H_GUEST_LEN, how->guest_len);
	put_le32(h + QED_H_BACKING_OFF, plan->backing_len ? QED_HEADER_LEN : 0);
	put_le32(h + QED_H_BACKING_LEN, (uint32_t)plan->backing_len);
	if (plan->backing_len)
		memcpy(h + QED_HEADER_LEN, how->backing_name, plan->backing_len);
}

int qed_create(struct file *file, const struct image_create *how, struct err *err)
{
	uint8_t header[QED_HEADER_LEN + QED_MAX_NEW_NAME_LEN] = { 0 };
	struct create_plan plan = { 0 };
	int rc;

	err_escape(file->name, strlen(file->name), plan.name, sizeof(plan.name));
	rc = plan_geometry(&plan, how, err);
	if (!rc)
		rc = plan_guest_len(&plan, how->guest_len, err);
	if (!rc)
		rc = plan_backing(&plan, how->backing_name, err);
	if (rc)
		return rc;
	fill_header(header, &plan, how);
	rc = make_zeros(file, plan.cluster_len + plan.table_len);
	if (!rc)
		rc = file_sync(file);
	if (!rc)
		rc = file_write(file, header, QED_HEADER_LEN + plan.backing_len, 0);
	if (!rc)
		rc = file_sync(file);
	return rc ? err_errno(err, rc, "%s: cannot write the new image", plan.name) : 0;
}
