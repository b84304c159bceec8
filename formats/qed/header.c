/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The fields of a QED header: read and checked when an image is opened, and rewritten. */
#include "formats/qed/header.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "formats/qed/disk.h"
#include "formats/qed/image.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

__attribute__((format(printf, 3, 4))) static int qed_damaged(struct err *err, const char *name,
							     const char *format, ...)
{
	char why[300];
	va_list args;

	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	return err_set(err, -EUCLEAN, "%s: damaged QED header: %s; restore it from a copy", name,
		       why);
}

int qed_read_header(struct qed *q, const char *name, struct err *err)
{
	struct file *file = q->layer.file;
	int rc;

	if (file->len < QED_HEADER_LEN)
		return qed_damaged(err, name, "the file ends after %" PRIu64 " bytes", file->len);
	rc = file_read(file, q->header, sizeof(q->header), 0);
	if (rc)
		return err_errno(err, rc, "%s: cannot read the header", name);
	if (le32(q->header + QED_H_MAGIC) != QED_MAGIC)
		return err_set(
			err, -EINVAL,
			"%s: not a QED image (wrong magic), though it was named or recorded as one",
			name);
	return 0;
}

int qed_parse_geometry(struct qed *q, const char *name, struct err *err)
{
	uint32_t cluster_len = le32(q->header + QED_H_CLUSTER_LEN);
	uint32_t table_clusters = le32(q->header + QED_H_TABLE_CLUSTERS);
	uint32_t header_clusters = le32(q->header + QED_H_HEADER_CLUSTERS);

	if (!is_power_of_2(cluster_len) || cluster_len < QED_MIN_CLUSTER_LEN ||
	    cluster_len > QED_MAX_CLUSTER_LEN)
		return qed_damaged(err, name,
				   "cluster_size is %" PRIu32
				   ", not a power of two from 4096 to 67108864",
				   cluster_len);
	if (!is_power_of_2(table_clusters) || table_clusters > QED_MAX_TABLE_CLUSTERS)
		return qed_damaged(err, name,
				   "table_size is %" PRIu32
				   " clusters, not a power of two from 1 to 16",
				   table_clusters);
	if (!header_clusters)
		return qed_damaged(err, name, "header_size is 0 clusters");
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

int qed_check_ranges(struct qed *q, const char *name, struct err *err)
{
	uint64_t guest_len = le64(q->header + QED_H_GUEST_LEN);
	uint64_t l1_off = le64(q->header + QED_H_L1_OFF), l1_end;
	unsigned limit_bits = q->table_bits + q->l2_bits;

	if (guest_len % 512)
		return qed_damaged(err, name, "image_size %" PRIu64 " is not a multiple of 512",
				   guest_len);
	if (limit_bits < 63 && guest_len > UINT64_C(1) << limit_bits)
		return qed_damaged(err, name,
				   "image_size %" PRIu64
				   " is more than its tables can map (%" PRIu64 ")",
				   guest_len, UINT64_C(1) << limit_bits);
	if (guest_len > INT64_MAX - QED_MAX_CLUSTER_LEN)
		return qed_damaged(err, name,
				   "image_size %" PRIu64 " is more than any disk can have",
				   guest_len);
	if (!is_aligned(l1_off, q->layer.cluster_len) || l1_off < q->header_len)
		return qed_damaged(err, name,
				   "the L1 table at offset %#" PRIx64
				   " is not on clusters of its own behind the header",
				   l1_off);
	if (add_u64(l1_off, q->table_len, &l1_end) ||
	    l1_end > round_up(q->layer.file->len, q->layer.cluster_len))
		return qed_damaged(err, name,
				   "the L1 table at offset %#" PRIx64 ", %" PRIu64
				   " bytes long, lies beyond the end of the file (%" PRIu64 ")",
				   l1_off, q->table_len, q->layer.file->len);
	q->layer.guest_len = guest_len;
	q->l1_off = l1_off;
	return 0;
}

int qed_read_backing_name(struct qed *q, const char *name, struct err *err)
{
	uint32_t off = le32(q->header + QED_H_BACKING_OFF);
	uint32_t len = le32(q->header + QED_H_BACKING_LEN);
	autofree char *backing = NULL;
	int rc;

	if (!(q->features & QED_F_BACKING_FILE))
		return 0;
	if (len > QED_MAX_NAME_LEN || off < QED_HEADER_LEN || (uint64_t)off + len > q->header_len)
		return qed_damaged(err, name,
				   "the backing file's name (offset %#" PRIx32 ", %" PRIu32
				   " bytes) does not fit behind the header",
				   off, len);
	backing = calloc(1, len + 1);
	if (!backing)
		return err_set(err, -ENOMEM, "%s: out of memory", name);
	rc = file_read(q->layer.file, backing, len, off);
	if (rc)
		return err_errno(err, rc, "%s: cannot read the backing file's name at offset %#x",
				 name, off);
	if (memchr(backing, 0, len))
		return qed_damaged(err, name, "the backing file's name has a NUL byte in it");
	q->layer.has_backing = true;
	q->layer.backing.name = STEAL(backing);
	/* Without the bit the specification says: probe. */
	q->layer.backing.format = q->features & QED_F_NO_PROBE ? IMAGE_RAW : IMAGE_UNKNOWN;
	q->layer.backing.probe = !(q->features & QED_F_NO_PROBE);
	return 0;
}

/* The first sync makes durable what the check has just seen, the second one the header, before
 * anything else is written. */
int qed_rewrite_header(struct qed *q, uint64_t features, uint64_t autoclear, struct err *err)
{
	uint8_t header[QED_HEADER_LEN];
	struct shown shown;
	int rc;

	memcpy(header, q->header, sizeof(header));
	put_le64(header + QED_H_FEATURES, features);
	put_le64(header + QED_H_AUTOCLEAR, autoclear);
	rc = file_sync(q->layer.file);
	if (!rc)
		rc = file_write(q->layer.file, header, sizeof(header), 0);
	if (!rc)
		rc = file_sync(q->layer.file);
	if (rc)
		return err_errno(err, rc, "%s: cannot write the header at offset 0",
				 file_show(q->layer.file, &shown));
	memcpy(q->header, header, sizeof(header));
	q->features = features;
	q->autoclear = autoclear;
	q->need_check = features & QED_F_NEED_CHECK;
	return 0;
}
