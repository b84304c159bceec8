/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Mapping of a raw image whose file has `zeros`. */
#ifndef BLOCKPULL_FORMATS_RAW_RAW_ZEROS_H
#define BLOCKPULL_FORMATS_RAW_RAW_ZEROS_H

#include <stdint.h>

struct extent;
struct layer;
struct table_need;

/* layer_ops.map */
int raw_zeros_map(struct layer *layer, uint64_t guest_off, uint64_t len, struct extent *out,
		  struct table_need *need);

#endif
