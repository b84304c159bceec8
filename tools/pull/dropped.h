/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The files that an image's chain has lost by its job. */
#ifndef TOOLS_PULL_DROPPED_H
#define TOOLS_PULL_DROPPED_H

#include "tools/pull/image.h"

/* Takes their names, before the disk is closed, whose they are. Without memory those that fit. */
void dropped_note(struct pull_image *image);
void dropped_forget(struct pull_image *image);

#endif
