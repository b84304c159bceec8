/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the server must know of an image: before it opens it, and when others have had it. */
#ifndef TOOLS_SERVE_IMAGE_H
#define TOOLS_SERVE_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/blockpull.h"
#include "tools/serve/durable.h"
#include "tools/serve/port.h"

#define IMAGE_NOTE_NS UINT64_C(200000000) /* at the start */

struct image {
	char *path;
	enum bpull_format format; /* as its opener says it; UNKNOWN: it is probed */
	const struct bpull_disk_options *how;
	int fd; /* by which its header is looked at where no file can be opened any more; or -1 */
};

struct image_look {
	uint32_t cluster_len; /* bytes; 0: it has none */
	uint64_t granule;     /* bytes that have a table entry of their own; 0: no tables */
	bool can_discard;
	bool has_snapshots; /* whose clusters are not the disk's own */
};

/* Looks at the header of an image, whose options are used on. 0 or -errno with a sentence;
 * -EPERM: it looks raw, and was not said to be. */
int image_open(struct image *image, const char *path, const struct bpull_disk_options *how,
	       struct image_look *look, struct bpull_error *error);
void image_close(struct image *image);
/* The port's disk was just activated: its size, and what is known of its clusters, may be other. */
void image_came_back(const struct image *image, struct port *port);
/* Another file is the disk's image now: a new overlay, or one that was below. Without memory for
 * its name messages have the old one's. */
void image_turn(struct image *image, const char *path, enum bpull_format format, struct port *port);
/* Notes which granules are in place already, on a disk that was just opened for writing and whose
 * image has no snapshots. Stops after so long: what is not noted is only slower. */
void image_note_durable(struct bpull_disk *disk, struct durable *durable, uint64_t max_ns);
/* Finds the name by which a file of the disk's chain is known when no file can be opened any more.
 * The caller frees it. 0 or -errno with a sentence. */
int image_base_name(const struct image *image, struct bpull_disk *disk, const char *base,
		    char **name, struct bpull_error *error);
/* A serial number made from the image's name. Points into it. */
const char *image_serial(const char *path);

#endif
