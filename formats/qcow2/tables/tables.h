/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* L1 and L2 tables in the cache. */
#ifndef BLOCKPULL_FORMATS_QCOW2_TABLES_TABLES_H
#define BLOCKPULL_FORMATS_QCOW2_TABLES_TABLES_H

#include <stdint.h>

#include "formats/core/table_cache.h"

struct qcow2;
struct qcow2_entry;

/* Decodes the entry at `bytes`; sub: which subcluster, 0 for plain entries. 0 or -EUCLEAN. */
int qcow2_entry_read(const struct qcow2 *q, const uint8_t *bytes, unsigned sub,
		     struct qcow2_entry *e);
/* Host offset of the guest's L2 table for guest_off; 0: there is none. 0, TABLE_NEED or -errno. */
int qcow2_l2_table_off(struct qcow2 *q, uint64_t guest_off, uint64_t *l2_off,
		       struct table_need *need);
/* The slice of the active L1 table that has entry l1_idx, and the entry's byte in it. */
int qcow2_l1_slice(struct qcow2 *q, uint64_t l1_idx, struct table **out, uint32_t *byte,
		   struct table_need *need);
/* The L2 slice that maps guest_off in the table at l2_off, and the entry's byte in it. The
 * caller may change it, before it makes another call that maps. */
int qcow2_l2_slice_to_change(struct qcow2 *q, uint64_t l2_off, uint64_t guest_off,
			     struct table **out, uint32_t *byte, struct table_need *need);
/* Slices of a new L2 table at l2_off, which is about to map guest_off. 0 or -ENOMEM. */
int qcow2_new_l2_slices(struct qcow2 *q, uint64_t l2_off, uint64_t guest_off);

/* Host bytes that data clusters may lie in: of the image's file, or of its data file. */
uint64_t qcow2_data_end(const struct qcow2 *q);

/* Where the slice lies that qcow2_l2_slice() looks at. more_len: the slices behind it that are
 * worth reading with it, up to one that is known empty. */
struct table_need qcow2_slice_place(const struct qcow2 *q, uint64_t l2_off, uint64_t guest_off);

/* The cached L2 slice that maps guest_off in the table at l2_off, and the entry's byte in it. 0,
 * TABLE_NEED or -errno. */
int qcow2_l2_slice(struct qcow2 *q, uint64_t l2_off, uint64_t guest_off, struct table **out,
		   uint32_t *byte, struct table_need *need);

/* How many bytes of [guest_off, end) the L2 slice for guest_off maps. */
uint64_t qcow2_len_in_slice(const struct qcow2 *q, uint64_t guest_off, uint64_t end);

#endif
