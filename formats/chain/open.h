/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The registry of formats: which one a file has, and opening it as that. */
#ifndef BLOCKPULL_FORMATS_CHAIN_OPEN_H
#define BLOCKPULL_FORMATS_CHAIN_OPEN_H

#include "formats/core/layer.h"

struct table_cache;

/* Opens the file as an image of that format; as raw_open(). */
int format_open(enum image_format format, struct file *file, struct table_cache *cache,
		struct layer **out, struct err *err);
/* By magic, else RAW; -ENOTSUP for an image of a format that is only known by sight. For what the
 * user names; for a backing file only where format.c says that its record is missing. */
int format_probe(struct file *file, enum image_format *out, struct err *err);

#endif
