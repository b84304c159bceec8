/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the server must know of an image before it opens it. */
#ifndef TOOLS_SERVE_IMAGE_H
#define TOOLS_SERVE_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/blockpull.h"
#include "tools/serve/durable.h"

struct image_look {
	uint32_t cluster_len; /* bytes; 0: it has none */
	uint64_t granule;     /* bytes that have a table entry of their own; 0: no tables */
	bool can_discard;
	bool has_snapshots; /* whose clusters are not the disk's own */
};

/* Looks at the image's header. 0 or -errno with a sentence; -EPERM: it looks raw, and was not said
 * to be. */
int image_look(const char *path, const struct bpull_disk_options *how, struct image_look *look,
	       struct bpull_error *error);
/* Notes which granules are in place already, on a disk that was just opened for writing and whose
 * image has no snapshots. Stops after a fifth of a second: what is not noted is only slower. */
void image_note_durable(struct bpull_disk *disk, struct durable *durable);
/* A serial number made from the image's name. Points into it. */
const char *image_serial(const char *path);

#endif
