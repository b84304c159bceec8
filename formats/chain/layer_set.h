/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What chain.c asks of the set of open images. A layer found here may be held
 * by other chains, too; the last one that drops it closes it with its file.
 */
#ifndef BLOCKPULL_FORMATS_CHAIN_LAYER_SET_H
#define BLOCKPULL_FORMATS_CHAIN_LAYER_SET_H

#include <stdbool.h>

#include "formats/core/layer.h"
#include "io/base.h"
#include "io/file.h"
#include "io/file/file_holes.h"
#include "io/file/opener.h"

struct chain;
struct layer_set;
struct source;
struct table_cache;

struct layer_set *layer_set_new(struct file_opener *opener, struct table_cache *cache);
void layer_set_free(struct layer_set *set); /* every chain must be closed */
/* For a child of fork(): closes the files' descriptors, and does nothing that the parent could
 * see. */
void layer_set_leave(struct layer_set *set);
struct table_cache *layer_set_cache(struct layer_set *set);
struct file_opener *layer_set_opener(const struct layer_set *set);

struct layer_want {
	const char *name;
	enum image_format format; /* IMAGE_UNKNOWN: probe */
	/* Settles the format of the opened file instead; NULL for none. */
	int (*choose)(void *opaque, struct file *file, enum image_format *out, struct err *err);
	void *opaque; /* of choose */
	bool write;   /* as the overlay of its chain, to be changed */
	bool lock, direct;
	bool at_rest;  /* file_open.at_rest; it is kept apart, as layer_set_keep_apart() says */
	bool outlives; /* file_open.outlives */
	enum file_holes holes;
	bool watch;   /* file_look() is to tell a touch from a write */
	bool is_data; /* an image's data file, not an image */
	const struct path_policy *policy;
	struct file_giver giver;     /* opens the file instead; the name is what it is asked for */
	const char *recorded;        /* as struct file_wish has it */
	const struct source *source; /* taken over and opened instead, whatever is returned */
	const struct chain *above;   /* the images that read through to this one */
};

/* Opens an image or takes the open one. *is_new: its file is one no chain has seen. *no_locks: the
 * file system has no OFD locks. Errors: the opener's and the format's; -ELOOP it is one of `above`;
 * -EBUSY it is, or would become, an overlay while another chain of this engine holds it. */
int layer_set_take(struct layer_set *set, const struct layer_want *want, struct layer **out,
		   bool *is_new, bool *no_locks, struct err *err);
/* Opens the data file of a layer that no other chain has: the last of want->above. -ELOOP: it is a
 * file of that chain already. */
int layer_set_open_data(struct layer_set *set, const struct layer_want *want, struct layer *layer,
			bool *no_locks, struct err *err);
/* is_apart: no chain that is opened from now on shares the layer, since another program may change
 * its file. False: chains may share it again. */
void layer_set_keep_apart(struct layer_set *set, const struct layer *layer, bool is_apart);
/* `fresh`, made of the same file, takes the place of a layer that one chain holds, which is
 * freed. */
void layer_set_replace(struct layer_set *set, struct layer *layer, struct layer *fresh);
/* Gives one user's hold back, and closes the files that no user is left of. file_closing: as
 * chain_close() has it. */
void layer_set_drop(struct layer_set *set, struct layer *layer,
		    void (*file_closing)(void *opaque, struct file *file), void *opaque);
/* The same without waiting: files that no other chain holds are put in front of the list *files
 * (file.next_closing), the image's own before its data file, which the caller closes by
 * file_close_all(). */
void layer_set_drop_unclosed(struct layer_set *set, struct layer *layer,
			     void (*file_closing)(void *opaque, struct file *file), void *opaque,
			     struct file **files);

#endif
