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

/* One of a call's snapshots. Set before snapshot_top_make(): the first four. */
struct snapshot_top {
	struct bpull_snapshot how;
	struct bpull_create_options create; /* all zero where the program gave none */
	struct bpull_disk *disk;
	struct bpull_disk_options by; /* open_file, and its argument: how files are opened */

	const struct layer *old;   /* the disk's image as it was then */
	struct new_file *new_file; /* NULL: it was there */
	bool is_made;              /* it has its name, and would be removed */
	struct layer *layer;       /* the new top, open and ready to be written to; NULL: none */
	struct layer *under;       /* `old` as a backing file, or NULL */
};

/* Makes the new overlay durable, and opens it. On error snapshot_top_drop() takes back what was
 * done. Others may use the disk meanwhile. Blocks. */
int snapshot_top_make(struct snapshot_top *s, struct err *err);
/* Nothing runs on the disk, all of it is durable, and no other call may touch it: what else can
 * fail. Blocks. */
int snapshot_top_prepare(struct snapshot_top *s, struct err *err);
/* Makes it the disk's. It takes over the layers. */
void snapshot_top_put(struct snapshot_top *s);
/* The image below is only read from now on, by others, too. Blocks. */
void snapshot_top_turn(struct snapshot_top *s);
/* Frees all but *s; what did not become the disk's is closed, and removed if it was made.
 * Blocks. */
void snapshot_top_drop(struct snapshot_top *s);

#endif
