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

/* Asks the finder for an image that is only read. *format: what the user said of it; the finder may
 * add to that. 0, or -errno with a sentence: refused, or a source whose format is not known. */
int chain_find_image(const struct chain_finder *finder, const char *name, enum image_format *format,
		     struct chain_found *found, struct err *err);
/* Asks the finder for the backing file of `above`, which this chain opened as above_name. 0: *found
 * says what the recorded name leads to, or nothing: then the name is a path. -EPERM: it would be a
 * path, and `above` is read from a source, which may name no file here. -errno: refused. */
int chain_find_backing(const struct chain_finder *finder, const struct layer *above,
		       const char *above_name, struct chain_found *found, struct err *err);
/* Gives up what was found and not opened. */
void chain_found_drop(struct chain_found *found);

#endif
