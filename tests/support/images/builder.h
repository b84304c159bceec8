/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* An image being built: what build_image.c and build_snapshots.c share. */
#ifndef BLOCKPULL_TESTS_SUPPORT_IMAGES_BUILDER_H
#define BLOCKPULL_TESTS_SUPPORT_IMAGES_BUILDER_H

#include "tests/support/images/build_image.h"

struct builder {
	const struct build_how *how;
	struct build_image image;
	uint32_t *refs;  /* by host cluster */
	size_t n_host;   /* host clusters in use */
	size_t cap_host; /* host clusters that there is room for */
	unsigned cluster_bits, refcount_bits, version;
	size_t cluster_len, l2_entries;
	uint64_t l1_size;
	uint64_t *slots; /* host clusters for L2 tables and data, in the order they are taken */
	size_t next_slot;
};

/* n clusters at the end, referenced once; their offset. */
uint64_t build_append(struct builder *b, size_t n);
void build_put_be(uint8_t *at, unsigned n_bytes, uint64_t v);
uint64_t build_snapshots(struct builder *b);

#endif
