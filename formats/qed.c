/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * QED: opening an image, making it ready to be written, dropping its link.
 *
 * Opening checks the header against the specification and the file's length
 * and reads no table. Before the first write the whole image is checked, not
 * only when NEED_CHECK asks for it: two guest ranges that share an L2 table
 * would each read what is copied for the other, and nothing in the header
 * tells. Trusting a clear NEED_CHECK bit was rejected for that reason; the
 * walk costs what reading the allocated tables once costs.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "formats/qed.h"
#include "io/blocking.h"

/* On a block device every byte of a new table must be written, and a commit holds a copy. */
#define QED_MAX_DEVICE_TABLE_LEN (16 * MiB)

static const struct layer_ops qed_ops;

struct header_name {
	char text[512]; /* the file's name, escaped */
};

static void header_name_init(struct header_name *name, const struct file *file)
{
	err_escape(file->name, strlen(file->name), name->text, sizeof(name->text));
}

__attribute__((format(printf, 3, 4))) static int damaged(struct err *err,
							 const struct header_name *name,
							 const char *format, ...)
{
	char why[300];
	va_list args;

	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	return err_set(err, -EUCLEAN, "%s: damaged QED header: %s; restore it from a copy",
		       name->text, why);
}

static int read_header(struct qed *q, const struct header_name *name, struct err *err)
{
	struct file *file = q->layer.file;
	int rc;

	if (file->len < QED_HEADER_LEN)
		return damaged(err, name, "the file ends after %" PRIu64 " bytes", file->len);
	rc = file_read(file, q->header, sizeof(q->header), 0);
	if (rc)
		return err_errno(err, rc, "%s: cannot read the header", name->text);
	if (le32(q->header + QED_H_MAGIC) != QED_MAGIC)
		return err_set(
			err, -EINVAL,
			"%s: not a QED image (wrong magic), though it was named or recorded as one",
			name->text);
	return 0;
}

/* The sizes everything else is computed from; afterwards no product of them overflows. */
static int parse_geometry(struct qed *q, const struct header_name *name, struct err *err)
{
	uint32_t cluster_len = le32(q->header + QED_H_CLUSTER_LEN);
	uint32_t table_clusters = le32(q->header + QED_H_TABLE_CLUSTERS);
	uint32_t header_clusters = le32(q->header + QED_H_HEADER_CLUSTERS);

	if (!is_power_of_2(cluster_len) || cluster_len < QED_MIN_CLUSTER_LEN ||
	    cluster_len > QED_MAX_CLUSTER_LEN)
		return damaged(err, name,
			       "cluster_size is %" PRIu32
			       ", not a power of two from 4096 to 67108864",
			       cluster_len);
	if (!is_power_of_2(table_clusters) || table_clusters > QED_MAX_TABLE_CLUSTERS)
		return damaged(err, name,
			       "table_size is %" PRIu32
			       " clusters, not a power of two from 1 to 16",
			       table_clusters);
	if (!header_clusters)
		return damaged(err, name, "header_size is 0 clusters");
	q->layer.cluster_len = q->layer.granule_len = cluster_len;
	q->layer.has_zero_entries = true;
	q->cluster_bits = (unsigned)__builtin_ctz(cluster_len);
	q->table_clusters = table_clusters;
	q->table_len = (uint64_t)table_clusters << q->cluster_bits;
	q->table_bits = (unsigned)__builtin_ctzll(q->table_len / QED_ENTRY_LEN);
	q->l2_bits = q->table_bits + q->cluster_bits; /* at most 27 + 26 */
	q->slice_len = (uint32_t)MIN(q->table_len, (uint64_t)TABLE_MAX_LEN);
	q->header_len = (uint64_t)header_clusters << q->cluster_bits; /* below 2^58 */
	return 0;
}

/* The guest's disk and the L1 table fit each other and the file. A last cluster that the file has
 * only a part of is legal here: it reads as if padded with zeros. */
static int check_ranges(struct qed *q, const struct header_name *name, struct err *err)
{
	uint64_t guest_len = le64(q->header + QED_H_GUEST_LEN);
	uint64_t l1_off = le64(q->header + QED_H_L1_OFF), l1_end;
	unsigned limit_bits = q->table_bits + q->l2_bits;

	if (guest_len % 512)
		return damaged(err, name, "image_size %" PRIu64 " is not a multiple of 512",
			       guest_len);
	if (limit_bits < 63 && guest_len > UINT64_C(1) << limit_bits)
		return damaged(err, name,
			       "image_size %" PRIu64 " is more than its tables can map (%" PRIu64
			       ")",
			       guest_len, UINT64_C(1) << limit_bits);
	if (guest_len > INT64_MAX - QED_MAX_CLUSTER_LEN)
		return damaged(err, name, "image_size %" PRIu64 " is more than any disk can have",
			       guest_len);
	if (!is_aligned(l1_off, q->layer.cluster_len) || l1_off < q->header_len)
		return damaged(err, name,
			       "the L1 table at offset %#" PRIx64
			       " is not on clusters of its own behind the header",
			       l1_off);
	if (add_u64(l1_off, q->table_len, &l1_end) ||
	    l1_end > round_up(q->layer.file->len, q->layer.cluster_len))
		return damaged(err, name,
			       "the L1 table at offset %#" PRIx64 ", %" PRIu64
			       " bytes long, lies beyond the end of the file (%" PRIu64 ")",
			       l1_off, q->table_len, q->layer.file->len);
	q->layer.guest_len = guest_len;
	q->l1_off = l1_off;
	return 0;
}

