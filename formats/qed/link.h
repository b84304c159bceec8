/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Dropping or replacing the backing link. */
#ifndef BLOCKPULL_FORMATS_QED_LINK_H
#define BLOCKPULL_FORMATS_QED_LINK_H

#include "formats/core/layer.h"
#include "io/base.h"

struct err;
struct staged;

/* layer_link_ops.plan_link */
int qed_plan_link(struct layer *layer, const char *name, enum image_format format, struct err *err);
/* layer_link_ops.stage_link */
int qed_stage_link(struct layer *layer, struct staged *staged);
/* layer_link_ops.link_durable */
void qed_link_durable(struct layer *layer);

#endif
