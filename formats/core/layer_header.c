/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The header of a layer: its backing link and its claims. */
#include "formats/core/layer_header.h"

#include <assert.h>

#include "formats/core/layer.h"

int layer_plan_link(struct layer *layer, const char *name, enum image_format format,
		    struct err *err)
{
	assert(layer->ops->link && (name || format == IMAGE_UNKNOWN));
	return layer->ops->link->plan_link(layer, name, format, err);
}

int layer_stage_link(struct layer *layer, struct staged *staged)
{
	assert(layer->ops->link);
	return layer->ops->link->stage_link(layer, staged);
}

void layer_link_durable(struct layer *layer)
{
	if (layer->ops->link)
		layer->ops->link->link_durable(layer);
}

int layer_begin_guest_writes(struct layer *layer, struct err *err)
{
	assert(layer->ops->claims);
	return layer->ops->claims->begin_guest_writes(layer, err);
}

int layer_mark_mixed(struct layer *layer, bool mixed, struct err *err)
{
	assert(layer->ops->claims);
	return layer->ops->claims->mark_mixed(layer, mixed, err);
}
