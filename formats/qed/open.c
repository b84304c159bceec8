/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Opening a QED image: the table of its operations, what is refused and why. Opening
 * checks the header against the specification and the file's length and reads no table.
 */
#include "formats/qed/open.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/core/layer_fill.h"
#include "formats/core/layer_guest.h"
#include "formats/core/layer_header.h"
#include "formats/core/layer_resize.h"
#include "formats/core/layer_tables.h"
#include "formats/qed/begin.h"
#include "formats/qed/check.h"
#include "formats/qed/disk.h"
#include "formats/qed/header.h"
#include "formats/qed/image.h"
#include "formats/qed/link.h"
#include "formats/qed/map.h"
#include "formats/qed/repair.h"
#include "formats/qed/resize.h"
#include "formats/qed/space.h"
#include "formats/qed/write.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

static const struct layer_ops qed_ops;

static void qed_note_refusals(struct qed *q)
{
	uint64_t unknown = q->features & ~QED_F_KNOWN;

	if (!unknown)
		return;
	q->layer.refused.read.code = -ENOTSUP;
	snprintf(q->layer.refused.read.why, sizeof(q->layer.refused.read.why),
		 "it uses an incompatible feature unknown here (bit %d)", __builtin_ctzll(unknown));
	q->layer.refused.check = q->layer.refused.read;
}

int qed_open(struct file *file, struct table_cache *cache, struct layer **out, struct err *err)
{
	struct shown shown;
	const char *name = file_show(file, &shown);
	struct qed *q = calloc(1, sizeof(*q));
	int rc;

	if (!q)
		return err_set(err, -ENOMEM, "%s: out of memory", name);
	q->layer.ops = &qed_ops;
	q->layer.file = file;
	q->layer.cache = cache;
	rc = qed_read_header(q, name, err);
	if (!rc)
		rc = qed_parse_geometry(q, name, err);
	if (!rc)
		rc = qed_check_ranges(q, name, err);
	if (rc)
		goto fail;
	q->features = le64(q->header + QED_H_FEATURES);
	q->compat = le64(q->header + QED_H_COMPAT);
	q->autoclear = le64(q->header + QED_H_AUTOCLEAR);
	q->need_check = q->features & QED_F_NEED_CHECK;
	rc = qed_read_backing_name(q, name, err);
	if (rc)
		goto fail;
	qed_note_refusals(q);
	*out = &q->layer;
	return 0;
fail:
	q->layer.ops->close(&q->layer);
	return rc;
}

static void qed_close(struct layer *layer)
{
	struct qed *q = qed_of(layer);

	free(layer->backing.name);
	free(q->new_link);
	free(q);
}

static void qed_describe(const struct layer *layer, struct layer_info *info)
{
	const struct qed *q = qed_of(layer);

	info->table_clusters = q->table_clusters;
	info->dirty = q->need_check;
}

static const struct layer_tables_ops tables_ops = {
	.table_at = qed_has_table,
	.table_place = qed_table_place,
	.has_table = qed_has_table,
	.measure = qed_measure,
};

static const struct layer_fill_ops fill_ops = {
	.begin_writing = qed_begin_writing,
	.map_backed = qed_map,
	.alloc_tables = qed_alloc_tables,
	.copy_target = qed_copy_target,
	.reserve = qed_reserve,
	.release = qed_release,
	.publish = qed_publish,
	.may_leak = qed_may_leak,
	.reclaim = qed_reclaim,
};

static const struct layer_guest_ops guest_ops = {
	.map_write = qed_map_write,
	.write_target = qed_write_target,
	.publish_write = qed_publish_write,
};

static const struct layer_link_ops link_ops = {
	.plan_link = qed_plan_link,
	.stage_link = qed_stage_link,
	.link_durable = qed_link_durable,
};

static const struct layer_resize_ops resize_ops = {
	.may_grow = qed_may_grow,
	.set_len = qed_set_len,
	.record_len = qed_record_len,
	.keep_len = qed_keep_len,
	.stage = qed_stage_len,
};

static void qed_root(const struct layer *layer, uint64_t *host_off, uint64_t *len)
{
	const struct qed *q = (const struct qed *)layer;

	*host_off = q->l1_off;
	*len = q->table_len;
}

static const struct layer_check_ops check_ops = {
	.describe = qed_describe,
	.check = qed_check,
	.repair = qed_repair,
	.root = qed_root,
};

/* No references are counted, so nothing is dirty outside the table cache and no space is freed. */
static const struct layer_ops qed_ops = {
	.format = IMAGE_QED,
	.name = "qed",
	.tables = &tables_ops,
	.fill = &fill_ops,
	.guest_write = &guest_ops,
	.link = &link_ops,
	.check = &check_ops,
	.resize = &resize_ops,
	.map = qed_map,
	.close = qed_close,
};
