/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Repairing an image. */
#ifndef BLOCKPULL_FORMATS_QED_REPAIR_H
#define BLOCKPULL_FORMATS_QED_REPAIR_H

#include <stdbool.h>
#include <stdint.h>

#include "io/base.h"

struct err;
struct layer;
struct qed;
struct repair;

/* layer_fill_ops.may_leak */
bool qed_may_leak(const struct layer *layer);
/* layer_fill_ops.reclaim */
int qed_reclaim(struct layer *layer, uint64_t *n_left, struct err *err);
/* The same, whether or not this handle knows of leaks, and drops the cached tables; end_off: all
 * that is in use lies before it. *n_left UINT64_MAX: the file is too large to look. */
int qed_reclaim_all(struct qed *q, uint64_t end_off, uint64_t *n_left, struct err *err);
/* layer_check_ops.repair */
int qed_repair(struct layer *layer, struct repair *repair, struct err *err);
/* Says in layer->note what beginning to write has mended. */
void qed_note(struct layer *layer, bool was_dirty, uint64_t n_leaks, uint64_t n_left);

#endif
