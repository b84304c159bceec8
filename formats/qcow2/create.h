/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A new qcow2 image, made in an empty file. */
#ifndef BLOCKPULL_FORMATS_QCOW2_CREATE_H
#define BLOCKPULL_FORMATS_QCOW2_CREATE_H

#include "formats/core/image_create.h"

struct err;
struct file;

/* Blocks. 0, or -errno with a sentence. */
int qcow2_create(struct file *file, const struct image_create *how, struct err *err);

#endif
