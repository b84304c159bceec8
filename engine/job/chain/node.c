/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "engine/job/chain/node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/blockpull.h"
#include "engine/commit/batch.h"
#include "engine/commit/commit.h"
#include "engine/commit/state.h"
#include "engine/copy/walk/company.h"
#include "engine/copy/walk/walk.h"
#include "engine/core/aside.h"
#include "engine/core/disk.h"
#include "engine/core/fault.h"
#include "engine/core/loop.h"
#include "engine/job/progress/info.h"
#include "formats/chain/chain.h"
#include "formats/chain/turn.h"
#include "formats/core/layer.h"
#include "formats/core/layer_fill.h"
#include "formats/core/table_dirty.h"
#include "io/base.h"
#include "io/err.h"
#include "io/file.h"
#include "io/file/file_rest.h"

/* Chains that hold a node's layers: that of the disk, those of its nodes, and this one's. */
static unsigned n_chains(const struct bpull_disk *node)
{
	return 2 + node->nodes.of->nodes.n;
}

static void note_turned(struct bpull_disk *node)
{
	const struct layer *overlay = disk_overlay(node);

	disk_note_file_opened(node, overlay->file);
	if (disk_has_data_file(node))
		disk_note_file_opened(node, overlay->data);
}

static void turn_back(struct bpull_disk *node)
{
	struct err err;

	chain_turn_read_only(node->chain, 0, &err);
	disk_overlay(node)->is_overlay = disk_overlay(node)->file->writable;
}

static int make_writable(struct bpull_disk *node, struct err *err)
{
	struct layer *overlay = disk_overlay(node);
	int rc = chain_turn_writable(node->chain, 0, n_chains(node), err);

	if (rc)
		return rc;
	note_turned(node);
	rc = layer_begin_writing(overlay, err);
	if (rc)
		turn_back(node);
	node->may_write = !rc;
	if (!rc)
		disk_began_writing(node);
	return rc;
}

struct bpull_disk *node_new(struct bpull_disk *of, unsigned depth)
{
	struct bpull_disk *node = calloc(1, sizeof(*node));

	if (!node)
		return NULL;
	node->engine = of->engine;
	/* There is a guest, if only the other disk's. */
	node->flags = BPULL_DISK_GUEST_IO;
	node->nodes.of = of;
	node->nodes.depth = depth;
	node->chain = chain_share_below(of->chain, depth);
	if (node->chain && !copy_walk_open(node)) {
		job_init_control(node);
		return node;
	}
	chain_close(node->chain, disk_note_file_closing, of->engine);
	free(node);
	return NULL;
}

void node_free(struct bpull_disk *node)
{
	chain_close(node->chain, disk_note_file_closing, node->engine);
	copy_walk_close(node);
	job_free_control(node);
	free(node->base_name);
	free(node);
}

int node_refuse(const struct bpull_disk *disk, unsigned depth, struct err *err)
{
	/* The disk's chain, and this one's. */
	return chain_check_writable(disk->chain, depth, disk->nodes.of ? 2 : 1, err);
}

int node_open(struct bpull_disk *node, struct err *err)
{
	struct bpull_engine *engine = node->engine;
	int rc = make_writable(node, err);

	if (rc)
		return rc;
	node->guests.len = disk_overlay(node)->guest_len;
	node->next = engine->disks;
	engine->disks = node;
	node->nodes.of->nodes.n++;
	return 0;
}

/* Takes it off the engine's list, and out of all that looks at disks. */
static void node_leave_engine(struct bpull_disk *node)
{
	disk_leave_engine(node);
	company_leave(node);
	node->nodes.of->nodes.n--;
	engine_rerun(node->engine);
}

/* Its image is neither a backing file again nor, since a commit's end, the disk's own. */
static bool holds_image(const struct bpull_disk *node)
{
	const struct layer *overlay = disk_overlay(node);

	return overlay->is_overlay && overlay != disk_overlay(node->nodes.of);
}

static void node_destroy(struct bpull_disk *node)
{
	/* No worker closed them: the other disk's close does it. */
	file_list_append(&node->nodes.of->dropped.files, STEAL(node->dropped.files));
	node_leave_engine(node);
	commit_abandon(node);
	/* What is in memory only never comes to the disk, and may go from memory in parts. */
	if (holds_image(node))
		table_cache_revert(node->engine->cache, disk_overlay(node)->file);
	node_free(node);
}

void node_close(struct bpull_disk *node)
{
	if (disk_overlay(node)->is_overlay)
		turn_back(node);
	node_destroy(node);
}

static bool is_quiet(const struct bpull_disk *node)
{
	return node->job.step == JOB_IDLE && !node->guests.first && !node->guests.discard.runs &&
	       !node->n_background && !aside_runs(node) && !commit_will_end(node);
}

/* ---- the image of a node that is over ---- */

static int rest_work(struct bpull_disk *node, struct err *err)
{
	return chain_turn_read_only_begin(node->chain, 0, err);
}

/* Without a watch nothing tells if another program changes it: what reads through it goes on. */
static void rest_end(struct bpull_disk *node, int rc, const struct err *err)
{
	chain_turn_read_only_end(node->chain, 0);
	disk_overlay(node)->is_overlay = disk_overlay(node)->file->writable;
}

static const struct aside_kind rest_kind = { .name = "rest", .work = rest_work, .end = rest_end };

bool node_rest(struct bpull_disk *node)
{
	return !disk_overlay(node)->is_overlay || aside_do(node, &rest_kind);
}

int node_write_error(const struct bpull_disk *node)
{
	if (node->poisoned || commit_is_clean(node))
		return node->poisoned;
	return commit_is_stalled(node) ? commit_stall_error(node) : -ENOMEM; /* none could begin */
}

/* What is in memory of an image's counts is of another state than its file: nothing is written to
 * it again before it is read anew. */
static void refuse_writing(struct layer *layer, int error)
{
	if (layer->refused.write.code)
		return;
	layer->refused.write.code = -EIO;
	snprintf(layer->refused.write.why, sizeof(layer->refused.write.why),
		 "an earlier write to it failed (%s); the disk reads and writes on: %sclose it and "
		 "open it again before the next job that writes to this file",
		 strerror(-error), fault_room_advice(error));
}

void node_say_given_up(struct bpull_disk *disk, const struct bpull_disk *node)
{
	const struct layer *overlay = disk_overlay(node);
	int error = node_write_error(node);

	if (!node->nodes.of)
		return;
	/* What was raw has no tables, and may be written to again. */
	if (error && holds_image(node) && layer_format(overlay) != IMAGE_RAW &&
	    node->nodes.of->flags & BPULL_DISK_GUEST_IO)
		job_say_given_up(disk, overlay->file, error);
}

/* True: others may have the image of a node that is over. It could not be made durable, else its
 * job has let it go. What is in memory only goes at once, or it would go in parts. */
static bool give_image_back(struct bpull_disk *node)
{
	struct layer *overlay = disk_overlay(node);
	int error;

	if (!holds_image(node) || aside_is_done(node, &rest_kind))
		return true;
	error = node_write_error(node);
	commit_abandon(node);
	table_cache_revert(node->engine->cache, overlay->file);
	refuse_writing(overlay, error ? error : -EIO);
	return node_rest(node);
}

void node_sweep(struct bpull_engine *engine)
{
	struct bpull_disk *next;

	for (struct bpull_disk *disk = engine->disks; disk; disk = next) {
		next = disk->next;
		if (disk->nodes.is_over && is_quiet(disk) && give_image_back(disk))
			node_destroy(disk);
	}
}
