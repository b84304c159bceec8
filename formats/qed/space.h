/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Taking and giving back clusters. */
#ifndef BLOCKPULL_FORMATS_QED_SPACE_H
#define BLOCKPULL_FORMATS_QED_SPACE_H

#include <stdint.h>

#include "io/base.h"

struct destination;
struct layer;
struct qed;
struct table_need;

/* layer_fill_ops.reserve */
int qed_reserve(struct layer *layer, uint64_t len, uint64_t *host_off, uint64_t *got);
/* layer_fill_ops.release */
void qed_release(struct layer *layer, uint64_t host_off, uint64_t len);
/* Space for one L2 table. On a regular file it is known to read zeros. 0, -ENOSPC, -EFBIG. */
int qed_reserve_table(struct qed *q, uint64_t *host_off);
/* layer_fill_ops.copy_target: one copy, for which space is to be reserved. */
int qed_copy_target(struct layer *layer, uint64_t guest_off, uint64_t len, unsigned copy,
		    struct destination *out, struct table_need *need);

#endif
