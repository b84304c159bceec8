/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* References that the guest's writes have dropped, until they are counted so (freed.c). */
#ifndef BLOCKPULL_FORMATS_QCOW2_SPACE_FREED_H
#define BLOCKPULL_FORMATS_QCOW2_SPACE_FREED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/base.h"

struct layer;
struct qcow2;
struct table_need;

/* Room for n more items: qcow2_freed_add() can't fail then. 0 or -ENOMEM. */
int qcow2_freed_make_room(struct qcow2 *q, size_t n);
/* An entry in memory does not refer to host clusters [first_idx, first_idx + n) any more. */
void qcow2_freed_add(struct qcow2 *q, uint64_t first_idx, uint64_t n, bool reuse);
/* Takes up to len bytes (whole clusters) of space that was let go. False: there is none. */
bool qcow2_take_reusable(struct qcow2 *q, uint64_t len, uint64_t *host_off, uint64_t *got);
/* How many references to a host cluster were dropped and are still counted. */
uint64_t qcow2_freed_pending(const struct qcow2 *q, uint64_t cluster_idx);
/* A reference to that cluster was dropped since the last commit began. */
bool qcow2_freed_is_fresh(const struct qcow2 *q, uint64_t cluster_idx);
/* A commit begins. 0 or -ENOMEM, changing nothing. */
int qcow2_freed_stage(struct qcow2 *q);
void qcow2_freed_free(struct qcow2 *q);
/* layer_shared_ops.has_freed */
bool qcow2_has_freed(const struct layer *layer);
/* layer_shared_ops.free_unreferenced */
int qcow2_free_unreferenced(struct layer *layer, bool with_last, struct table_need *need);
/* layer_shared_ops.take_freed */
bool qcow2_take_freed(struct layer *layer);
/* layer_shared_ops.discard_freed */
void qcow2_discard_freed(struct layer *layer);
/* layer_shared_ops.reuse_freed */
void qcow2_reuse_freed(struct layer *layer);

#endif
