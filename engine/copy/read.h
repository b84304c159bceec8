/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The phases of a copy run that read and decode. */
#ifndef BLOCKPULL_COPY_READ_H
#define BLOCKPULL_COPY_READ_H

#include "engine/core/op.h"

struct populate;

/* The phase READ. */
enum step populate_read(struct populate *p);
/* The phase DECODE. */
enum step populate_decode(struct populate *p);

#endif
