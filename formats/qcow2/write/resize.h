/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A longer disk. */
#ifndef BLOCKPULL_FORMATS_QCOW2_WRITE_RESIZE_H
#define BLOCKPULL_FORMATS_QCOW2_WRITE_RESIZE_H

#include <stdint.h>

#include "io/base.h"

struct err;
struct layer;
struct qcow2;
struct staged;
struct table_move;
struct table_need;

/* layer_resize_ops.may_grow */
int qcow2_may_grow(const struct layer *layer, uint64_t guest_len, struct err *err);
/* layer_resize_ops.grow_tables */
int qcow2_grow_tables(struct layer *layer, uint64_t guest_len, struct table_move *move,
		      struct table_need *need);
/* layer_resize_ops.set_len */
void qcow2_set_len(struct layer *layer, const struct table_move *move, uint64_t guest_len);
/* layer_resize_ops.record_len */
void qcow2_record_len(struct layer *layer);
/* layer_resize_ops.keep_len */
void qcow2_keep_len(struct layer *layer, uint64_t guest_len, struct staged *staged);
/* Adds the header's fields for length, L1 table and refcount table, as they are now, if the first
 * two have changed. *added: they have. 0 or -ENOMEM. */
int qcow2_stage_len(struct qcow2 *q, struct staged *staged, bool *added);

#endif
