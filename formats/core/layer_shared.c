/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Space with counted references; a layer without it has nothing to free, stage or read again. */
#include "formats/core/layer_shared.h"

#include <assert.h>

#include "formats/core/layer.h"

int layer_unshare(struct layer *layer, uint64_t guest_off, struct unshare *state,
		  struct table_need *need)
{
	assert(layer->ops->shared && guest_off < layer->guest_len);
	return layer->ops->shared->unshare(layer, guest_off, state, need);
}

int layer_free_unreferenced(struct layer *layer, bool with_last, struct table_need *need)
{
	assert(layer->ops->shared);
	return layer->ops->shared->free_unreferenced(layer, with_last, need);
}

bool layer_has_freed(const struct layer *layer)
{
	return layer->ops->shared && layer->ops->shared->has_freed(layer);
}

void layer_reuse_freed(struct layer *layer)
{
	assert(layer->ops->shared);
	layer->ops->shared->reuse_freed(layer);
}

int layer_stage(struct layer *layer, struct staged *staged)
{
	return layer->ops->shared ? layer->ops->shared->stage(layer, staged) : 0;
}

void layer_reftable_durable(struct layer *layer)
{
	if (layer->ops->shared)
		layer->ops->shared->reftable_durable(layer);
}

int layer_reread(struct layer *layer, bool commit_runs, struct err *err)
{
	return layer->ops->shared ? layer->ops->shared->reread(layer, commit_runs, err) : 0;
}
