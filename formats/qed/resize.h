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

/* As struct layer_resize_ops says. */
int qed_may_grow(const struct layer *layer, uint64_t guest_len, struct err *err);
void qed_set_len(struct layer *layer, const struct table_move *move, uint64_t guest_len);
void qed_record_len(struct layer *layer);
void qed_keep_len(struct layer *layer, uint64_t guest_len, struct staged *staged);
int qed_stage_len(struct layer *layer, struct staged *staged);

#endif
