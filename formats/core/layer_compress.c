/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Compressed clusters of a layer; a layer without them is never asked. */
#include "formats/core/layer_compress.h"

#include <assert.h>

#include "formats/core/layer.h"

int layer_decode(const struct layer *layer, const void *in, size_t in_len, void *out)
{
	assert(layer->ops->compress);
	return layer->ops->compress->decode(layer, in, in_len, out);
}

int layer_may_compress(struct layer *layer, enum layer_compression type, unsigned level,
		       struct err *err)
{
	assert(layer->ops->compress && type != COMPRESSION_NONE);
	return layer->ops->compress->may_compress(layer, type, level, err);
}

int layer_set_compression(struct layer *layer, enum layer_compression type, bool *is_unknown,
			  struct err *err)
{
	assert(layer->ops->compress && type != COMPRESSION_NONE);
	*is_unknown = false;
	return layer->ops->compress->set_compression(layer, type, is_unknown, err);
}

bool layer_has_other_compression(const struct layer *layer, enum layer_compression type)
{
	assert(layer->ops->compress && type != COMPRESSION_NONE);
	return layer->ops->compress->has_other_compression(layer, type);
}

int layer_encode(const struct layer *layer, unsigned level, const void *in, void *out,
		 size_t out_cap)
{
	int n;

	assert(layer->ops->compress);
	n = layer->ops->compress->encode(layer, level, in, out, out_cap);
	assert(n <= 0 || (size_t)n <= out_cap);
	return n;
}

int layer_reserve_bytes(struct layer *layer, uint64_t guest_off, uint32_t len, uint64_t *host_off,
			struct table_need *need)
{
	assert(layer->ops->compress);
	return layer->ops->compress->reserve_bytes(layer, guest_off, len, host_off, need);
}
