/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A longer disk. The order of what becomes durable, each with the commit before:
 *
 *   the new L1 table and its counts
 *   the header leads to it, with the old length
 *   zero entries, where the new end would not read as zeros
 *   the header's new length
 *
 * So a cut leaves the old length or the new one, and the new end reads as zeros. Without
 * zero entries it would show a backing file that is longer than the disk was, or what the
 * last cluster, or a table, holds behind the old end. A commit's header stage was not used:
 * it is the job's, and the length needs no way back.
 *
 * Until the end the guest's length is the old one (guests.len), while the format has the new one:
 * so entries can be made behind the old end. The lock on all of the disk is held until the end:
 * a guest's write to the last cluster would fill its end from below, and one elsewhere could
 * bring tables into the commit of the length, which find no space when that is durable already.
 */
#include "engine/guest/grow.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/commit/batch.h"
#include "engine/copy/walk/charge.h"
#include "engine/core/disk.h"
#include "engine/core/op.h"
#include "engine/guest/flush.h"
#include "engine/guest/request.h"
#include "formats/chain/chain.h"
#include "formats/chain/map.h"
#include "formats/core/layer.h"
#include "formats/core/layer_resize.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/file.h"
#include "io/io.h"

/* Extents looked at before other operations run. */
#define LOOK_MAX 1024u

static struct guest_grow *grow_of(struct guest *g)
{
	return (struct guest_grow *)g;
}

static enum step grow_go(struct guest_grow *grow, enum grow_step to)
{
	grow->at = to;
	return STEP_NEXT;
}

static enum step lock_all(struct guest_grow *grow)
{
	struct guest *g = &grow->g;

	g->alone = true;
	if (!g->locked)
		guest_lock(g, 0, round_down((uint64_t)INT64_MAX, g->overlay->cluster_len));
	if (g->lock.held)
		return grow_go(grow, GROW_SETTLE);
	throttle_bypass(g->op.disk);
	return STEP_WAIT;
}

/* Goes on when all that was published by now is durable. */
static enum step make_durable(struct guest_grow *grow, enum grow_step next)
{
	bool is_durable;
	enum step step = guest_wait_durable(&grow->g, false, &is_durable);

	if (!is_durable)
		return step;
	grow->g.sync_target = 0;
	return grow_go(grow, next);
}

/* ---- the file ---- */

/* The file that must become longer with the disk; NULL: there is none, or it is long enough. */
static struct file *file_to_lengthen(const struct guest_grow *grow)
{
	const struct bpull_disk *disk = grow->g.op.disk;
	struct file *data = grow->g.overlay->data;

	if (!disk_is_raw(disk) && !disk_has_data_file(disk))
		return NULL;
	return data->len < grow->new_len ? data : NULL;
}

static int lengthen_work(struct io_req *req)
{
	struct guest_grow *grow = grow_of(guest_of(req->owner));

	return file_lengthen(file_to_lengthen(grow), grow->new_len);
}

static enum step lengthen_file(struct guest_grow *grow)
{
	if (!file_to_lengthen(grow))
		return grow_go(grow, GROW_TABLES);
	io_req_work(&grow->req, lengthen_work);
	op_submit(&grow->g.op, &grow->req);
	grow->at = GROW_TABLES;
	return STEP_WAIT;
}

/* ---- the tables ---- */

static enum step grow_tables(struct guest_grow *grow)
{
	struct guest *g = &grow->g;
	struct file *longer = file_to_lengthen(grow);
	int rc;

	if (longer)
		longer->len = grow->new_len;
	rc = layer_grow_tables(g->overlay, grow->new_len, &grow->move, &g->need);
	if (rc)
		return guest_retry_later(g, rc);
	return grow_go(grow, grow->move.to_len ? GROW_READ : GROW_SET_LEN);
}

static enum step read_table(struct guest_grow *grow)
{
	struct file *file = grow->g.overlay->file;
	const struct table_move *move = &grow->move;
	/* A file may end inside its last table. */
	uint64_t until = MIN(file->len, move->from_off + move->from_len);
	uint64_t len = until > move->from_off ? until - move->from_off : 0;

	grow->table = calloc(1, move->to_len);
	if (!grow->table)
		return guest_error(&grow->g, -ENOMEM);
	grow->at = GROW_WRITE;
	if (!len)
		return STEP_NEXT;
	io_req_read(&grow->req, file, grow->table, len, move->from_off);
	op_submit(&grow->g.op, &grow->req);
	return STEP_WAIT;
}

static enum step write_table(struct guest_grow *grow)
{
	const struct table_move *move = &grow->move;

	io_req_write(&grow->req, grow->g.overlay->file, grow->table, move->to_len, move->to_off);
	op_submit(&grow->g.op, &grow->req);
	grow->at = GROW_COUNTED;
	return STEP_WAIT;
}

