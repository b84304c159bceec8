/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Filling an overlay, asked and judged. Space comes from the format's own
 * counting, so its answers are asserted; what tables say of a range is an error
 * where it is wrong.
 */
#include "formats/core/layer_fill.h"

#include <assert.h>
#include <errno.h>

#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "io/base.h"

int layer_begin_writing(struct layer *layer, struct err *err)
{
	return layer->ops->fill ? layer->ops->fill->begin_writing(layer, err) : 0;
}

int layer_map_backed(struct layer *layer, uint64_t guest_off, uint64_t len, struct extent *out,
		     struct table_need *need)
{
	int rc;

	assert(layer->ops->fill);
	assert(len && guest_off < layer->backed_len && len <= layer->backed_len - guest_off);
	rc = layer->ops->fill->map_backed(layer, guest_off, len, out, need);
	return rc ? rc : layer_judge_extent(out, guest_off, len);
}

int layer_alloc_tables(struct layer *layer, uint64_t guest_off, uint64_t len,
		       struct table_need *need)
{
	assert(layer->ops->fill && len);
	return layer->ops->fill->alloc_tables(layer, guest_off, len, need);
}

int layer_copy_target(struct layer *layer, uint64_t guest_off, uint64_t len, unsigned copy,
		      struct destination *out, struct table_need *need)
{
	int rc;

	assert(layer->ops->fill && len);
	rc = layer->ops->fill->copy_target(layer, guest_off, len, copy, out, need);
	if (!rc && (!out->len || out->len > len))
		return -EUCLEAN;
	return rc;
}

int layer_reserve(struct layer *layer, uint64_t len, uint64_t *host_off, uint64_t *got)
{
	int rc;

	assert(layer->ops->fill && len && is_aligned(len, layer->cluster_len));
	rc = layer->ops->fill->reserve(layer, len, host_off, got);
	assert(rc || (*got && *got <= len && is_aligned(*host_off | *got, layer->cluster_len) &&
		      *host_off <= layer->alloc_end && *got <= layer->alloc_end - *host_off));
	return rc;
}

void layer_release(struct layer *layer, uint64_t host_off, uint64_t len)
{
	assert(layer->ops->fill && is_aligned(host_off | len, layer->cluster_len));
	assert(host_off <= layer->alloc_end && len <= layer->alloc_end - host_off);
	layer->ops->fill->release(layer, host_off, len);
}

int layer_publish(struct layer *layer, const struct mapping *maps, size_t n_maps,
		  struct table_need *need)
{
	assert(layer->ops->fill && n_maps);
	for (size_t i = 0; i < n_maps; i++)
		assert(maps[i].len && is_aligned(maps[i].guest_off, layer->granule_len) &&
		       (!maps[i].comp_len || maps[i].len == layer->cluster_len));
	return layer->ops->fill->publish(layer, maps, n_maps, need);
}

bool layer_may_leak(const struct layer *layer)
{
	const struct layer_fill_ops *ops = layer->ops->fill;

	return ops && ops->may_leak && ops->may_leak(layer);
}

int layer_reclaim(struct layer *layer, uint64_t *n_left, struct err *err)
{
	const struct layer_fill_ops *ops = layer->ops->fill;

	*n_left = 0;
	return ops && ops->reclaim ? ops->reclaim(layer, n_left, err) : 0;
}
