/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Where compressed clusters go. */
#ifndef BLOCKPULL_FORMATS_QCOW2_SPACE_COMPRESSED_SPACE_H
#define BLOCKPULL_FORMATS_QCOW2_SPACE_COMPRESSED_SPACE_H

#include <stdint.h>

#include "io/base.h"

struct mapping;
struct qcow2;
struct table_need;

/* As qcow2_reserve_bytes(), for a cluster that `weight` entries will refer to. -ERANGE: no refcount
 * can count so many. */
int qcow2_comp_reserve(struct qcow2 *q, uint32_t len, uint64_t weight, uint64_t *host_off);
/* For a mapping with comp_len. 0: the refcounts that it will raise by `weight` (references to it)
 * are cached, and have room. Else TABLE_NEED or -errno. */
int qcow2_comp_ref_need(struct qcow2 *q, const struct mapping *map, uint64_t weight,
			struct table_need *need);
/* Raises them; qcow2_comp_ref_need() said 0. */
void qcow2_comp_ref_raise(struct qcow2 *q, const struct mapping *map, uint64_t weight);
/* The L2 entry that says what the mapping says. */
uint64_t qcow2_comp_entry(const struct qcow2 *q, const struct mapping *map);

#endif
