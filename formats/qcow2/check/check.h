/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Checking an image. */
#ifndef BLOCKPULL_FORMATS_QCOW2_CHECK_CHECK_H
#define BLOCKPULL_FORMATS_QCOW2_CHECK_CHECK_H

#include <stdint.h>

#include "io/base.h"

struct check_result;
struct err;
struct layer;
struct qcow2;
struct qcow2_check;

/* layer_check_ops.check */
int qcow2_check(struct layer *layer, struct check_result *result, struct err *err);

/* The same as the layer's check, with windows of so many clusters. */
int qcow2_check_windowed(struct layer *layer, struct check_result *result, struct err *err,
			 uint64_t window_clusters);

/* NULL: out of memory. */
struct qcow2_check *check_new(struct qcow2 *q, struct check_result *result,
			      uint64_t window_clusters);
void check_free(struct qcow2_check *c);
/* All passes. 0 or -errno; reported, but for -ENOMEM. */
int check_run(struct qcow2_check *c, uint64_t window_clusters);

#endif
