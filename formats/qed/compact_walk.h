/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The walk over all entries that compacting needs. */
#ifndef BLOCKPULL_FORMATS_QED_COMPACT_WALK_H
#define BLOCKPULL_FORMATS_QED_COMPACT_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "formats/qed/compact.h"

/* Calls `each` for every entry of the table at table_off that is not 0, read through `buf`.
 * 0 or -errno. */
int compact_each_entry(struct compact *c, uint64_t table_off, uint8_t *buf, entry_fn each);
/* The same for the entries of all L2 tables. */
int compact_each_data_entry(struct compact *c, entry_fn each);
/* Fills the bitmaps. 0, -EUCLEAN where something is not as the check found it, or -errno. */
int compact_find_used(struct compact *c);
/* The file system tells, and is believed, that the range is a hole. */
bool compact_is_hole(const struct compact *c, uint64_t off, uint64_t len);

#endif
