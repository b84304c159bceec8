/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a chain holds: asking layer after layer. The layer that answers first hides those below
 * it, and so does the end of a layer, behind which all is zero.
 */
#include "formats/chain/map.h"

#include "formats/chain/chain.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "io/base.h"

/* Layers that do not change are asked about this many bytes at least: an unallocated range is then
 * remembered, and the next questions pass the layer by. */
#define CHAIN_LOOK_AHEAD (16 * MiB)

/* The range is remembered with its neighbours, so that a walk over it never forgets its beginning.
 * An overlay changes, so nothing is ever remembered of it. */
static void remember_unallocated(struct layer *layer, uint64_t off, uint64_t end)
{
	if (layer->is_overlay)
		return;
	if (off > layer->hint.end || end < layer->hint.off) {
		layer->hint.off = off;
		layer->hint.end = end;
		return;
	}
	layer->hint.off = MIN(layer->hint.off, off);
	layer->hint.end = MAX(layer->hint.end, end);
}

/* What one layer holds of [off, off + len), which lies below its end. The answer is checked: a
 * wrong one must neither stop the walk nor lead it astray. */
static int map_layer(struct layer *layer, uint64_t off, uint64_t len, struct extent *out,
		     struct table_need *need)
{
	uint64_t left;
	uint64_t ask;
	int rc;

	if (layer->refused.read.code) /* opened only to be described */
		return layer->refused.read.code;
	if (off >= layer->hint.off && off < layer->hint.end) {
		*out = (struct extent){ .kind = EXTENT_UNALLOCATED,
					.guest_off = off,
					.len = MIN(len, layer->hint.end - off) };
		return 0;
	}
	left = layer->guest_len - off;
	ask = layer->is_overlay ? len : MIN(MAX(len, CHAIN_LOOK_AHEAD), left);
	rc = layer_map(layer, off, ask, out, need);
	if (rc)
		return rc;
	if (out->kind == EXTENT_UNALLOCATED)
		remember_unallocated(layer, off, off + out->len);
	out->len = MIN(out->len, len);
	return 0;
}

/* The layers [from, to) only. */
static int map_layers(struct chain *chain, unsigned from, unsigned to, uint64_t guest_off,
		      uint64_t len, struct extent *out, struct table_need *need)
{
	unsigned depth;

	for (depth = from; depth < to; depth++) {
		struct layer *layer = chain->layers[depth];
		int rc;

		if (depth >= chain->hidden_from && depth < chain->hidden_to)
			continue;
		/* The end of a layer hides all that lies below it. */
		if (guest_off >= layer->guest_len)
			break;
		len = MIN(len, layer->guest_len - guest_off);
		rc = map_layer(layer, guest_off, len, out, need);
		if (rc)
			return rc;
		if (out->kind != EXTENT_UNALLOCATED) {
			out->depth = depth;
			return 0;
		}
		len = out->len;
	}
	*out = (struct extent){
		.kind = depth == to && to < chain->n_layers ? EXTENT_UNALLOCATED : EXTENT_ZERO,
		.guest_off = guest_off,
		.len = len,
		.depth = chain->n_layers,
		.deepest = depth ? depth - 1 : 0,
	};
	return 0;
}

int chain_map(struct chain *chain, unsigned from, uint64_t guest_off, uint64_t len,
	      struct extent *out, struct table_need *need)
{
	return map_layers(chain, from, chain->n_layers, guest_off, len, out, need);
}

int chain_map_between(struct chain *chain, unsigned from, unsigned to, uint64_t guest_off,
		      uint64_t len, struct extent *out, struct table_need *need)
{
	return map_layers(chain, from, to, guest_off, len, out, need);
}

int chain_map_pulled(struct chain *chain, uint64_t guest_off, uint64_t len, struct extent *out,
		     struct table_need *need)
{
	unsigned to = chain->pull_to;
	uint64_t base_len;
	int rc = map_layers(chain, 1, to, guest_off, len, out, need);

	if (rc || to == chain->n_layers || out->kind != EXTENT_ZERO)
		return rc;
	/* Behind the end of the new base zeros need no entry. */
	base_len = chain->layers[to]->guest_len;
	if (guest_off >= base_len)
		out->kind = EXTENT_UNALLOCATED;
	else
		out->len = MIN(out->len, base_len - guest_off);
	return 0;
}
