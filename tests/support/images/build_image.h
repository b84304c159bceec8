/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Builds sound qcow2 images in memory from the specification alone, with what
 * qemu-img cannot be asked for: unknown extensions and feature bits, long
 * headers, tables in odd places, a refcount table about to overflow. It shares
 * no code with formats/, so that neither can hide the other's mistakes.
 */
#ifndef BLOCKPULL_TESTS_SUPPORT_IMAGES_BUILD_IMAGE_H
#define BLOCKPULL_TESTS_SUPPORT_IMAGES_BUILD_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum build_kind {
	BUILD_UNALLOCATED, /* as good as not listed, but for its L2 table being there */
	BUILD_DATA,
	BUILD_ZERO_PLAIN,
	BUILD_ZERO_ALLOC, /* has a cluster, full of other bytes */
	BUILD_COMPRESSED,
};

/* A guest cluster; those not listed are unallocated. */
struct build_cluster {
	uint64_t guest_idx;
	enum build_kind kind;
	uint32_t seed; /* of its bytes: see build_fill() */
};

struct build_ext {
	uint32_t type;
	const void *data;
	uint32_t len;
};

/* Zero is the default everywhere. */
struct build_how {
	unsigned version;       /* 0: 3 */
	unsigned cluster_bits;  /* 0: 16 */
	unsigned refcount_bits; /* 0: 16 */
	uint64_t guest_len;     /* bytes */
	bool zstd;
	const char *backing_name, *backing_format; /* NULL: none recorded */
	uint32_t header_len;                       /* 0: 112; more: unknown fields, full of 0xa5 */
	const struct build_ext *exts;              /* besides the backing format, in this order */
	size_t n_exts;
	uint64_t incompat, compat, autoclear; /* further feature bits */
	const struct build_cluster *clusters; /* each guest cluster once, in any order */
	size_t n_clusters;
	uint32_t n_extra_l1;  /* L1 entries more than needed */
	uint32_t n_snapshots; /* up to 9; of the disk as it is, tables shared and copied in turn */
	uint64_t shrunk_len;  /* bytes, or 0: then the disk was made shorter, with snapshots */
	/* Not 0: L2 tables and data clusters lie in a random order made from this. */
	uint64_t shuffle_seed;
	/* Not 0: the refcount table (one cluster) covers that many clusters behind the image's
	 * end, and free space is before it. For small clusters: the whole image is in memory. */
	uint64_t n_clusters_left;
};

struct build_image {
	uint8_t *bytes;
	size_t len; /* whole clusters */
	/* host offsets */
	uint64_t l1_off, whole_l1_off /* of the disk before it was made shorter */, reftable_off,
		refblock_off; /* the first block; they are contiguous */
	unsigned cluster_bits;
};

/* Aborts when asked for what can't be. */
struct build_image build_image(const struct build_how *how);
void build_image_free(struct build_image *image);

/* Compressible bytes that differ for each seed. */
void build_fill(uint8_t *buf, size_t len, uint32_t seed);
/* What the guest reads of one cluster; unallocated ones as zeros. */
void build_expect(const struct build_how *how, uint64_t guest_idx, uint8_t *buf);

/* Host offset of the L2 entry of a guest cluster (its table exists), for tests that plant damage.
 * Images with 8-byte entries. */
uint64_t build_l2_entry_off(const struct build_image *image, uint64_t guest_idx);
uint64_t build_get64(const struct build_image *image, uint64_t host_off);
void build_put64(struct build_image *image, uint64_t host_off, uint64_t v);

#endif
