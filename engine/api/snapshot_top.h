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

/* One of a call's snapshots. The caller sets the fields above the empty line. Snapshots of one disk
 * are made and put from the lowest up. */
struct snapshot_top {
	struct bpull_snapshot how;
	struct bpull_create_options create; /* all zero where the program gave none */
	struct bpull_disk *disk;
	struct bpull_disk_options by; /* open_file and open_opaque only: how files are opened */
	/* Neighbours among the snapshots of the same disk and call: the one below this, and the one
	 * on top of it. NULL: none. */
	struct snapshot_top *lower, *upper;

	const struct layer *old;   /* the disk's image as snapshot_top_make() was called */
	struct new_file *new_file; /* NULL: the image existed before */
	bool is_made;              /* the new file has its name: removed if the call fails */
	/* The new image, open; the disk's topmost one is ready to be written to. NULL: none, or it
	 * is the disk's now. */
	struct layer *layer;
	struct layer *under; /* only of the lowest one: `old`, read again as a backing file */
};

/* 0, or -ELOOP with a sentence: the chain would be too long. snapshot_top_make() asks again, since
 * other threads may have made the chain longer. */
int snapshot_top_refuse_depth(const struct snapshot_top *s, struct err *err);
/* Makes the new overlay durable, and opens it. On error snapshot_top_drop() takes back what was
 * done. Others may use the disk meanwhile. Blocks. */
int snapshot_top_make(struct snapshot_top *s, struct err *err);
/* The last step that can fail: the disk's image is read again as a backing file. Nothing runs on
 * the disk, all of it is durable, and no other call may touch it. Call it for the lowest snapshot
 * of each disk. Blocks. */
int snapshot_top_prepare(struct snapshot_top *s, struct err *err);
/* Puts the new image on top of the disk's chain, which takes over its layers. Can't fail. */
void snapshot_top_put(struct snapshot_top *s);
/* The image that the disk had is only read from now on: gives a writer's locks back, so that others
 * may read it, too. Call it for the lowest snapshot of each disk. Blocks. */
void snapshot_top_turn(struct snapshot_top *s);
/* Frees what the snapshot has, but not *s. An image that did not become the disk's is closed, and
 * removed if the call has made it. Blocks. */
void snapshot_top_drop(struct snapshot_top *s);

#endif
