/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What is told of a layer's metadata, and its check and repair. */
#include "formats/core/layer_check.h"

#include <assert.h>

#include "formats/core/layer.h"

void layer_describe(const struct layer *layer, struct layer_info *info)
{
	*info = (struct layer_info){ 0 };
	if (layer->ops->check)
		layer->ops->check->describe(layer, info);
}

int layer_check(struct layer *layer, struct check_result *result, struct err *err)
{
	assert(layer->ops->check);
	return layer->ops->check->check(layer, result, err);
}

int layer_repair(struct layer *layer, struct repair *repair, struct err *err)
{
	assert(layer->ops->check);
	return layer->ops->check->repair(layer, repair, err);
}

void layer_root(const struct layer *layer, uint64_t *host_off, uint64_t *len)
{
	assert(layer->ops->check);
	layer->ops->check->root(layer, host_off, len);
}
