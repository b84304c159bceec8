/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A longer disk. */
#ifndef BLOCKPULL_FORMATS_QED_RESIZE_H
#define BLOCKPULL_FORMATS_QED_RESIZE_H

#include <stdint.h>

#include "io/base.h"

struct err;
struct layer;
struct staged;
struct table_move;

/* layer_resize_ops.may_grow */
int qed_may_grow(const struct layer *layer, uint64_t guest_len, struct err *err);
/* layer_resize_ops.set_len */
void qed_set_len(struct layer *layer, const struct table_move *move, uint64_t guest_len);
/* layer_resize_ops.record_len */
void qed_record_len(struct layer *layer);
/* layer_resize_ops.keep_len */
void qed_keep_len(struct layer *layer, uint64_t guest_len, struct staged *staged);
/* layer_resize_ops.stage */
int qed_stage_len(struct layer *layer, struct staged *staged);

#endif
