/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Space with counted references; a layer without it has nothing to free or stage, and no tables
 * outside the table cache.
 */
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

bool layer_take_freed(struct layer *layer)
{
	assert(layer->ops->shared);
	return layer->ops->shared->take_freed(layer);
}

void layer_discard_freed(struct layer *layer)
{
	assert(layer->ops->shared);
	layer->ops->shared->discard_freed(layer);
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

int layer_reread_begin(struct layer *layer, bool commit_runs, void **state)
{
	assert(layer->ops->shared);
	return layer->ops->shared->reread_begin(layer, commit_runs, state);
}

int layer_reread(struct layer *layer, void *state, struct err *err)
{
	assert(layer->ops->shared);
	return layer->ops->shared->reread(layer, state, err);
}

void layer_reread_end(struct layer *layer, void *state, bool take)
{
	assert(layer->ops->shared);
	layer->ops->shared->reread_end(layer, state, take);
}
