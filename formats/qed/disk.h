/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * QED as it lies on disk, little endian (QEMU docs/interop/qed_spec.rst):
 * offsets of header fields, limits and the two special table entries. No
 * struct is laid over the bytes, since they come from strangers and a table
 * can be cached in slices that begin anywhere.
 */
#ifndef BLOCKPULL_FORMATS_QED_DISK_H
#define BLOCKPULL_FORMATS_QED_DISK_H

#define QED_MAGIC 0x00444551u /* "QED\0" read as little endian */

/* Header fields: offset in bytes; u32 unless said. */
enum qed_header_field {
	QED_H_MAGIC = 0,
	QED_H_CLUSTER_LEN = 4,      /* bytes */
	QED_H_TABLE_CLUSTERS = 8,   /* of the L1 table and of each L2 table */
	QED_H_HEADER_CLUSTERS = 12, /* header and strings */
	QED_H_FEATURES = 16,        /* u64 */
	QED_H_COMPAT = 24,          /* u64 */
	QED_H_AUTOCLEAR = 32,       /* u64 */
	QED_H_L1_OFF = 40,          /* u64, host bytes */
	QED_H_GUEST_LEN = 48,       /* u64, bytes */
	QED_H_BACKING_OFF = 56,
	QED_H_BACKING_LEN = 60,
};

#define QED_HEADER_LEN 64u /* inside sector 0: one write of it is never torn */

#define QED_MIN_CLUSTER_LEN        (UINT32_C(1) << 12)
#define QED_MAX_CLUSTER_LEN        (UINT32_C(1) << 26)
#define QED_MAX_TABLE_CLUSTERS     16u
#define QED_DEFAULT_CLUSTER_LEN    65536u
#define QED_DEFAULT_TABLE_CLUSTERS 4u

/* The specification has no limit but the header's clusters; no path is longer. */
#define QED_MAX_NAME_LEN 4095u

/* What QEMU is able to read back, so what is written. */
#define QED_MAX_NEW_NAME_LEN       1023u
#define QED_MIN_NEW_TABLE_CLUSTERS 2u /* clusters */

#define QED_F_BACKING_FILE  (UINT64_C(1) << 0)
#define QED_F_NEED_CHECK    (UINT64_C(1) << 1)
#define QED_F_NO_PROBE      (UINT64_C(1) << 2) /* the backing file is raw */
#define QED_F_KNOWN         UINT64_C(7)
#define QED_AUTOCLEAR_KNOWN UINT64_C(0)

/* Table entries; any other value is a cluster-aligned host offset. */
#define QED_ENTRY_LEN         8u
#define QED_ENTRY_UNALLOCATED UINT64_C(0)
#define QED_ENTRY_ZERO        UINT64_C(1) /* L2 only */

#endif