static int read_backing_name(struct qed *q, const struct header_name *name, struct err *err)
{
	uint32_t off = le32(q->header + QED_H_BACKING_OFF);
	uint32_t len = le32(q->header + QED_H_BACKING_LEN);
	autofree char *backing = NULL;
	int rc;

	if (!(q->features & QED_F_BACKING_FILE))
		return 0;
	if (len > QED_MAX_NAME_LEN || off < QED_HEADER_LEN || (uint64_t)off + len > q->header_len)
		return damaged(err, name,
			       "the backing file's name (offset %#" PRIx32 ", %" PRIu32
			       " bytes) does not fit behind the header",
			       off, len);
	backing = calloc(1, len + 1);
	if (!backing)
		return err_set(err, -ENOMEM, "%s: out of memory", name->text);
	rc = file_read(q->layer.file, backing, len, off);
	if (rc)
		return err_errno(err, rc, "%s: cannot read the backing file's name at offset %#x",
				 name->text, off);
	if (memchr(backing, 0, len))
		return damaged(err, name, "the backing file's name has a NUL byte in it");
	q->layer.has_backing = true;
	q->layer.backing_name = STEAL(backing);
	/* Without the bit the specification says: probe. */
	q->layer.backing_format = q->features & QED_F_NO_PROBE ? IMAGE_RAW : IMAGE_UNKNOWN;
	q->layer.probe_backing = !(q->features & QED_F_NO_PROBE);
	return 0;
}

static void note_refusals(struct qed *q)
{
	uint64_t unknown = q->features & ~QED_F_KNOWN;

	if (!unknown)
		return;
	q->layer.unreadable.code = -ENOTSUP;
	snprintf(q->layer.unreadable.why, sizeof(q->layer.unreadable.why),
		 "it uses an incompatible feature unknown here (bit %d)", __builtin_ctzll(unknown));
	q->layer.uncheckable = q->layer.unreadable;
}

int qed_open(struct file *file, struct table_cache *cache, struct layer **out, struct err *err)
{
	struct header_name name;
	struct qed *q = calloc(1, sizeof(*q));
	int rc;

	header_name_init(&name, file);
	if (!q)
		return err_set(err, -ENOMEM, "%s: out of memory", name.text);
	q->layer.ops = &qed_ops;
	q->layer.file = file;
	q->layer.cache = cache;
	rc = read_header(q, &name, err);
	if (!rc)
		rc = parse_geometry(q, &name, err);
	if (!rc)
		rc = check_ranges(q, &name, err);
	if (rc)
		goto fail;
	q->features = le64(q->header + QED_H_FEATURES);
	q->compat = le64(q->header + QED_H_COMPAT);
	q->autoclear = le64(q->header + QED_H_AUTOCLEAR);
	q->need_check = q->features & QED_F_NEED_CHECK;
	rc = read_backing_name(q, &name, err);
	if (rc)
		goto fail;
	note_refusals(q);
	*out = &q->layer;
	return 0;
fail:
	q->layer.ops->close(&q->layer);
	return rc;
}

static void qed_close(struct layer *layer)
{
	struct qed *q = qed_of(layer);

	free(layer->backing_name);
	free(q->new_link);
	free(q);
}

/* ---- begin_writing ---- */

/* Keeps the first thing found wrong, for the sentence that refuses the image. */
static void keep_first_error(void *opaque, bool is_leak, const char *text)
{
	char(*first)[256] = opaque;

	if (!is_leak && !(*first)[0])
		snprintf(*first, sizeof(*first), "%s", text);
}

int qed_audit(struct qed *q, struct check_result *found, struct err *err)
{
	struct header_name name;
	char first[256] = "";
	struct check_result result = {
		.report = keep_first_error,
		.opaque = &first,
		.max_reports = UINT64_MAX,
	};
	int rc;

	/* No other reads or writes this image: not before it may be written to. */
	blocking_begin();
	rc = qed_check(&q->layer, &result, err);
	blocking_end();
	if (rc)
		return rc;
	header_name_init(&name, q->layer.file);
	if (result.n_errors)
		return err_set(err, -EUCLEAN,
			       "%s: damaged, not written to: %s (%" PRIu64
			       " errors); repair a copy with qemu-img check -r all first",
			       name.text, first, result.n_errors);
	if (result.n_check_errors)
		return err_set(err, -EIO, "%s: could not be checked, not written to: %s", name.text,
			       first);
	*found = result;
	return 0;
}

