/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Counting references to clusters. */
#ifndef BLOCKPULL_FORMATS_QCOW2_CHECK_REFS_H
#define BLOCKPULL_FORMATS_QCOW2_CHECK_REFS_H

#include <stdbool.h>
#include <stdint.h>

#include "formats/qcow2/check/check.h"
#include "formats/qcow2/check/state.h"
#include "io/base.h"

/* Counts `weight` references to each cluster of the range; false, counting nothing, where the
 * range ends a cluster or more behind the file. */
bool check_count(struct qcow2_check *c, uint64_t host_off, uint64_t len, uint32_t use,
		 uint32_t weight);

/* Calls `each` for the stored refcounts of clusters [at, end). 0 or -errno. */
int check_each_refcount(struct qcow2_check *c, uint64_t at, uint64_t end, check_ref_fn each);
/* Reports clusters of the target window that have more owners than they may. */
void check_overlaps(struct qcow2_check *c);
/* Fills refcount_is_one for the target window. 0 or -errno. */
int check_load_refcounts(struct qcow2_check *c);
/* Compares the target window's counters with the refcounts. 0 or -errno. */
int check_compare_refcounts(struct qcow2_check *c);
/* Reports clusters from `first` on that have a refcount as leaks: nothing refers to any of them. 0
 * or -errno. */
int check_unreferenced(struct qcow2_check *c, uint64_t first);

#endif
