/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Opening a qcow2 image: the table of its operations, what is refused and why.
 *
 * Opening checks the header against the specification and the file's length,
 * so that `info` can describe an image that must not be read (a file that ends
 * inside its L1 table is checked as a whole: note_cut_l1()).
 * Tables are checked entry by entry when they are used and as a whole by
 * check/check.c before the first write; validating every table on open was
 * rejected because a deep chain of large images is opened for one cluster.
 */
#include "formats/qcow2/open.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/core/codecs.h"
#include "formats/core/layer.h"
#include "formats/core/layer_check.h"
#include "formats/core/layer_compress.h"
#include "formats/core/layer_fill.h"
#include "formats/core/layer_guest.h"
#include "formats/core/layer_header.h"
#include "formats/core/layer_resize.h"
#include "formats/core/layer_shared.h"
#include "formats/core/layer_tables.h"
#include "formats/qcow2/check/check.h"
#include "formats/qcow2/check/repair.h"
#include "formats/qcow2/compress/decode.h"
#include "formats/qcow2/compress/encode.h"
#include "formats/qcow2/image/backing_link.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/extensions.h"
#include "formats/qcow2/image/header.h"
#include "formats/qcow2/image/image.h"
#include "formats/qcow2/image/mark.h"
#include "formats/qcow2/measure.h"
#include "formats/qcow2/snapshots/copies.h"
#include "formats/qcow2/snapshots/fill.h"
#include "formats/qcow2/snapshots/map.h"
#include "formats/qcow2/snapshots/snapshots.h"
#include "formats/qcow2/space/freed.h"
#include "formats/qcow2/space/reftable.h"
#include "formats/qcow2/space/space.h"
#include "formats/qcow2/tables/empty.h"
#include "formats/qcow2/tables/map.h"
#include "formats/qcow2/write/begin.h"
#include "formats/qcow2/write/publish.h"
#include "formats/qcow2/write/resize.h"
#include "formats/qcow2/write/stage.h"
#include "formats/qcow2/write/unshare.h"
#include "formats/qcow2/write/write.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

static const struct layer_ops qcow2_ops;

static void set_refusal(struct refusal *refusal, int code, const char *why)
{
	if (refusal->code)
		return;
	refusal->code = code;
	snprintf(refusal->why, sizeof(refusal->why), "%s", why);
}

/* Notes features because of which even the tables may mean something that is not known here. */
static void note_unknown(struct qcow2 *q, const struct header_source *src)
{
	struct refusal *uncheckable = &q->layer.refused.check;
	bool type_bit = q->hdr.incompat & QCOW2_INCOMPAT_COMPRESSION;

	for (unsigned bit = 0; bit < 64; bit++)
		if (q->hdr.incompat & ~QCOW2_INCOMPAT_KNOWN & (UINT64_C(1) << bit)) {
			char name[128], why[200];

			qcow2_feature_name(src->bytes, src->len, q->hdr.header_len, bit, name,
					   sizeof(name));
			snprintf(why, sizeof(why),
				 "it uses an incompatible feature unknown here (%s)", name);
			set_refusal(uncheckable, -ENOTSUP, why);
		}
	if (q->hdr.crypt_method > 2)
		set_refusal(uncheckable, -ENOTSUP, "it is encrypted, by a method unknown here");
	if (type_bit != (q->hdr.compression != QCOW2_COMPRESSION_ZLIB))
		set_refusal(
			uncheckable, -EUCLEAN,
			"its compression type and feature bit disagree; restore its header from a "
			"copy");
	else if (q->hdr.compression > QCOW2_COMPRESSION_ZSTD)
		set_refusal(uncheckable, -ENOTSUP, "its compression type is unknown here");
}