/* The counts may lie in a block that is new, too: the refcount table's entry for it and the header
 * that leads to the L1 table are written in one epoch of a commit, and a cut may keep the second
 * alone (I2). So the counts come with a commit of their own. */
static enum step make_table_durable(struct guest_grow *grow)
{
	struct bpull_disk *disk = grow->g.op.disk;
	struct file *file = grow->g.overlay->file;

	if (!grow->g.sync_target) {
		file->len = MAX(file->len, grow->move.to_off + grow->move.to_len);
		disk_wrote(disk, DISK_IMAGE);
		commit_note_published(disk, grow->move.to_len);
	}
	return make_durable(grow, GROW_SET_LEN);
}

static enum step set_len(struct guest_grow *grow)
{
	struct bpull_disk *disk = grow->g.op.disk;
	struct layer *overlay = grow->g.overlay;
	const struct table_move *move = &grow->move;

	if (move->to_len)
		commit_note_published(disk, move->to_len);
	layer_set_len(overlay, move, grow->new_len);
	grow->g.guest_off = grow->g.at = disk->guests.len;
	grow->g.len = 0;
	return grow_go(grow, GROW_ZEROES);
}

/* ---- the new end ---- */

/* Guest bytes that the layers below may have an answer for. */
static uint64_t below_len(const struct bpull_disk *disk)
{
	return disk->chain->n_layers > 1 && disk_overlay(disk)->has_backing
		       ? disk->chain->layers[1]->guest_len
		       : 0;
}

/* The image's own entries say that the range reads zeros, or no layer holds it. */
static bool is_zero_for_good(const struct bpull_disk *disk, const struct extent *e)
{
	if (e->kind == EXTENT_ZERO && !e->depth)
		return true;
	return e->guest_off >= below_len(disk) &&
	       (e->kind == EXTENT_UNALLOCATED || e->kind == EXTENT_ZERO);
}

/* Looks for what does not read as zeros, and has zeros written there, as if the guest did. */
static enum step zero_the_end(struct guest_grow *grow)
{
	struct guest *g = &grow->g;
	struct bpull_disk *disk = g->op.disk;
	uint64_t below = below_len(disk);

	for (unsigned n = 0; g->at < grow->new_len && !disk_is_raw(disk); n++) {
		uint64_t end = g->at < below ? MIN(below, grow->new_len) : grow->new_len;
		struct extent e;
		int rc;

		if (n == LOOK_MAX) {
			op_ready(&g->op);
			return STEP_WAIT;
		}
		rc = chain_map(disk->chain, 0, g->at, end - g->at, &e, &g->need);
		if (rc)
			return guest_retry_later(g, rc);
		if (!is_zero_for_good(disk, &e)) {
			g->guest_off = g->at;
			g->len = e.len;
			return guest_go(g,
					GUEST_LOCK); /* it has the lock, and comes back from MAP */
		}
		g->at += e.len;
	}
	return grow_go(grow, GROW_DURABLE);
}

static enum step record(struct guest_grow *grow)
{
	struct bpull_disk *disk = grow->g.op.disk;

	if (layer_record_len(grow->g.overlay))
		commit_note_published(disk, 1);
	return grow_go(grow, GROW_RECORDED);
}

static enum step recorded(struct guest_grow *grow)
{
	struct guest *g = &grow->g;

	g->op.disk->guests.len = grow->new_len;
	return guest_go(g, GUEST_OVER);
}

enum step guest_grow(struct guest *g)
{
	struct guest_grow *grow = grow_of(g);

	switch (grow->at) {
	case GROW_LOCK: return lock_all(grow);
	case GROW_SETTLE: return make_durable(grow, GROW_FILE);
	case GROW_FILE: return lengthen_file(grow);
	case GROW_TABLES: return grow_tables(grow);
	case GROW_READ: return read_table(grow);
	case GROW_WRITE: return write_table(grow);
	case GROW_COUNTED: return make_table_durable(grow);
	case GROW_SET_LEN: return set_len(grow);
	case GROW_ZEROES: return zero_the_end(grow);
	case GROW_DURABLE: return make_durable(grow, GROW_RECORD);
	case GROW_RECORD: return record(grow);
	case GROW_RECORDED: return make_durable(grow, GROW_OVER);
	case GROW_OVER: return recorded(grow);
	}
	abort();
}

void guest_grow_end(struct guest *g)
{
	struct guest_grow *grow = grow_of(g);
	struct bpull_disk *disk = g->op.disk;
	struct layer *overlay = disk_overlay(disk); /* also of a request that was refused */

	free(grow->table);
	grow->table = NULL;
	/* It failed. Entries that were made behind the disk's end stay: no guest reads there. */
	if (overlay->guest_len != disk->guests.len) {
		layer_set_len(overlay, &(struct table_move){ 0 }, disk->guests.len);
		layer_keep_len(overlay, disk->guests.len, NULL);
	}
	disk->guests.is_growing = false;
}
