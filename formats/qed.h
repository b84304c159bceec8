/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The private state of one open QED image, shared by the files qed*.c: qed.c
 * (open, validate, begin writing, detach), qed_map.c (lookup and publish),
 * qed_alloc.c (host space), qed_check.c, qed_create.c.
 */
#ifndef BLOCKPULL_QED_H
#define BLOCKPULL_QED_H

#include "formats/format.h"
#include "formats/gaps.h"
#include "formats/qed_disk.h"

/* Space reserved once and given back, between other things. */

struct qed {
	struct layer layer; /* first: a struct layer * is a struct qed * */

	/* The header, checked; and its bytes as they are to be on disk. */
	uint8_t header[QED_HEADER_LEN];
	uint32_t table_clusters;
	uint64_t header_len; /* host bytes in front of the first regular cluster */
	uint64_t l1_off;     /* host bytes */
	uint64_t features, compat, autoclear;
	bool need_check;

	/* Geometry. */
	unsigned cluster_bits;
	unsigned table_bits; /* log2 of the entries in one table */
	uint64_t table_len;  /* bytes of one table: up to 1 GiB, so never loaded whole */
	uint32_t slice_len;  /* bytes of what is cached of a table at a time; divides table_len */
	unsigned l2_bits;    /* log2 of the guest bytes that one L2 table maps */

	/* qed_map.c: an L2 table reserved and begun, which no L1 entry names yet; 0: none. */
	uint64_t spare_l2_off;

	/* qed_alloc.c */
	struct gaps gaps;
};

static inline struct qed *qed_of(const struct layer *layer)
{
	return (struct qed *)layer;
}

/* qed_map.c */
int qed_map(struct layer *layer, uint64_t guest_off, uint64_t len, struct extent *out,
	    struct table_need *need);
int qed_link(struct layer *layer, uint64_t guest_off, uint64_t len, struct table_need *need);
int qed_publish(struct layer *layer, const struct mapping *maps, size_t n_maps,
		struct table_need *need);
int qed_has_table(struct layer *layer, uint64_t guest_off, bool *has, uint64_t *end_off,
		  struct table_need *need);

/* qed_alloc.c */
/* Pure, but for a device, where the tables say how far it is used. */
int qed_measure(struct layer *layer, uint64_t n_data, uint64_t n_tables, uint64_t *end_off,
		struct err *err);
int qed_reserve(struct layer *layer, uint64_t len, uint64_t *host_off, uint64_t *got);
void qed_release(struct layer *layer, uint64_t host_off, uint64_t len);
/* Space for one L2 table. On a regular file it is known to read zeros. 0, -ENOSPC, -EFBIG. */
int qed_reserve_table(struct qed *q, uint64_t *host_off);

/* qed_check.c */
int qed_check(struct layer *layer, struct check_result *result, struct err *err);

#endif
