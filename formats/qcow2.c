/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * qcow2: opening an image.
 *
 * Opening checks the header against the specification and the file's length
 * and nothing else, so that `info` can describe an image nobody should read.
 * Tables are checked entry by entry when they are used and as a whole by
 * qcow2_check.c before the first write; validating every table on open was
 * rejected because a deep chain of large images is opened for one cluster.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "formats/core/codecs.h"
#include "formats/core/foreign.h"
#include "formats/core/layer.h"
#include "io/err.h"
#include "io/file.h"
#include "formats/qcow2.h"

static const struct layer_ops qcow2_ops;

struct header_source {
	const char *name; /* escaped */
	uint8_t *bytes;   /* the first cluster, as far as the file has it */
	size_t len;
};

__attribute__((format(printf, 3, 4))) static int damaged(struct err *err,
							 const struct header_source *src,
							 const char *format, ...)
{
	char why[300];
	va_list args;

	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	return err_set(err, -EUCLEAN, "%s: damaged qcow2 header: %s; restore it from a copy",
		       src->name, why);
}

/* The table [off, off + len) must be cluster aligned, not the header, and inside the file. */
static int check_region(const struct qcow2 *q, const char *what, uint64_t off, uint64_t len,
			const struct header_source *src, struct err *err)
{
	if (!len)
		return 0;
	if (!off || !is_aligned(off, qcow2_cluster_len(q)))
		return damaged(err, src, "%s at offset %#" PRIx64 " is not on a cluster of its own",
			       what, off);
	if (!qcow2_holds_table(q, off, len))
		return damaged(err, src,
			       "%s at offset %#" PRIx64 ", %" PRIu64
			       " bytes long, lies beyond the end of the file (%" PRIu64 ")",
			       what, off, len, q->layer.file->len);
	return 0;
}

/* The kind of file, before anything else: what other versions hold may look like damage. */
static int check_kind(const uint8_t head[QCOW2_V2_HEADER_LEN], const struct file *file,
		      const struct header_source *src, struct err *err)
{
	const char *other = foreign_by_head(head);
	uint32_t version = be32(head + QCOW2_H_VERSION);

	if (be32(head) != QCOW2_MAGIC && file->len >= QCOW2_V2_HEADER_LEN)
		return err_set(err, -EINVAL,
			       "%s: not a qcow2 image (wrong magic%s%s), though it was named or "
			       "recorded as one",
			       src->name, other ? "; it looks like the format " : "",
			       other ? other : "");
	if (be32(head) == QCOW2_MAGIC && other)
		return foreign_refuse(src->name, other, err);
	if (file->len < QCOW2_V2_HEADER_LEN)
		return damaged(err, src, "the file ends after %" PRIu64 " bytes", file->len);
	if (version != 2 && version != 3)
		return err_set(err, -ENOTSUP,
			       "%s: qcow2 version %u is not supported; versions 2 and 3 are",
			       src->name, version);
	return 0;
}

static int read_first_cluster(struct file *file, struct header_source *src, struct err *err)
{
	uint8_t head[QCOW2_V2_HEADER_LEN];
	unsigned bits;
	int rc = file_read_padded(file, head, sizeof(head), 0);

	if (rc)
		return err_errno(err, rc, "%s: cannot read the header", src->name);
	rc = check_kind(head, file, src, err);
	if (rc)
		return rc;
	bits = be32(head + QCOW2_H_CLUSTER_BITS);
	if (bits < QCOW2_MIN_CLUSTER_BITS || bits > QCOW2_MAX_CLUSTER_BITS)
		return damaged(err, src, "cluster_bits is %u, not 9 to 21", bits);
	src->len = MIN(file->len, UINT64_C(1) << bits);
	src->bytes = malloc(src->len);
	if (!src->bytes)
		return err_set(err, -ENOMEM, "%s: out of memory", src->name);
	rc = file_read(file, src->bytes, src->len, 0);
	return rc ? err_errno(err, rc, "%s: cannot read the header", src->name) : 0;
}

