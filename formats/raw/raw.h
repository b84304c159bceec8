/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Raw images. */
#ifndef BLOCKPULL_FORMATS_RAW_RAW_H
#define BLOCKPULL_FORMATS_RAW_RAW_H

#include "io/base.h"

struct err;
struct file;
struct layer;
struct table_cache;

/* Parses the header. The file stays the caller's. Errors: -EUCLEAN damaged, -ENOTSUP, -EINVAL not
 * of this format, -ENOMEM, I/O. */
int raw_open(struct file *file, struct table_cache *cache, struct layer **out, struct err *err);
/* Makes a layer that a flatten has filled (raw_new.h) an ordinary raw one. */
void raw_make_ordinary(struct layer *layer);

#endif
