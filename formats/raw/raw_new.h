/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Raw images that are being made by a flatten. */
#ifndef BLOCKPULL_FORMATS_RAW_RAW_NEW_H
#define BLOCKPULL_FORMATS_RAW_RAW_NEW_H

#include "io/base.h"

struct layer;

/* Makes the layer of an empty file one to flatten into. */
void raw_make_new(struct layer *layer);

#endif