static int parse_version3(struct qcow2 *q, const struct header_source *src, struct err *err)
{
	const uint8_t *h = src->bytes;

	if (src->len < QCOW2_V3_HEADER_MIN_LEN)
		return damaged(err, src, "the file ends after %zu bytes", src->len);
	q->incompat = be64(h + QCOW2_H_INCOMPAT);
	q->compat = be64(h + QCOW2_H_COMPAT);
	q->autoclear = be64(h + QCOW2_H_AUTOCLEAR);
	q->refcount_order = be32(h + QCOW2_H_REFCOUNT_ORDER);
	q->header_len = be32(h + QCOW2_H_LEN);
	if (q->refcount_order > 6)
		return damaged(err, src, "refcount_order is %u, not 0 to 6", q->refcount_order);
	if (q->header_len < QCOW2_V3_HEADER_MIN_LEN || q->header_len > src->len ||
	    q->header_len % 8)
		return damaged(err, src, "header_length is %u", q->header_len);
	if (q->header_len > QCOW2_H_COMPRESSION)
		q->compression = h[QCOW2_H_COMPRESSION];
	return 0;
}

static int parse_fixed_fields(struct qcow2 *q, const struct header_source *src, struct err *err)
{
	const uint8_t *h = src->bytes;

	q->version = be32(h + QCOW2_H_VERSION);
	q->cluster_bits = be32(h + QCOW2_H_CLUSTER_BITS);
	q->layer.cluster_len = qcow2_cluster_len(q);
	q->layer.guest_len = round_down(be64(h + QCOW2_H_SIZE), 512);
	q->crypt_method = be32(h + QCOW2_H_CRYPT);
	q->l1_size = be32(h + QCOW2_H_L1_SIZE);
	q->l1_off = be64(h + QCOW2_H_L1_OFF);
	q->reftable_off = be64(h + QCOW2_H_REFTABLE_OFF);
	q->reftable_clusters = be32(h + QCOW2_H_REFTABLE_CLUSTERS);
	q->n_snapshots = be32(h + QCOW2_H_N_SNAPSHOTS);
	q->snapshots_off = be64(h + QCOW2_H_SNAPSHOTS_OFF);
	q->refcount_order = 4;
	q->header_len = QCOW2_V2_HEADER_LEN;
	q->layer.has_zero_entries = q->version >= 3;
	return q->version == 3 ? parse_version3(q, src, err) : 0;
}

static int check_geometry(struct qcow2 *q, const struct header_source *src, struct err *err)
{
	uint64_t l2_span, reftable_len;
	int rc;

	q->l2_entry_len = q->incompat & QCOW2_INCOMPAT_EXTENDED_L2 ? 16 : 8;
	q->l2_entries = qcow2_cluster_len(q) / q->l2_entry_len;
	q->l2_slice_len = MIN(q->layer.cluster_len, QCOW2_L2_SLICE_LEN);
	q->layer.granule_len = q->layer.cluster_len;
	if (q->l2_entry_len == 16)
		q->layer.granule_len /= QCOW2_SUBCLUSTERS;
	q->refs_per_block = (qcow2_cluster_len(q) * 8) >> q->refcount_order;
	if (q->l2_entry_len == 16 && q->cluster_bits < 14)
		return damaged(err, src, "extended L2 entries need clusters of 16 KiB and more");
	if (q->l1_size * UINT64_C(8) > QCOW2_MAX_L1_LEN)
		return damaged(err, src, "the L1 table has %u entries, more than 32 MiB",
			       q->l1_size);
	l2_span = q->l2_entries * qcow2_cluster_len(q);
	if (div_round_up(q->layer.guest_len, l2_span) > q->l1_size)
		return damaged(err, src,
			       "the L1 table has %u entries, too few for a disk of %" PRIu64
			       " bytes",
			       q->l1_size, q->layer.guest_len);
	rc = check_region(q, "the L1 table", q->l1_off, q->l1_size * UINT64_C(8), src, err);
	if (rc)
		return rc;
	if (mul_u64(q->reftable_clusters, qcow2_cluster_len(q), &reftable_len) || !reftable_len ||
	    reftable_len > QCOW2_MAX_REFTABLE_LEN)
		return damaged(err, src, "the refcount table has %u clusters",
			       q->reftable_clusters);
	rc = check_region(q, "the refcount table", q->reftable_off, reftable_len, src, err);
	if (rc)
		return rc;
	if (q->n_snapshots > QCOW2_MAX_SNAPSHOTS)
		return damaged(err, src, "it claims %u snapshots, more than %u", q->n_snapshots,
			       QCOW2_MAX_SNAPSHOTS);
	/* Of no use without snapshots; but QEMU does not open what is not aligned. */
	if (!is_aligned(q->snapshots_off, qcow2_cluster_len(q)) || q->snapshots_off > INT64_MAX)
		return damaged(err, src,
			       "the snapshot table at offset %#" PRIx64 " is not cluster aligned",
			       q->snapshots_off);
	/* A table has at least 40 bytes a snapshot; its entries are checked where they are read. */
	return check_region(q, "the snapshot table", q->snapshots_off,
			    q->n_snapshots * UINT64_C(40), src, err);
}

