/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The guest's writes. */
#ifndef BLOCKPULL_FORMATS_QED_WRITE_H
#define BLOCKPULL_FORMATS_QED_WRITE_H

#include <stddef.h>
#include <stdint.h>

struct destination;
struct layer;
struct mapping;
struct table_need;
struct write_extent;

/* layer_guest_ops.map_write */
int qed_map_write(struct layer *layer, uint64_t guest_off, uint64_t len, struct write_extent *out,
		  struct table_need *need);
/* layer_guest_ops.write_target */
int qed_write_target(struct layer *layer, uint64_t guest_off, uint64_t len, struct destination *out,
		     struct table_need *need);
/* layer_guest_ops.publish_write */
int qed_publish_write(struct layer *layer, const struct mapping *maps, size_t n_maps,
		      struct table_need *need);

#endif
