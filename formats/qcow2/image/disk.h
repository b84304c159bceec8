/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * qcow2 as it lies on disk, big endian (QEMU docs/interop/qcow2.rst). Offsets
 * of header fields, limits, and pure functions that take an entry apart; no
 * struct is laid over the bytes, since they come from strangers.
 */
#ifndef BLOCKPULL_FORMATS_QCOW2_IMAGE_DISK_H
#define BLOCKPULL_FORMATS_QCOW2_IMAGE_DISK_H

#include <stdint.h>

#include "io/base.h"

#define QCOW2_MAGIC 0x514649fbu /* "QFI\xfb" */

/* Header fields: offset in bytes; u32 unless said. */
enum qcow2_header_field {
	QCOW2_H_MAGIC = 0,
	QCOW2_H_VERSION = 4,
	QCOW2_H_BACKING_OFF = 8, /* u64 */
	QCOW2_H_BACKING_LEN = 16,
	QCOW2_H_CLUSTER_BITS = 20,
	QCOW2_H_SIZE = 24, /* u64 */
	QCOW2_H_CRYPT = 32,
	QCOW2_H_L1_SIZE = 36,      /* entries */
	QCOW2_H_L1_OFF = 40,       /* u64 */
	QCOW2_H_REFTABLE_OFF = 48, /* u64 */
	QCOW2_H_REFTABLE_CLUSTERS = 56,
	QCOW2_H_N_SNAPSHOTS = 60,
	QCOW2_H_SNAPSHOTS_OFF = 64, /* u64 */
	/* version 3 */
	QCOW2_H_INCOMPAT = 72,  /* u64 */
	QCOW2_H_COMPAT = 80,    /* u64 */
	QCOW2_H_AUTOCLEAR = 88, /* u64 */
	QCOW2_H_REFCOUNT_ORDER = 96,
	QCOW2_H_LEN = 100,
	QCOW2_H_COMPRESSION = 104, /* u8, where the header is longer than 104 */
};

#define QCOW2_V2_HEADER_LEN     72u
#define QCOW2_V3_HEADER_MIN_LEN 104u
#define QCOW2_HEADER_LEN        112u /* what is written today */

#define QCOW2_MIN_CLUSTER_BITS 9u
#define QCOW2_MAX_CLUSTER_BITS 21u
#define QCOW2_MAX_L1_LEN       (32 * MiB)
#define QCOW2_MAX_REFTABLE_LEN (8 * MiB)
#define QCOW2_MAX_NAME_LEN     1023u
#define QCOW2_MAX_SNAPSHOTS    65536u
#define QCOW2_MAX_HOST_OFF     (UINT64_C(1) << 56)

#define QCOW2_INCOMPAT_DIRTY       (UINT64_C(1) << 0)
#define QCOW2_INCOMPAT_CORRUPT     (UINT64_C(1) << 1)
#define QCOW2_INCOMPAT_DATA_FILE   (UINT64_C(1) << 2)
#define QCOW2_INCOMPAT_COMPRESSION (UINT64_C(1) << 3)
#define QCOW2_INCOMPAT_EXTENDED_L2 (UINT64_C(1) << 4)
#define QCOW2_INCOMPAT_KNOWN       UINT64_C(0x1f)
#define QCOW2_COMPAT_LAZY          (UINT64_C(1) << 0)
#define QCOW2_AUTOCLEAR_BITMAPS    (UINT64_C(1) << 0)
#define QCOW2_AUTOCLEAR_RAW_DATA   (UINT64_C(1) << 1)

#define QCOW2_EXT_END            0x00000000u
#define QCOW2_EXT_BACKING_FORMAT 0xe2792acau
#define QCOW2_EXT_FEATURE_NAMES  0x6803f857u
#define QCOW2_EXT_BITMAPS        0x23852875u
#define QCOW2_EXT_LUKS           0x0537be77u
#define QCOW2_EXT_DATA_FILE      0x44415441u
#define QCOW2_EXT_MIXED          0x62706d78u /* "bpmx", ours: docs/architecture.md */

