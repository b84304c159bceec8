/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See codecs.h. */
#include "formats/core/codecs.h"

#include <pthread.h>
#include <stdlib.h>
#include <zstd.h>

#include "io/base.h"

/* A hostile stream makes its decoder hold megabytes, and so does a slow level its encoder: memory
 * that is in no budget is not kept. */
#define MAX_KEPT_LEN ((size_t)1 << 20)

struct codecs *codecs_new(void)
{
	struct codecs *codecs = calloc(1, sizeof(*codecs));

	if (codecs)
		pthread_mutex_init(&codecs->lock, NULL);
	return codecs;
}

static void free_one(enum codec kind, void *codec)
{
	struct deflate_encoder *encoder = codec;

	switch (kind) {
	case CODEC_ZSTD_DECODER: ZSTD_freeDCtx(codec); break;
	case CODEC_ZSTD_ENCODER: ZSTD_freeCCtx(codec); break;
	case CODEC_DEFLATE_ENCODER:
		deflateEnd(&encoder->stream);
		free(encoder);
		break;
	case N_CODECS: break;
	}
}

void codecs_free(struct codecs *codecs)
{
	if (!codecs)
		return;
	for (enum codec kind = 0; kind < N_CODECS; kind++)
		while (codecs->n[kind])
			free_one(kind, codecs->kept[kind][--codecs->n[kind]]);
	pthread_mutex_destroy(&codecs->lock);
	free(codecs);
}

void *codecs_take(struct codecs *codecs, enum codec kind)
{
	void *codec = NULL;

	if (!codecs)
		return NULL;
	pthread_mutex_lock(&codecs->lock);
	if (codecs->n[kind])
		codec = codecs->kept[kind][--codecs->n[kind]];
	pthread_mutex_unlock(&codecs->lock);
	return codec;
}

static bool is_small(enum codec kind, void *codec)
{
	switch (kind) {
	case CODEC_ZSTD_DECODER: return ZSTD_sizeof_DCtx(codec) <= MAX_KEPT_LEN;
	case CODEC_ZSTD_ENCODER: return ZSTD_sizeof_CCtx(codec) <= MAX_KEPT_LEN;
	case CODEC_DEFLATE_ENCODER:
	case N_CODECS: break;
	}
	return true;
}

void codecs_give(struct codecs *codecs, enum codec kind, void *codec)
{
	if (!codec)
		return;
	if (codecs && is_small(kind, codec)) {
		pthread_mutex_lock(&codecs->lock);
		if (codecs->n[kind] < CODECS_MAX) {
			codecs->kept[kind][codecs->n[kind]++] = codec;
			codec = NULL;
		}
		pthread_mutex_unlock(&codecs->lock);
	}
	if (codec)
		free_one(kind, codec);
}
