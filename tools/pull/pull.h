/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The loop that runs any number of images on one engine. */
#ifndef TOOLS_PULL_PULL_H
#define TOOLS_PULL_PULL_H

#include "tools/pull/image.h"
#include "tools/pull/options.h"

/* Runs the options on these images (path, out, new_image set). Returns the exit code. */
int pull_images(struct pull_options *options, struct pull_image *images, unsigned n_images);

#endif