#define QCOW2_EXT_HEAD_LEN 8u   /* of an extension: type and length */
#define QCOW2_FEATURE_LEN  48u  /* of one record of QCOW2_EXT_FEATURE_NAMES */
#define QCOW2_MARK_LEN     8u   /* of the data of QCOW2_EXT_MIXED: flags and a reserved u32 */
#define QCOW2_MARK_MIXED   1u   /* flag */
#define QCOW2_SNAPSHOT_LEN 40u  /* of a snapshot table entry's fixed fields */
#define QCOW2_SECTOR_LEN   512u /* what the power can't tear */

#define QCOW2_OFF_MASK    UINT64_C(0x00fffffffffffe00) /* L1, L2 */
#define QCOW2_L1_RESERVED UINT64_C(0x7f000000000001ff)
#define QCOW2_L2_RESERVED UINT64_C(0x3f000000000001fe)
#define QCOW2_COPIED      (UINT64_C(1) << 63)
#define QCOW2_COMPRESSED  (UINT64_C(1) << 62)
#define QCOW2_ZERO        (UINT64_C(1) << 0)

/* Extended L2 entries: a second u64, bit i: subcluster i is allocated, 32 + i: it reads zeros. */
#define QCOW2_SUBCLUSTERS       32u
#define QCOW2_REFTABLE_OFF_MASK UINT64_C(0xfffffffffffffe00)

/* Compressed descriptor (bits 0..61 of an L2 entry): first byte and readable length. */
static inline unsigned qcow2_comp_off_bits(unsigned cluster_bits)
{
	return 62 - (cluster_bits - 8);
}

static inline uint64_t qcow2_comp_host_off(uint64_t entry, unsigned cluster_bits)
{
	return entry & ((UINT64_C(1) << qcow2_comp_off_bits(cluster_bits)) - 1);
}

static inline uint32_t qcow2_comp_host_len(uint64_t entry, unsigned cluster_bits)
{
	unsigned x = qcow2_comp_off_bits(cluster_bits);
	uint64_t sectors = (entry >> x) & ((UINT64_C(1) << (cluster_bits - 8)) - 1);

	return (sectors + 1) * 512 - (qcow2_comp_host_off(entry, cluster_bits) & 511);
}

/* Refcount entry `idx` of a block; 2^order bits wide, sub-byte widths from the low bits up. */
static inline uint64_t qcow2_refcount_get(const uint8_t *block, uint64_t idx, unsigned order)
{
	switch (order) {
	case 0: return (block[idx / 8] >> (idx % 8)) & 1;
	case 1: return (block[idx / 4] >> (2 * (idx % 4))) & 3;
	case 2: return (block[idx / 2] >> (4 * (idx % 2))) & 15;
	case 3: return block[idx];
	case 4: return be16(block + 2 * idx);
	case 5: return be32(block + 4 * idx);
	default: return be64(block + 8 * idx);
	}
}

static inline void qcow2_refcount_put(uint8_t *block, uint64_t idx, unsigned order, uint64_t v)
{
	switch (order) {
	case 0: block[idx / 8] = (block[idx / 8] & ~(1u << (idx % 8))) | v << (idx % 8); break;
	case 1:
		block[idx / 4] = (block[idx / 4] & ~(3u << (2 * (idx % 4)))) | v << (2 * (idx % 4));
		break;
	case 2:
		block[idx / 2] =
			(block[idx / 2] & ~(15u << (4 * (idx % 2)))) | v << (4 * (idx % 2));
		break;
	case 3: block[idx] = v; break;
	case 4: put_be16(block + 2 * idx, v); break;
	case 5: put_be32(block + 4 * idx, v); break;
	default: put_be64(block + 8 * idx, v); break;
	}
}

#endif
