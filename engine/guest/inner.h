/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Requests that the library makes itself, of a node: to its image they are a guest's. */
#ifndef BLOCKPULL_GUEST_INNER_H
#define BLOCKPULL_GUEST_INNER_H

#include "engine/copy/walk/walk.h"
#include "engine/core/op.h"
#include "io/base.h"

struct bpull_disk;

/* The operations by which a commit writes to a node (copy_down.ops). The caller's buffers must stay
 * until its operation goes on. */
extern const struct down_ops inner_ops;

/* Makes the node's disk guest_len bytes long; the operation waits for that. */
void inner_grow(struct bpull_disk *node, struct op *op, uint64_t guest_len);

#endif
