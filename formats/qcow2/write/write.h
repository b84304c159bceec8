/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the guest's writes meet, and the entries they make. */
#ifndef BLOCKPULL_FORMATS_QCOW2_WRITE_WRITE_H
#define BLOCKPULL_FORMATS_QCOW2_WRITE_WRITE_H

#include <stddef.h>
#include <stdint.h>

struct destination;
struct err;
struct layer;
struct mapping;
struct table_need;
struct write_extent;

/* layer_claims_ops.begin_guest_writes */
int qcow2_begin_guest_writes(struct layer *layer, struct err *err);
/* layer_guest_ops.map_write */
int qcow2_map_write(struct layer *layer, uint64_t guest_off, uint64_t len, struct write_extent *out,
		    struct table_need *need);
/* layer_guest_ops.write_target */
int qcow2_write_target(struct layer *layer, uint64_t guest_off, uint64_t len,
		       struct destination *out, struct table_need *need);
/* layer_guest_ops.publish_write */
int qcow2_publish_write(struct layer *layer, const struct mapping *maps, size_t n_maps,
			struct table_need *need);

#endif
