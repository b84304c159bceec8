/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The fields of a qcow2 header: read and checked when an image is opened, and the few that change
 * in place. */
#include "formats/qcow2/image/header.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/core/foreign.h"
#include "formats/qcow2/image/disk.h"
#include "formats/qcow2/image/image.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"

__attribute__((format(printf, 3, 4))) static int qcow2_damaged(struct err *err,
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
static int check_header_table(const struct qcow2 *q, const char *what, uint64_t off, uint64_t len,
			      const struct header_source *src, struct err *err)
{
	if (!len)
		return 0;
	if (!off || !is_aligned(off, qcow2_cluster_len(q)))
		return qcow2_damaged(err, src,
				     "%s at offset %#" PRIx64 " is not on a cluster of its own",
				     what, off);
	if (!qcow2_holds_table(q, off, len))
		return qcow2_damaged(err, src,
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
		return qcow2_damaged(err, src, "the file ends after %" PRIu64 " bytes", file->len);
	if (version != 2 && version != 3)
		return err_set(err, -ENOTSUP,
			       "%s: qcow2 version %u is not supported; versions 2 and 3 are",
			       src->name, version);
	return 0;
}

int qcow2_read_first_cluster(struct file *file, struct header_source *src, struct err *err)
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
		return qcow2_damaged(err, src, "cluster_bits is %u, not 9 to 21", bits);
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
		return qcow2_damaged(err, src, "the file ends after %zu bytes", src->len);
	q->hdr.incompat = be64(h + QCOW2_H_INCOMPAT);
	q->hdr.compat = be64(h + QCOW2_H_COMPAT);
	q->hdr.autoclear = be64(h + QCOW2_H_AUTOCLEAR);
	q->hdr.refcount_order = be32(h + QCOW2_H_REFCOUNT_ORDER);
	q->hdr.header_len = be32(h + QCOW2_H_LEN);
	if (q->hdr.refcount_order > 6)
		return qcow2_damaged(err, src, "refcount_order is %u, not 0 to 6",
				     q->hdr.refcount_order);
	if (q->hdr.header_len < QCOW2_V3_HEADER_MIN_LEN || q->hdr.header_len > src->len ||
	    q->hdr.header_len % 8)
		return qcow2_damaged(err, src, "header_length is %u", q->hdr.header_len);
	if (q->hdr.header_len > QCOW2_H_COMPRESSION)
		q->hdr.compression = h[QCOW2_H_COMPRESSION];
	return 0;
}

int qcow2_parse_fixed_fields(struct qcow2 *q, const struct header_source *src, struct err *err)
{
	const uint8_t *h = src->bytes;

	q->hdr.version = be32(h + QCOW2_H_VERSION);
	q->cluster_bits = be32(h + QCOW2_H_CLUSTER_BITS);
	q->layer.cluster_len = qcow2_cluster_len(q);
	q->layer.guest_len = round_down(be64(h + QCOW2_H_SIZE), 512);
	q->hdr.guest_len = be64(h + QCOW2_H_SIZE);
	q->hdr.crypt_method = be32(h + QCOW2_H_CRYPT);
	q->hdr.l1_size = be32(h + QCOW2_H_L1_SIZE);
	q->hdr.l1_off = be64(h + QCOW2_H_L1_OFF);
	q->hdr.reftable_off = be64(h + QCOW2_H_REFTABLE_OFF);
	q->hdr.reftable_clusters = be32(h + QCOW2_H_REFTABLE_CLUSTERS);
	q->hdr.n_snapshots = be32(h + QCOW2_H_N_SNAPSHOTS);
	q->hdr.snapshots_off = be64(h + QCOW2_H_SNAPSHOTS_OFF);
	q->hdr.refcount_order = 4;
	q->hdr.header_len = QCOW2_V2_HEADER_LEN;
	q->layer.has_zero_entries = q->hdr.version >= 3;
	return q->hdr.version == 3 ? parse_version3(q, src, err) : 0;
}

int qcow2_check_geometry(struct qcow2 *q, const struct header_source *src, struct err *err)
{
	uint64_t l2_span, reftable_len;
	int rc;

	q->l2_entry_len = q->hdr.incompat & QCOW2_INCOMPAT_EXTENDED_L2 ? 16 : 8;
	q->l2_entries = qcow2_cluster_len(q) / q->l2_entry_len;
	q->l2_slice_len = MIN(q->layer.cluster_len, QCOW2_L2_SLICE_LEN);
	q->layer.granule_len = q->layer.cluster_len;
	if (q->l2_entry_len == 16)
		q->layer.granule_len /= QCOW2_SUBCLUSTERS;
	q->refs_per_block = (qcow2_cluster_len(q) * 8) >> q->hdr.refcount_order;
	if (q->l2_entry_len == 16 && q->cluster_bits < 14)
		return qcow2_damaged(err, src,
				     "extended L2 entries need clusters of 16 KiB and more");
	if (q->hdr.l1_size * UINT64_C(8) > QCOW2_MAX_L1_LEN)
		return qcow2_damaged(err, src, "the L1 table has %u entries, more than 32 MiB",
				     q->hdr.l1_size);
	l2_span = q->l2_entries * qcow2_cluster_len(q);
	if (div_round_up(q->layer.guest_len, l2_span) > q->hdr.l1_size)
		return qcow2_damaged(err, src,
				     "the L1 table has %u entries, too few for a disk of %" PRIu64
				     " bytes",
				     q->hdr.l1_size, q->layer.guest_len);
	rc = check_header_table(q, "the L1 table", q->hdr.l1_off, q->hdr.l1_size * UINT64_C(8), src,
				err);
	if (rc)
		return rc;
	if (mul_u64(q->hdr.reftable_clusters, qcow2_cluster_len(q), &reftable_len) ||
	    !reftable_len || reftable_len > QCOW2_MAX_REFTABLE_LEN)
		return qcow2_damaged(err, src, "the refcount table has %u clusters",
				     q->hdr.reftable_clusters);
	rc = check_header_table(q, "the refcount table", q->hdr.reftable_off, reftable_len, src,
				err);
	if (rc)
		return rc;
	if (q->hdr.n_snapshots > QCOW2_MAX_SNAPSHOTS)
		return qcow2_damaged(err, src, "it claims %u snapshots, more than %u",
				     q->hdr.n_snapshots, QCOW2_MAX_SNAPSHOTS);
	/* Without snapshots nothing reads the offset, but QEMU opens no image where it is not
	 * aligned. */
	if (!is_aligned(q->hdr.snapshots_off, qcow2_cluster_len(q)) ||
	    q->hdr.snapshots_off > INT64_MAX)
		return qcow2_damaged(err, src,
				     "the snapshot table at offset %#" PRIx64
				     " is not cluster aligned",
				     q->hdr.snapshots_off);
	/* What a table has at least; its entries are checked where they are read. */
	return check_header_table(q, "the snapshot table", q->hdr.snapshots_off,
				  q->hdr.n_snapshots * (uint64_t)QCOW2_SNAPSHOT_LEN, src, err);
}

int qcow2_read_backing_name(struct qcow2 *q, const struct header_source *src, struct err *err)
{
	uint64_t off = be64(src->bytes + QCOW2_H_BACKING_OFF);
	uint32_t len = be32(src->bytes + QCOW2_H_BACKING_LEN);

	if (!off || !len)
		return 0;
	if (len > QCOW2_MAX_NAME_LEN || off < q->hdr.header_len || off > src->len ||
	    len > src->len - off)
		return qcow2_damaged(err, src,
				     "the backing file's name (offset %#" PRIx64
				     ", %u bytes) does not fit into the first cluster",
				     off, len);
	if (memchr(src->bytes + off, 0, len))
		return qcow2_damaged(err, src, "the backing file's name has a NUL byte in it");
	q->layer.backing.name = strndup((const char *)src->bytes + off, len);
	if (!q->layer.backing.name)
		return err_set(err, -ENOMEM, "%s: out of memory", src->name);
	q->layer.has_backing = true;
	return 0;
}

/* Changes one of the header's u64 fields on disk, durably, and then here. */
static int write_field(struct qcow2 *q, uint64_t field_off, uint64_t value, uint64_t *field)
{
	uint8_t bytes[8];
	int rc;

	put_be64(bytes, value);
	rc = file_overwrite(q->layer.file, bytes, sizeof(bytes), field_off);
	if (!rc)
		rc = file_sync(q->layer.file);
	if (!rc)
		*field = value;
	return rc;
}

int qcow2_clear_incompat(struct qcow2 *q, uint64_t bits)
{
	if (!(q->hdr.incompat & bits))
		return 0;
	return write_field(q, QCOW2_H_INCOMPAT, q->hdr.incompat & ~bits, &q->hdr.incompat);
}

/* Autoclear bits not understood are gone, durably, before anything changes. */
int qcow2_clear_unknown_autoclear(struct qcow2 *q, uint64_t known)
{
	if (!(q->hdr.autoclear & ~known))
		return 0;
	return write_field(q, QCOW2_H_AUTOCLEAR, q->hdr.autoclear & known, &q->hdr.autoclear);
}
