/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See qed_rig.h. */
#include "tests/support/rigs/qed_rig.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "formats/core/layer_shared.h"
#include "formats/core/staged.h"
#include "formats/core/table_dirty.h"
#include "formats/qed/create.h"
#include "formats/qed/disk.h"
#include "formats/qed/open.h"
#include "io/base.h"
#include "tests/support/rigs/rig.h"

int qed_rig_open(struct qed_rig *rig, struct file *file, struct err *err)
{
	int rc;

	rig->file = file;
	rig->cache = table_cache_new(RIG_CACHE_LEN);
	assert(rig->cache);
	rig->layer = NULL;
	rc = qed_open(file, rig->cache, &rig->layer, err);
	if (rc)
		table_cache_free(rig->cache);
	return rc;
}

void qed_rig_close(struct qed_rig *rig)
{
	layer_close(rig->layer);
	table_cache_free(rig->cache);
}

/* Tables of one cluster, or whose reach does not fit into 64 bits: QEMU opens no such image, so
 * qed_create() makes none, but the format allows it. */
static bool is_not_for_qemu(const struct image_create *how)
{
	uint64_t n = (uint64_t)how->table_clusters * how->cluster_len / QED_ENTRY_LEN;

	return how->table_clusters == 1 || (n && how->cluster_len > UINT64_MAX / n / n);
}

/* A device has old bytes where the L1 table goes. */
static int clear_table(struct file *file, const struct image_create *how)
{
	size_t len = (size_t)how->table_clusters * how->cluster_len;
	void *zeros = calloc(1, len);
	int rc = zeros ? file_write(file, zeros, len, how->cluster_len) : -ENOMEM;

	free(zeros);
	return rc;
}

static int create_by_hand(struct file *file, const struct image_create *how)
{
	const char *name = how->backing_name ? how->backing_name : "";
	uint8_t h[QED_HEADER_LEN + QED_MAX_NEW_NAME_LEN + 1] = { 0 };
	uint64_t features = *name ? QED_F_BACKING_FILE : 0;
	int rc;

	if (*name && how->backing_format == IMAGE_RAW)
		features |= QED_F_NO_PROBE;
	put_le32(h + QED_H_MAGIC, QED_MAGIC);
	put_le32(h + QED_H_CLUSTER_LEN, how->cluster_len);
	put_le32(h + QED_H_TABLE_CLUSTERS, how->table_clusters);
	put_le32(h + QED_H_HEADER_CLUSTERS, 1);
	put_le64(h + QED_H_FEATURES, features);
	put_le64(h + QED_H_L1_OFF, how->cluster_len);
	put_le64(h + QED_H_GUEST_LEN, how->guest_len);
	put_le32(h + QED_H_BACKING_OFF, *name ? QED_HEADER_LEN : 0);
	put_le32(h + QED_H_BACKING_LEN, (uint32_t)strlen(name));
	strncpy((char *)h + QED_HEADER_LEN, name, QED_MAX_NEW_NAME_LEN);
	rc = file_truncate(file, how->cluster_len * (UINT64_C(1) + how->table_clusters));
	if (!rc && file->is_block)
		rc = clear_table(file, how);
	return rc ? rc : file_write(file, h, sizeof(h), 0);
}

int qed_rig_make(struct file *file, const struct image_create *how, struct err *err)
{
	return is_not_for_qemu(how) ? create_by_hand(file, how) : qed_create(file, how, err);
}

void qed_rig_create(struct qed_rig *rig, struct file *file, const struct image_create *how)
{
	struct err err = { 0 };
	int rc = qed_rig_make(file, how, &err);

	if (!rc)
		rc = qed_rig_open(rig, file, &err);
	if (!rc)
		rc = layer_begin_writing(rig->layer, &err);
	if (rc) {
		fprintf(stderr, "%s\n", err.message);
		abort();
	}
}

int qed_rig_map(struct qed_rig *rig, uint64_t guest_off, uint64_t len, struct extent *out)
{
	return RIG_LOADED(rig->cache, 16, layer_map(rig->layer, guest_off, len, out, &need));
}

int qed_rig_publish(struct qed_rig *rig, const struct mapping *maps, size_t n_maps)
{
	return RIG_LOADED(rig->cache, 1000, layer_publish(rig->layer, maps, n_maps, &need));
}

void qed_rig_stage(struct qed_rig *rig, struct staged *staged)
{
	int rc = table_cache_stage(rig->cache, rig->file, staged);

	assert(!rc);
	rc = layer_stage(rig->layer, staged);
	assert(!rc);
}

void qed_rig_commit(struct qed_rig *rig)
{
	struct staged staged = { 0 };

	qed_rig_stage(rig, &staged);
	rig_write_stages(&staged, STAGE_REFCOUNT, N_STAGES);
}

void qed_rig_pattern(void *buf, size_t len, uint64_t guest_off, uint64_t seed)
{
	for (size_t i = 0; i < len; i += 8)
		put_le64((char *)buf + i,
			 (guest_off + i + 1) * UINT64_C(0xbf58476d1ce4e5b9) ^ seed << 32);
}
