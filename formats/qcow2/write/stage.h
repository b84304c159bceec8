/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a commit writes of this image. */
#ifndef BLOCKPULL_FORMATS_QCOW2_WRITE_STAGE_H
#define BLOCKPULL_FORMATS_QCOW2_WRITE_STAGE_H

struct layer;
struct staged;

/* layer_shared_ops.stage */
int qcow2_stage(struct layer *layer, struct staged *staged);

#endif
