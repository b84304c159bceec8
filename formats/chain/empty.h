/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* An image that is to hold nothing any more. */
#ifndef BLOCKPULL_FORMATS_CHAIN_EMPTY_H
#define BLOCKPULL_FORMATS_CHAIN_EMPTY_H

#include "formats/core/layer.h"

/* Empties the image in a writable file that no layer holds: all of it is read from its backing file
 * then, durably. The caller knows that those bytes are the same: a cut leaves some of the entries
 * cleared. The clusters are leaked. On any thread. Blocks. 0, or -errno with a sentence. */
int empty_image(struct file *file, enum image_format format, struct err *err);
/* After empty_image(): gives the leaked clusters back, also to the file system. That takes the
 * longer the more there are. A cut, or an error, leaves leaks. On any thread. Blocks. 0, or -errno
 * with a sentence. */
int empty_give_back(struct file *file, enum image_format format, struct err *err);

#endif
