/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* --backing-format of the command and backing-format= of the nbdkit plugin: FMT, auto or
 * FILE=FMT. */
#ifndef TOOLS_WORDS_BACKING_FORMAT_H
#define TOOLS_WORDS_BACKING_FORMAT_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/blockpull.h"

/* What was said so far; begin with zeros, and free it. */
struct backing_formats {
	struct bpull_backing_format *list; /* owned, with the names in it */
	size_t n;
	enum bpull_format all;
	bool is_auto;
};

#define BACKING_FORMAT_WHY_CAP 400 /* bytes of a sentence on what is wrong */

/* Takes one value. A relative FILE is left as it is: it may be a name that an image records. 0, or
 * -1 and a sentence that begins with the value. */
int backing_formats_take(struct backing_formats *formats, const char *text,
			 char why[BACKING_FORMAT_WHY_CAP]);
/* Puts them into the options, which use the list from then on. */
void backing_formats_apply(const struct backing_formats *formats,
			   struct bpull_disk_options *options);
void backing_formats_free(struct backing_formats *formats);

#endif
