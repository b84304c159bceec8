/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the program says that the name of a backing file leads to (chain_open.finder). */
#ifndef BLOCKPULL_FORMATS_CHAIN_FOUND_H
#define BLOCKPULL_FORMATS_CHAIN_FOUND_H

#include <stdbool.h>

#include "formats/core/layer.h"
#include "io/source/source.h"

struct err;

struct chain_found {
	bool is_source;
	struct source source;     /* the finder's until it is opened, which takes it over */
	char *path;               /* a file to open instead of the name, malloc'd; NULL: none */
	bool path_is_allowed;     /* by the user: the policy is not asked */
	enum image_format format; /* that the name itself has; IMAGE_UNKNOWN: none */
};

struct chain_finder {
	/* For an image that is only read, and the backing files; recorded is NULL for the first.
	 * 0: *found is filled; 1: nothing is known of the name; -errno with a sentence. NULL: no
	 * name is known. */
	int (*find)(void *opaque, const char *name, const char *recorded, struct chain_found *found,
		    struct err *err);
	void *opaque;
};

/* Asks it for an image that is only read. 0, or -errno with a sentence: refused, or it is a source
 * and no format is known. *format is what is known of it before, and then. */
int chain_find_image(const struct chain_finder *finder, const char *name, enum image_format *format,
		     struct chain_found *found, struct err *err);
/* Asks it for the backing file of an image: above_name is the image's, recorded what it records.
 * 0: *found says what it leads to, and may say nothing; then the name is a path. -EPERM: it would
 * be a path, and the image is read from a source, so that it may name none. -errno: refused. */
int chain_find_backing(const struct chain_finder *finder, const struct layer *above,
		       const char *above_name, struct chain_found *found, struct err *err);
/* Gives up what was found and not opened. */
void chain_found_drop(struct chain_found *found);

#endif
