/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Opening qcow2 images. */
#ifndef BLOCKPULL_FORMATS_QCOW2_OPEN_H
#define BLOCKPULL_FORMATS_QCOW2_OPEN_H

struct err;
struct file;
struct layer;
struct table_cache;

/* As raw_open() (formats/raw/raw.h). */
int qcow2_open(struct file *file, struct table_cache *cache, struct layer **out, struct err *err);

#endif
