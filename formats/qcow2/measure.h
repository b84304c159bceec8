/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How much space an image will need. */
#ifndef BLOCKPULL_FORMATS_QCOW2_MEASURE_H
#define BLOCKPULL_FORMATS_QCOW2_MEASURE_H

#include <stdint.h>

struct err;
struct layer;

/* layer_tables_ops.begin_measuring */
int qcow2_begin_measuring(struct layer *layer, struct err *err);
/* layer_tables_ops.measure */
int qcow2_measure(struct layer *layer, uint64_t n_data, uint64_t n_tables, uint64_t *end_off,
		  struct err *err);

#endif