static int read_backing_name(struct qcow2 *q, const struct header_source *src, struct err *err)
{
	uint64_t off = be64(src->bytes + QCOW2_H_BACKING_OFF);
	uint32_t len = be32(src->bytes + QCOW2_H_BACKING_LEN);

	if (!off || !len)
		return 0;
	if (len > QCOW2_MAX_NAME_LEN || off < q->header_len || off > src->len ||
	    len > src->len - off)
		return damaged(err, src,
			       "the backing file's name (offset %#" PRIx64
			       ", %u bytes) does not fit into the first cluster",
			       off, len);
	if (memchr(src->bytes + off, 0, len))
		return damaged(err, src, "the backing file's name has a NUL byte in it");
	q->layer.backing_name = strndup((const char *)src->bytes + off, len);
	if (!q->layer.backing_name)
		return err_set(err, -ENOMEM, "%s: out of memory", src->name);
	q->layer.has_backing = true;
	return 0;
}

static void refuse(struct refusal *refusal, int code, const char *why)
{
	if (refusal->code)
		return;
	refusal->code = code;
	snprintf(refusal->why, sizeof(refusal->why), "%s", why);
}

/* What makes even the tables mean what is not known here. */
static void note_unknown(struct qcow2 *q, const struct header_source *src)
{
	struct refusal *uncheckable = &q->layer.uncheckable;
	bool type_bit = q->incompat & QCOW2_INCOMPAT_COMPRESSION;

	for (unsigned bit = 0; bit < 64; bit++)
		if (q->incompat & ~QCOW2_INCOMPAT_KNOWN & (UINT64_C(1) << bit)) {
			char name[128], why[200];

			qcow2_feature_name(src->bytes, src->len, q->header_len, bit, name,
					   sizeof(name));
			snprintf(why, sizeof(why),
				 "it uses an incompatible feature unknown here (%s)", name);
			refuse(uncheckable, -ENOTSUP, why);
		}
	if (q->crypt_method > 2)
		refuse(uncheckable, -ENOTSUP, "it is encrypted, by a method unknown here");
	if (type_bit != (q->compression != QCOW2_COMPRESSION_ZLIB))
		refuse(uncheckable, -EUCLEAN,
		       "its compression type and feature bit disagree; restore its header from a "
		       "copy");
	else if (q->compression > QCOW2_COMPRESSION_ZSTD)
		refuse(uncheckable, -ENOTSUP, "its compression type is unknown here");
}

/* What is here but can't be read or changed. The first reason found stands. */
static void note_refusals(struct qcow2 *q, const struct header_source *src)
{
	struct refusal *unreadable = &q->layer.unreadable, *unwritable = &q->layer.unwritable;

	note_unknown(q, src);
	*unreadable = q->layer.uncheckable;
	if (q->crypt_method || q->has_luks)
		refuse(unreadable, -ENOTSUP,
		       q->crypt_method == 1 ? "it is encrypted (AES)" : "it is encrypted (LUKS)");
	if (qcow2_is_external(q) && !q->layer.data_name)
		refuse(unreadable, -ENOTSUP,
		       "its data lies in an external data file, whose name it does not record; "
		       "record it with qemu-img amend -o data_file=NAME");
	if (qcow2_is_external(q) && q->n_snapshots)
		refuse(unwritable, -ENOTSUP,
		       "it has both an external data file and internal snapshots");
	if (q->incompat & QCOW2_INCOMPAT_CORRUPT && !unwritable->code) {
		refuse(unwritable, -EUCLEAN, "it is marked corrupt; repair a copy first");
		unwritable->remedy = ERR_REMEDY_REPAIR;
	}
}

/* Where the file ends inside the L1 table, the entries that it lacks were zero, or what they led to is
 * counted still and lost to every reader. Rare, so that the whole check may be run for it. */
static int note_cut_l1(struct qcow2 *q, struct err *err)
{
	struct check_result found = { 0 };
	uint64_t len = q->l1_size * UINT64_C(8), file_len = q->layer.file->len;
	int rc;

	if (q->layer.unreadable.code || q->l1_off + len <= file_len)
		return 0;
	rc = qcow2_check(&q->layer, &found, err);
	if (!rc && found.n_cut)
		refuse(&q->layer.unreadable, -EUCLEAN,
		       "the file ends inside its L1 table, and clusters that nothing refers to any "
		       "more may be what the lost entries led to; restore it from a copy");
	return rc;
}

