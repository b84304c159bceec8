/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The guest's writes to a layer, asked and judged. */
#include "formats/core/layer_guest.h"

#include <assert.h>
#include <errno.h>

#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "io/base.h"

/* SHARED says a range to lock, not one to write. */
static bool is_extent_sound(const struct layer *layer, const struct write_extent *e,
			    uint64_t guest_off, uint64_t len)
{
	if (e->guest_off != guest_off || !e->len || e->len > len)
		return false;
	switch (e->kind) {
	case WRITE_IN_PLACE: return true;
	case WRITE_NEW: return e->unit_len && !(e->unit_len % layer->granule_len);
	case WRITE_SHARED: return e->lock_off <= guest_off && guest_off - e->lock_off < e->lock_len;
	}
	return false;
}

int layer_map_write(struct layer *layer, uint64_t guest_off, uint64_t len, struct write_extent *out,
		    struct table_need *need)
{
	int rc;

	assert(layer->ops->guest_write);
	assert(len && guest_off < layer->guest_len && len <= layer->guest_len - guest_off);
	rc = layer->ops->guest_write->map_write(layer, guest_off, len, out, need);
	return rc || is_extent_sound(layer, out, guest_off, len) ? rc : -EUCLEAN;
}

int layer_write_target(struct layer *layer, uint64_t guest_off, uint64_t len,
		       struct destination *out, struct table_need *need)
{
	int rc;

	assert(layer->ops->guest_write && layer->ops->guest_write->write_target && len);
	rc = layer->ops->guest_write->write_target(layer, guest_off, len, out, need);
	if (!rc && (!out->len || out->len > len))
		return -EUCLEAN;
	return rc;
}

int layer_publish_write(struct layer *layer, const struct mapping *maps, size_t n_maps,
			struct table_need *need)
{
	assert(layer->ops->guest_write && layer->ops->guest_write->publish_write && n_maps);
	for (size_t i = 0; i < n_maps; i++)
		assert(maps[i].len && !maps[i].comp_len &&
		       is_aligned(maps[i].guest_off, layer->granule_len));
	return layer->ops->guest_write->publish_write(layer, maps, n_maps, need);
}
