/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Requests that the library makes itself, of a node: to its image they are a guest's. */
#ifndef BLOCKPULL_GUEST_INNER_H
#define BLOCKPULL_GUEST_INNER_H

#include "engine/copy/walk/walk.h"
#include "engine/core/op.h"
#include "io/base.h"

struct bpull_disk;

/* What writes to a node (down.h). The buffers stay put until the operation goes on. */
extern const struct down_ops inner_ops;

/* The node's disk gets guest_len bytes; the operation waits for it. */
void inner_grow(struct bpull_disk *node, struct op *op, uint64_t guest_len);

#endif
