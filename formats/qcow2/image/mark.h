/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The mark that a backing file changed while it was copied. */
#ifndef BLOCKPULL_FORMATS_QCOW2_IMAGE_MARK_H
#define BLOCKPULL_FORMATS_QCOW2_IMAGE_MARK_H

#include <stdbool.h>

struct err;
struct layer;

/* layer_claims_ops.mark_mixed */
int qcow2_mark_mixed(struct layer *layer, bool mixed, struct err *err);

#endif
