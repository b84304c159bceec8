/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The image that becomes the top of an open disk: made or found, opened, and put there. */
#ifndef BLOCKPULL_API_SNAPSHOT_TOP_H
#define BLOCKPULL_API_SNAPSHOT_TOP_H

#include <stdbool.h>

#include "engine/blockpull.h"
#include "io/base.h"

struct err;
struct layer;
struct new_file;

/* One of a call's snapshots. Set before snapshot_top_make(): what stands above the empty line.
 * Those of one disk are made and put in the order in which they are to lie on each other. */
struct snapshot_top {
	struct bpull_snapshot how;
	struct bpull_create_options create; /* all zero where the program gave none */
	struct bpull_disk *disk;
	struct bpull_disk_options by; /* open_file, and its argument: how files are opened */
	/* Of the same disk and call: the one that it lies on, and that lies on it. NULL: none. */
	struct snapshot_top *lower, *upper;

	const struct layer *old;   /* the disk's image as it was then */
	struct new_file *new_file; /* NULL: it was there */
	bool is_made;              /* it has its name, and would be removed */
	/* The new image, open, and the last one of its disk ready to be written to; NULL: none. */
	struct layer *layer;
	struct layer *under; /* of the lowest one: `old` as a backing file; or NULL */
};

/* -ELOOP: the chain would be too long with it. snapshot_top_make() asks again, as other threads may
 * have made it longer. */
int snapshot_top_refuse_depth(const struct snapshot_top *s, struct err *err);
/* Makes the new overlay durable, and opens it. On error snapshot_top_drop() takes back what was
 * done. Others may use the disk meanwhile. Blocks. */
int snapshot_top_make(struct snapshot_top *s, struct err *err);
/* Nothing runs on the disk, all of it is durable, and no other call may touch it: what else can
 * fail. Of the lowest one of a disk. Blocks. */
int snapshot_top_prepare(struct snapshot_top *s, struct err *err);
/* Makes it the disk's. It takes over the layers. */
void snapshot_top_put(struct snapshot_top *s);
/* The disk's image so far is only read from now on, by others, too. Of the lowest one of a disk.
 * Blocks. */
void snapshot_top_turn(struct snapshot_top *s);
/* Frees all but *s; what did not become the disk's is closed, and removed if it was made.
 * Blocks. */
void snapshot_top_drop(struct snapshot_top *s);

#endif
