/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* New entries of the guest's disk. */
#ifndef BLOCKPULL_FORMATS_QCOW2_WRITE_PUBLISH_H
#define BLOCKPULL_FORMATS_QCOW2_WRITE_PUBLISH_H

#include <stddef.h>
#include <stdint.h>

struct layer;
struct mapping;
struct table_need;

/* layer_fill_ops.alloc_tables */
int qcow2_alloc_tables(struct layer *layer, uint64_t guest_off, uint64_t len,
		       struct table_need *need);
/* layer_fill_ops.publish */
int qcow2_publish(struct layer *layer, const struct mapping *maps, size_t n_maps,
		  struct table_need *need);

#endif
