/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Reading compressed clusters. */
#ifndef BLOCKPULL_FORMATS_QCOW2_COMPRESS_DECODE_H
#define BLOCKPULL_FORMATS_QCOW2_COMPRESS_DECODE_H

#include <stddef.h>

#include "io/base.h"

struct layer;

/* layer_compress_ops.decode */
int qcow2_decode(const struct layer *layer, const void *in, size_t in_len, void *out);

#endif
