/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Compressors' and decompressors' contexts, kept between clusters: making one
 * takes as long as a fifth of a cluster, and new memory for an encoder longer.
 *
 * One pool an image, under a lock: any worker may take one. Contexts of each
 * thread's own were rejected: they would outlive the engine in threads that are
 * the embedder's.
 */
#ifndef BLOCKPULL_FORMATS_CORE_CODECS_H
#define BLOCKPULL_FORMATS_CORE_CODECS_H

#include <pthread.h>
#include <zlib.h>

#include "io/base.h"

#define CODECS_MAX 16u /* of a kind: what more workers need at once is made and freed */

enum codec {
	CODEC_ZSTD_DECODER,
	CODEC_ZSTD_ENCODER,
	CODEC_DEFLATE_ENCODER, /* a struct deflate_encoder */
	N_CODECS,
};

struct deflate_encoder {
	z_stream stream;
	int level;
};

struct codecs {
	pthread_mutex_t lock;
	unsigned n[N_CODECS];
	void *kept[N_CODECS][CODECS_MAX];
};

/* NULL: out of memory. */
struct codecs *codecs_new(void);
/* Frees the pool and the contexts in it, of which none is lent out. NULL is allowed. */
void codecs_free(struct codecs *codecs);
/* Any thread may make the calls below, also without a pool (NULL), where nothing is kept.
 * Lends a context out; NULL: the pool has none of this kind. */
void *codecs_take(struct codecs *codecs, enum codec kind);
/* Takes a context back, or frees it: where the pool has enough, or where a stream made it grow
 * large. A codec of NULL is allowed. */
void codecs_give(struct codecs *codecs, enum codec kind, void *codec);

#endif
