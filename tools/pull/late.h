/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Pulls that are too slow for what was asked of them. */
#ifndef TOOLS_PULL_LATE_H
#define TOOLS_PULL_LATE_H

struct progress;
struct pull_image;
struct pull_options;

/* Says which of the images have become late, or are so no more. */
void late_say(const struct pull_options *options, struct pull_image *images, unsigned n,
	      struct progress *progress);

#endif