/* Notes why the image can't be read or written to. The first reason that is found stands. */
static void qcow2_note_refusals(struct qcow2 *q, const struct header_source *src)
{
	struct refusal *unreadable = &q->layer.refused.read, *unwritable = &q->layer.refused.write;

	note_unknown(q, src);
	*unreadable = q->layer.refused.check;
	if (q->hdr.crypt_method || q->luks.is_present)
		set_refusal(unreadable, -ENOTSUP,
			    q->hdr.crypt_method == 1 ? "it is encrypted (AES)"
						     : "it is encrypted (LUKS)");
	if (qcow2_is_external(q) && !q->layer.data_name)
		set_refusal(
			unreadable, -ENOTSUP,
			"its data lies in an external data file, whose name it does not record; "
			"record it with qemu-img amend -o data_file=NAME");
	if (qcow2_is_external(q) && q->hdr.n_snapshots)
		set_refusal(unwritable, -ENOTSUP,
			    "it has both an external data file and internal snapshots");
	if (q->hdr.incompat & QCOW2_INCOMPAT_CORRUPT && !unwritable->code) {
		set_refusal(unwritable, -EUCLEAN, "it is marked corrupt; repair a copy first");
		unwritable->remedy = ERR_REMEDY_REPAIR;
	}
}

/* Refuses a file that ends inside the L1 table and has lost entries by that: what these led to is
 * still counted, so the check finds it as leaked. Without leaks the missing entries were zero. Such
 * files are rare, so the whole check may run for them. */
static int note_cut_l1(struct qcow2 *q, struct err *err)
{
	struct check_result found = { 0 };
	uint64_t len = q->hdr.l1_size * UINT64_C(8), file_len = q->layer.file->len;
	int rc;

	if (q->layer.refused.read.code || q->hdr.l1_off + len <= file_len)
		return 0;
	rc = qcow2_check(&q->layer, &found, err);
	if (!rc && found.n_cut)
		set_refusal(&q->layer.refused.read, -EUCLEAN,
			    "the file ends inside its L1 table, and clusters that nothing refers "
			    "to any "
			    "more may be what the lost entries led to; restore it from a copy");
	return rc;
}

int qcow2_open(struct file *file, struct table_cache *cache, struct layer **out, struct err *err)
{
	struct shown shown;
	struct header_source src = { .name = file_show(file, &shown) };
	struct qcow2 *q = calloc(1, sizeof(*q));
	int rc;

	if (!q)
		return err_set(err, -ENOMEM, "%s: out of memory", src.name);
	q->layer.ops = &qcow2_ops;
	q->layer.file = q->layer.data = file;
	q->layer.cache = cache;
	q->codecs = codecs_new();
	rc = q->codecs ? qcow2_read_first_cluster(file, &src, err)
		       : err_set(err, -ENOMEM, "%s: out of memory", src.name);
	if (!rc)
		rc = qcow2_parse_fixed_fields(q, &src, err);
	if (!rc)
		rc = qcow2_check_geometry(q, &src, err);
	if (!rc)
		rc = qcow2_read_backing_name(q, &src, err);
	if (!rc)
		rc = qcow2_read_extensions(q, src.bytes, src.len, err);
	if (!rc) {
		q->layer.has_data_file = qcow2_is_external(q);
		if (q->layer.has_data_file && q->data_file_name && *q->data_file_name)
			q->layer.data_name = q->data_file_name;
		qcow2_note_refusals(q, &src);
		rc = note_cut_l1(q, err);
	}
	if (!rc) {
		*out = &q->layer;
		q = NULL;
	}
	free(src.bytes);
	layer_close(q ? &q->layer : NULL);
	return rc;
}

static void qcow2_close(struct layer *layer)
{
	struct qcow2 *q = qcow2_of(layer);

	free(q->layer.backing.name);
	free(q->data_file_name);
	free(q->new_link);
	free(q->reftable.bytes);
	qcow2_forget_all_empty(q);
	codecs_free(q->codecs);
	qcow2_freed_free(q);
	qcow2_snapshots_free(q);
	free(q);
}

