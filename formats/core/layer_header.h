/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The overlay's header: the link to its backing file, and what it claims of the
 * disk's content.
 */
#ifndef BLOCKPULL_FORMATS_CORE_LAYER_HEADER_H
#define BLOCKPULL_FORMATS_CORE_LAYER_HEADER_H

#include <stdbool.h>
#include <stddef.h>

#include "formats/core/layer.h"

struct err;
struct staged;

/* layer_ops.link */
struct layer_link_ops {
	/* What stage_link() is to do: record this name and format; NULL: drop the link. Blocking,
	 * reads the header, writes nothing. -ENAMETOOLONG, -ENOTSUP (the header has no place for
	 * the name that survives a cut) with a sentence. */
	int (*plan_link)(struct layer *layer, const char *name, enum image_format format,
			 struct err *err);
	/* Adds the one write within sector 0 that changes the backing link, STAGE_HEADER, and what
	 * it needs before, STAGE_REFCOUNT. */
	int (*stage_link)(struct layer *layer, struct staged *staged);
	/* Called when that write is durable. */
	void (*link_durable)(struct layer *layer);
};

/* layer_ops.claims */
struct layer_claims_ops {
	/* Blocking, once, before the guest's first write, after begin_writing(): durably takes back
	 * what the header says of the disk's content and will be untrue (qcow2: bitmaps). On any
	 * thread, beside operations and commits. 0 or -errno with a sentence. */
	int (*begin_guest_writes)(struct layer *layer, struct err *err);
	/* Blocking: records in the image, durably, that its content may be a mixture of two states
	 * of its backing file, or takes that back; sets is_mixed. The guest's disk reads the same
	 * before, afterwards and after a cut at any moment. No commit and no begin_guest_writes()
	 * is running; a plan_link() made before is void. 0; -ENOSPC: the header has no room for it,
	 * nothing was changed; I/O errors, after which the mark may be there or not; each with a
	 * sentence. */
	int (*mark_mixed)(struct layer *layer, bool mixed, struct err *err);
};

/* The format has a header that makes claims about the content. */
static inline bool layer_has_claims(const struct layer *layer)
{
	return layer->ops->claims != NULL;
}

/* All as the two structs say. Without layer_ops.link nothing is to be done when it is durable. */
int layer_plan_link(struct layer *layer, const char *name, enum image_format format,
		    struct err *err);
int layer_stage_link(struct layer *layer, struct staged *staged);
void layer_link_durable(struct layer *layer);
int layer_begin_guest_writes(struct layer *layer, struct err *err);
int layer_mark_mixed(struct layer *layer, bool mixed, struct err *err);

#endif
