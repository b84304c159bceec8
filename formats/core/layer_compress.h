/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Compressed clusters: reading those of an image, and making new ones.
 */
#ifndef BLOCKPULL_FORMATS_CORE_LAYER_COMPRESS_H
#define BLOCKPULL_FORMATS_CORE_LAYER_COMPRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "formats/core/layer.h"

struct err;
struct table_need;

/* How copied clusters are compressed. Values are those of enum bpull_compression. */
enum layer_compression {
	COMPRESSION_NONE,
	COMPRESSION_OWN, /* as the image's own compressed clusters */
	COMPRESSION_ZLIB,
	COMPRESSION_ZSTD,
};

/* layer_ops.compress. A layer without it has no EXTENT_COMPRESSED. */
struct layer_compress_ops {
	/* Decodes one compressed cluster: out has cluster_len bytes. Pure; any thread.
	 * 0, -EUCLEAN (the input is damaged) or -ENOMEM. */
	int (*decode)(const struct layer *layer, const void *in, size_t in_len, void *out);
	/* Blocking, changes nothing. Whether clusters can be compressed with this type and level
	 * (0: the type's default). 0, or -ENOTSUP or -EINVAL (the type has no such level) with a
	 * sentence. */
	int (*may_compress)(struct layer *layer, enum layer_compression type, unsigned level,
			    struct err *err);
	/* Blocking, after may_compress() and begin_writing(): records the type, durably. After an
	 * error the image has the old type; where *is_unknown is set it has either, and nothing may
	 * be written any more. */
	int (*set_compression)(struct layer *layer, enum layer_compression type, bool *is_unknown,
			       struct err *err);
	/* The header has another type. */
	bool (*has_other_compression)(const struct layer *layer, enum layer_compression type);
	/* Compresses one cluster into at most out_cap bytes. Pure; any thread. Returns how many; 0
	 * where the cluster does not fit; -ENOMEM. */
	int (*encode)(const struct layer *layer, unsigned level, const void *in, void *out,
		      size_t out_cap);
	/* Reserves len bytes, rounded up to sectors, for one compressed cluster, which must be a
	 * sector shorter than a plain one. alloc_tables() was called for it, and copy_target() said
	 * that one copy without space serves it. The space can't be released: until it is published
	 * it is not accounted. TABLE_NEED, or errors as reserve(). */
	int (*reserve_bytes)(struct layer *layer, uint64_t guest_off, uint32_t len,
			     uint64_t *host_off, struct table_need *need);
};

static inline bool layer_can_compress(const struct layer *layer)
{
	return layer->ops->compress != NULL;
}

/* All as struct layer_compress_ops says. */
int layer_decode(const struct layer *layer, const void *in, size_t in_len, void *out);
int layer_may_compress(struct layer *layer, enum layer_compression type, unsigned level,
		       struct err *err);
int layer_set_compression(struct layer *layer, enum layer_compression type, bool *is_unknown,
			  struct err *err);
bool layer_has_other_compression(const struct layer *layer, enum layer_compression type);
int layer_encode(const struct layer *layer, unsigned level, const void *in, void *out,
		 size_t out_cap);
int layer_reserve_bytes(struct layer *layer, uint64_t guest_off, uint32_t len, uint64_t *host_off,
			struct table_need *need);

#endif