static void qcow2_describe(const struct layer *layer, struct layer_info *info)
{
	const struct qcow2 *q = qcow2_of(layer);

	info->version = q->hdr.version;
	info->refcount_bits = 1u << q->hdr.refcount_order;
	info->n_snapshots = q->hdr.n_snapshots;
	info->compression = q->hdr.compression == QCOW2_COMPRESSION_ZLIB   ? "zlib"
			    : q->hdr.compression == QCOW2_COMPRESSION_ZSTD ? "zstd"
									   : "unknown";
	if (q->hdr.crypt_method || q->luks.is_present)
		info->encryption = q->hdr.crypt_method == 1   ? "aes"
				   : q->hdr.crypt_method == 2 ? "luks"
							      : "unknown";
	info->dirty = q->hdr.incompat & QCOW2_INCOMPAT_DIRTY;
	info->corrupt = q->hdr.incompat & QCOW2_INCOMPAT_CORRUPT;
	info->lazy_refcounts = q->hdr.compat & QCOW2_COMPAT_LAZY;
	info->extended_l2 = q->hdr.incompat & QCOW2_INCOMPAT_EXTENDED_L2;
	info->has_data_file = layer->has_data_file;
	info->data_file = layer->data_name;
	info->data_file_raw = layer->has_data_file && q->hdr.autoclear & QCOW2_AUTOCLEAR_RAW_DATA;
	info->has_bitmaps = q->bitmaps.is_present;
}

static const struct layer_tables_ops tables_ops = {
	.table_at = qcow2_table_at,
	.table_place = qcow2_table_place,
	.begin_measuring = qcow2_begin_measuring,
	.has_table = qcow2_has_table,
	.measure = qcow2_measure,
};

static const struct layer_fill_ops fill_ops = {
	.begin_writing = qcow2_begin_writing,
	.map_backed = qcow2_map_backed,
	.alloc_tables = qcow2_alloc_tables,
	.copy_target = qcow2_copy_target,
	.reserve = qcow2_reserve,
	.release = qcow2_release,
	.publish = qcow2_publish,
};

static const struct layer_compress_ops compress_ops = {
	.decode = qcow2_decode,
	.may_compress = qcow2_may_compress,
	.set_compression = qcow2_set_compression,
	.has_other_compression = qcow2_has_other_compression,
	.encode = qcow2_encode,
	.reserve_bytes = qcow2_reserve_bytes,
};

static const struct layer_guest_ops guest_ops = {
	.map_write = qcow2_map_write,
	.write_target = qcow2_write_target,
	.publish_write = qcow2_publish_write,
};

static const struct layer_shared_ops shared_ops = {
	.unshare = qcow2_unshare,
	.free_unreferenced = qcow2_free_unreferenced,
	.has_freed = qcow2_has_freed,
	.take_freed = qcow2_take_freed,
	.discard_freed = qcow2_discard_freed,
	.reuse_freed = qcow2_reuse_freed,
	.stage = qcow2_stage,
	.reftable_durable = qcow2_reftable_durable,
	.reread_begin = qcow2_snapshots_reread_begin,
	.reread = qcow2_snapshots_reread,
	.reread_end = qcow2_snapshots_reread_end,
};

static const struct layer_link_ops link_ops = {
	.plan_link = qcow2_plan_link,
	.stage_link = qcow2_stage_link,
	.link_durable = qcow2_link_durable,
};

static const struct layer_claims_ops claims_ops = {
	.begin_guest_writes = qcow2_begin_guest_writes,
	.mark_mixed = qcow2_mark_mixed,
};

static void qcow2_root(const struct layer *layer, uint64_t *host_off, uint64_t *len)
{
	const struct qcow2_hdr *hdr = &((const struct qcow2 *)layer)->hdr;

	*host_off = hdr->l1_off;
	*len = hdr->l1_size * UINT64_C(8);
}

static const struct layer_check_ops check_ops = {
	.describe = qcow2_describe,
	.check = qcow2_check,
	.repair = qcow2_repair,
	.root = qcow2_root,
};

static const struct layer_resize_ops resize_ops = {
	.may_grow = qcow2_may_grow,
	.grow_tables = qcow2_grow_tables,
	.set_len = qcow2_set_len,
	.record_len = qcow2_record_len,
	.keep_len = qcow2_keep_len,
};

static const struct layer_ops qcow2_ops = {
	.format = IMAGE_QCOW2,
	.name = "qcow2",
	.tables = &tables_ops,
	.fill = &fill_ops,
	.compress = &compress_ops,
	.guest_write = &guest_ops,
	.shared = &shared_ops,
	.link = &link_ops,
	.claims = &claims_ops,
	.check = &check_ops,
	.resize = &resize_ops,
	.map = qcow2_map,
	.close = qcow2_close,
};
