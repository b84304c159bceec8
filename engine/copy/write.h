/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The phases of a copy run that write. */
#ifndef BLOCKPULL_COPY_WRITE_H
#define BLOCKPULL_COPY_WRITE_H

#include "engine/core/op.h"

struct populate;

/* The phase WRITE. */
enum step populate_write(struct populate *p);
/* The phase FILL. */
enum step populate_fill(struct populate *p);

#endif
