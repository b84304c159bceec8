/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Compressing clusters, and the image's compression type. */
#ifndef BLOCKPULL_FORMATS_QCOW2_COMPRESS_ENCODE_H
#define BLOCKPULL_FORMATS_QCOW2_COMPRESS_ENCODE_H

#include <stddef.h>

#include "formats/core/layer.h"
#include "formats/core/layer_compress.h"
#include "io/base.h"

struct err;

/* layer_compress_ops.encode */
int qcow2_encode(const struct layer *layer, unsigned level, const void *in, void *out,
		 size_t out_cap);
/* layer_compress_ops.may_compress */
int qcow2_may_compress(struct layer *layer, enum layer_compression type, unsigned level,
		       struct err *err);
/* layer_compress_ops.set_compression */
int qcow2_set_compression(struct layer *layer, enum layer_compression type, bool *is_unknown,
			  struct err *err);
/* layer_compress_ops.has_other_compression */
bool qcow2_has_other_compression(const struct layer *layer, enum layer_compression type);

#endif
