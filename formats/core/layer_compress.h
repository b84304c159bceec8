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
	/* Blocking, changes nothing. 0: clusters can be compressed so; else -ENOTSUP or -EINVAL (a
	 * level the type does not have; 0: its default) with a sentence. */
	int (*may_compress)(struct layer *layer, enum layer_compression type, unsigned level,
			    struct err *err);
	/* Blocking, after may_compress() and begin_writing(): records the type, durably. After an
	 * error the image has the old one; or, with *is_unknown, it is not known which of both, and
	 * nothing may be written any more. */
	int (*set_compression)(struct layer *layer, enum layer_compression type, bool *is_unknown,
			       struct err *err);
	/* The header has another one. */
	bool (*has_other_compression)(const struct layer *layer, enum layer_compression type);
	/* Compresses one cluster into at most out_cap bytes. Pure; any thread. How many; 0: they
	 * are not enough; -ENOMEM. */
	int (*encode)(const struct layer *layer, unsigned level, const void *in, void *out,
		      size_t out_cap);
	/* Reserves space for one compressed cluster, at least a sector shorter than a plain one,
	 * rounded up to sectors, linked, and with one destination, which is to be reserved. There
	 * is no way to give it back: what is never published is not accounted. TABLE_NEED, or
	 * errors as reserve(). */
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
