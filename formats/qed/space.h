/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Taking and giving back clusters. */
#ifndef BLOCKPULL_FORMATS_QED_SPACE_H
#define BLOCKPULL_FORMATS_QED_SPACE_H

#include <stdint.h>

#include "io/base.h"

struct layer;
struct qed;

/* layer_ops.reserve */
int qed_reserve(struct layer *layer, uint64_t len, uint64_t *host_off, uint64_t *got);
/* layer_ops.release */
void qed_release(struct layer *layer, uint64_t host_off, uint64_t len);
/* Space for one L2 table. On a regular file it is known to read zeros. 0, -ENOSPC, -EFBIG. */
int qed_reserve_table(struct qed *q, uint64_t *host_off);

#endif