/* Changes features and autoclear bits on disk and then here. The sync in front makes durable what
 * the check has just seen, the one behind makes the header durable before anything is written. */
int qed_rewrite_header(struct qed *q, uint64_t features, uint64_t autoclear, struct err *err)
{
	uint8_t header[QED_HEADER_LEN];
	struct header_name name;
	int rc;

	memcpy(header, q->header, sizeof(header));
	put_le64(header + QED_H_FEATURES, features);
	put_le64(header + QED_H_AUTOCLEAR, autoclear);
	rc = file_sync(q->layer.file);
	if (!rc)
		rc = file_write(q->layer.file, header, sizeof(header), 0);
	if (!rc)
		rc = file_sync(q->layer.file);
	if (rc) {
		header_name_init(&name, q->layer.file);
		return err_errno(err, rc, "%s: cannot write the header at offset 0", name.text);
	}
	memcpy(q->header, header, sizeof(header));
	q->features = features;
	q->autoclear = autoclear;
	q->need_check = features & QED_F_NEED_CHECK;
	return 0;
}

/* Where new space is, and what is to be had back first: leaks, and a last, partial cluster, which
 * the audit found nothing in. A device has no end to append at, and old bytes everywhere. An earlier
 * job of this handle may have written behind the end and failed to cut it off. */
static int find_space(struct qed *q, const struct check_result *found, uint64_t *n_left,
		      struct err *err)
{
	struct layer *layer = &q->layer;
	struct file *file = layer->file;
	uint64_t end_off =
		file->is_block ? found->image_end_off : round_up(file->len, layer->cluster_len);

	layer->zero_from = file->is_block ? UINT64_MAX : MAX(layer->zero_from, file->len);
	q->gaps.n = 0;
	/* Changes that are not on disk refer to clusters which the audit took for leaks. */
	if (table_cache_dirty_len(layer->cache, file)) {
		layer->alloc_end = MAX(layer->alloc_end, end_off);
		return 0;
	}
	q->spare_l2_off = 0;
	table_cache_drop_clean(layer->cache, file);
	layer->alloc_end = end_off;
	if (!found->n_leaks && (file->is_block || file->len == end_off))
		return 0;
	return qed_reclaim_all(q, found->image_end_off, n_left, err);
}

static int qed_begin_writing(struct layer *layer, struct err *err)
{
	struct qed *q = qed_of(layer);
	struct file *file = layer->file;
	struct header_name name;
	struct check_result found = { 0 };
	bool was_dirty = q->need_check;
	uint64_t n_left = 0, no_probe = 0;
	int rc;

	header_name_init(&name, file);
	layer->note[0] = 0;
	if (file->is_block && q->table_len > QED_MAX_DEVICE_TABLE_LEN)
		return err_set(err, -ENOTSUP,
			       "%s: QED tables of %" PRIu64
			       " MiB are not written on a block device; copy the image to a file",
			       name.text, q->table_len / MiB);
	rc = qed_audit(q, &found, err);
	if (rc)
		return rc;
	if (layer->has_backing && layer->backing_told_raw)
		no_probe = QED_F_NO_PROBE;
	if (q->need_check || q->autoclear & ~QED_AUTOCLEAR_KNOWN || no_probe & ~q->features) {
		rc = qed_rewrite_header(q, (q->features & ~QED_F_NEED_CHECK) | no_probe,
					q->autoclear & QED_AUTOCLEAR_KNOWN, err);
		if (rc)
			return rc;
	}
	rc = find_space(q, &found, &n_left, err);
	if (rc)
		return rc;
	qed_note(layer, was_dirty, found.n_leaks, n_left);
	return 0;
}

/* Nothing is dirty outside the table cache: QED counts no references. */
static int qed_stage(struct layer *layer, struct staged *staged)
{
	(void)layer;
	(void)staged;
	return 0;
}

static void qed_reftable_durable(struct layer *layer)
{
	(void)layer;
}

static void qed_describe(const struct layer *layer, struct layer_info *info)
{
	const struct qed *q = qed_of(layer);

	info->table_clusters = q->table_clusters;
	info->dirty = q->need_check;
}

static const struct layer_ops qed_ops = {
	.format = IMAGE_QED,
	.name = "qed",
	.map = qed_map,
	.describe = qed_describe,
	.table_at = qed_has_table,
	.table_place = qed_table_place,
	.has_table = qed_has_table,
	.measure = qed_measure,
	.begin_writing = qed_begin_writing,
	.reserve = qed_reserve,
	.release = qed_release,
	.link = qed_link,
	.publish = qed_publish,
	.map_write = qed_map_write,
	.publish_write = qed_publish_write,
	.stage = qed_stage,
	.reftable_durable = qed_reftable_durable,
	.plan_link = qed_plan_link,
	.stage_link = qed_stage_link,
	.link_durable = qed_link_durable,
	.reclaim = qed_reclaim,
	.check = qed_check,
	.repair = qed_repair,
	.close = qed_close,
};
