/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The state of one open QED image, which all files of this folder share. */
#ifndef BLOCKPULL_FORMATS_QED_IMAGE_H
#define BLOCKPULL_FORMATS_QED_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "formats/core/gaps.h"
#include "formats/core/layer.h"
#include "formats/qed/disk.h"

struct qed_new_link;

struct qed {
	struct layer layer; /* first: a struct layer * is a struct qed * */

	/* The header, checked; and its bytes as they are to be on disk. */
	uint8_t header[QED_HEADER_LEN];
	uint32_t table_clusters;
	uint64_t header_len; /* host bytes in front of the first regular cluster */
	uint64_t l1_off;     /* host bytes */
	uint64_t features, compat, autoclear;
	bool need_check;
	bool len_is_dirty; /* resize.c: the header is to have another length */

	/* Geometry. */
	unsigned cluster_bits;
	unsigned table_bits; /* log2 of the entries in one table */
	uint64_t table_len;  /* bytes of one table: up to 1 GiB, so never loaded whole */
	uint32_t slice_len;  /* bytes of what is cached of a table at a time; divides table_len */
	unsigned l2_bits;    /* log2 of the guest bytes that one L2 table maps */

	/* map.c: an L2 table reserved and begun, which no L1 entry names yet; 0: none. */
	uint64_t spare_l2_off;

	/* space.c */
	struct gaps gaps;
	bool may_leak; /* space was given back that is not at the end, or could not be reclaimed */

	struct qed_new_link *new_link; /* link.c: the link to be, or NULL */
};

static inline struct qed *qed_of(const struct layer *layer)
{
	return (struct qed *)layer;
}

#endif
