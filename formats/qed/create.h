/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A new QED image, made in an empty file. */
#ifndef BLOCKPULL_FORMATS_QED_CREATE_H
#define BLOCKPULL_FORMATS_QED_CREATE_H

#include "formats/core/image_create.h"

struct err;
struct file;

/* Blocks. 0, or -errno with a sentence. */
int qed_create(struct file *file, const struct image_create *how, struct err *err);

#endif
