/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* An image that is to hold nothing any more. */
#ifndef BLOCKPULL_FORMATS_CHAIN_EMPTY_H
#define BLOCKPULL_FORMATS_CHAIN_EMPTY_H

#include "formats/core/layer.h"

/* The image in a writable file that no layer holds reads all from its backing file from now on, and
 * durably; then what it held is given back. What it reads must not change by that: each cut between
 * leaves any part of it done. On any thread. Blocks. 0, or -errno with a sentence. */
int empty_image(struct file *file, enum image_format format, struct err *err);

#endif