int qcow2_open(struct file *file, struct table_cache *cache, struct layer **out, struct err *err)
{
	char name[512];
	struct header_source src = { .name = err_escape(file->name, strlen(file->name), name,
							sizeof(name)) };
	struct qcow2 *q = calloc(1, sizeof(*q));
	int rc;

	if (!q)
		return err_set(err, -ENOMEM, "%s: out of memory", src.name);
	q->layer.ops = &qcow2_ops;
	q->layer.file = q->layer.data = file;
	q->layer.cache = cache;
	q->codecs = codecs_new();
	rc = q->codecs ? read_first_cluster(file, &src, err)
		       : err_set(err, -ENOMEM, "%s: out of memory", src.name);
	if (!rc)
		rc = parse_fixed_fields(q, &src, err);
	if (!rc)
		rc = check_geometry(q, &src, err);
	if (!rc)
		rc = read_backing_name(q, &src, err);
	if (!rc)
		rc = qcow2_read_extensions(q, src.bytes, src.len, err);
	if (!rc) {
		q->layer.has_data_file = qcow2_is_external(q);
		if (q->layer.has_data_file && q->data_file_name && *q->data_file_name)
			q->layer.data_name = q->data_file_name;
		note_refusals(q, &src);
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

	free(q->layer.backing_name);
	free(q->data_file_name);
	free(q->new_link);
	free(q->reftable);
	qcow2_forget_all_empty(q);
	codecs_free(q->codecs);
	qcow2_freed_free(q);
	qcow2_views_free(q);
	free(q);
}

static void qcow2_describe(const struct layer *layer, struct layer_info *info)
{
	const struct qcow2 *q = qcow2_of(layer);

	info->version = q->version;
	info->refcount_bits = 1u << q->refcount_order;
	info->n_snapshots = q->n_snapshots;
	info->compression = q->compression == QCOW2_COMPRESSION_ZLIB   ? "zlib"
			    : q->compression == QCOW2_COMPRESSION_ZSTD ? "zstd"
								       : "unknown";
	if (q->crypt_method || q->has_luks)
		info->encryption = q->crypt_method == 1   ? "aes"
				   : q->crypt_method == 2 ? "luks"
							  : "unknown";
	info->dirty = q->incompat & QCOW2_INCOMPAT_DIRTY;
	info->corrupt = q->incompat & QCOW2_INCOMPAT_CORRUPT;
	info->lazy_refcounts = q->compat & QCOW2_COMPAT_LAZY;
	info->extended_l2 = q->incompat & QCOW2_INCOMPAT_EXTENDED_L2;
	info->has_data_file = layer->has_data_file;
	info->data_file = layer->data_name;
	info->data_file_raw = layer->has_data_file && q->autoclear & QCOW2_AUTOCLEAR_RAW_DATA;
	info->has_bitmaps = q->has_bitmaps;
}

static const struct layer_ops qcow2_ops = {
	.format = IMAGE_QCOW2,
	.name = "qcow2",
	.map = qcow2_map,
	.decode = qcow2_decode,
	.describe = qcow2_describe,
	.begin_measuring = qcow2_begin_measuring,
	.table_at = qcow2_table_at,
	.table_place = qcow2_table_place,
	.has_table = qcow2_has_table,
	.measure = qcow2_measure,
	.begin_writing = qcow2_begin_writing,
	.reserve = qcow2_reserve,
	.release = qcow2_release,
	.lacks = qcow2_lacks,
	.destination = qcow2_destination,
	.may_compress = qcow2_may_compress,
	.set_compression = qcow2_set_compression,
	.encode = qcow2_encode,
	.reserve_bytes = qcow2_reserve_bytes,
	.link = qcow2_link,
	.publish = qcow2_publish,
	.begin_guest_writes = qcow2_begin_guest_writes,
	.map_write = qcow2_map_write,
	.unshare = qcow2_unshare,
	.destination_write = qcow2_destination_write,
	.publish_write = qcow2_publish_write,
	.tables_durable = qcow2_tables_durable,
	.has_freed = qcow2_has_freed,
	.drained = qcow2_drained,
	.stage = qcow2_stage,
	.reftable_durable = qcow2_reftable_durable,
	.reread = qcow2_views_reread,
	.plan_link = qcow2_plan_link,
	.stage_link = qcow2_stage_link,
	.link_durable = qcow2_link_durable,
	.mark_mixed = qcow2_mark_mixed,
	.check = qcow2_check,
	.repair = qcow2_repair,
	.close = qcow2_close,
};
