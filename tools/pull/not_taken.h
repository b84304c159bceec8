/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a new file made of an image lacks that the image's file has. */
#ifndef TOOLS_PULL_NOT_TAKEN_H
#define TOOLS_PULL_NOT_TAKEN_H

#include "engine/blockpull.h"

/* Says on stderr, in one line, what `flatten` leaves behind: nothing where there is nothing. Opens
 * the image, so it comes before the sandbox. `options`: how the image itself is opened. 0, or
 * -errno with *error where the image's header can't be read. */
int not_taken_say(const char *path, const char *out, const struct bpull_disk_options *options,
		  struct bpull_error *error);

#endif
