/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Tables that snapshots share, copied before the guest's disk changes them. */
#ifndef BLOCKPULL_FORMATS_QCOW2_WRITE_UNSHARE_H
#define BLOCKPULL_FORMATS_QCOW2_WRITE_UNSHARE_H

#include <stdint.h>

struct layer;
struct table_need;
struct unshare;

/* layer_shared_ops.unshare */
int qcow2_unshare(struct layer *layer, uint64_t guest_off, struct unshare *state,
		  struct table_need *need);

#endif
