/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* An image that is to hold nothing any more. */
#ifndef BLOCKPULL_FORMATS_CHAIN_EMPTY_H
#define BLOCKPULL_FORMATS_CHAIN_EMPTY_H

#include "formats/core/layer.h"

/* The image in a writable file that no layer holds reads all from its backing file from now on, and
 * durably. What it reads must not change by that: each cut between leaves any part of it done. What
 * it held is leaked. On any thread. Blocks. 0, or -errno with a sentence. */
int empty_image(struct file *file, enum image_format format, struct err *err);
/* Then: what it leaks is given back, to the file system, too, which takes the longer the more that
 * is. A cut, or an error, leaves leaks. On any thread. Blocks. 0, or -errno with a sentence. */
int empty_give_back(struct file *file, enum image_format format, struct err *err);

#endif
