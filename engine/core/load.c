/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Loading tables for operations that were told TABLE_NEED. A load is an
 * operation of its own; any number of others wait for it. Bytes behind the end
 * of the file are zeros: the formats have checked where a table may lie, and
 * a new table's slices may not have been written yet.
 *
 * When a walk misses a table, the ones it will want next are loaded with it, so that a slow disk's
 * latency, or a system call, is paid once for many. A walker of its own that runs in front of the
 * cursor was rejected: it would have to be held back, and told when the cursor goes back.
 */
#include "engine/core/load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/blockpull.h"
#include "engine/core/disk.h"
#include "engine/core/loop.h"
#include "engine/core/op.h"
#include "formats/chain/chain.h"
#include "formats/core/layer.h"
#include "formats/core/layer_tables.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/file.h"
#include "io/io.h"

/* Tables that one read loads at most; they lie behind each other. */
#define LOAD_MAX 16

struct load {
	struct op op;
	struct io_req req;
	unsigned n;
	struct table *tables[LOAD_MAX];
	struct iovec iov[LOAD_MAX];
	struct op_list waiters; /* operations that wait for any of the tables */
	/* The disk whose walk will want the tables; NULL: an operation wants one now. */
	struct bpull_disk *ahead;
};

/* What load_ahead() loads of one layer at most: requests; bytes. */
#define AHEAD_MAX 32
#define AHEAD_LEN (512 * KiB)

static void load_end(struct load *load, int error)
{
	struct bpull_engine *engine = load->op.engine;

	for (unsigned i = 0; i < load->n; i++)
		load->tables[i]->waiters = NULL;
	/* Either it was a load ahead, which nothing waits for, or it is not known which of several
	 * tables failed: each operation that waits reads its own table again, alone. */
	if (error && (!load->waiters.first || load->n > 1)) {
		engine->n_ahead_failed++;
		op_wake_all(&load->waiters, 0, NULL, 0, false);
	}
	op_wake_all(&load->waiters, error, load->req.file, load->req.off, true);
	if (load->ahead) {
		load->ahead->n_background--;
		engine_rerun(engine); /* the job may wait for it to end */
	}
	for (unsigned i = 0; i < load->n; i++)
		table_load_end(engine->cache, load->tables[i], error);
	free(load);
}

static enum step load_step(struct op *op)
{
	struct load *load = (struct load *)op;
	uint64_t got = load->req.result, off = 0;

	for (unsigned i = 0; i < load->n; i++) {
		struct table *table = load->tables[i];
		uint64_t here = got > off ? MIN(got - off, (uint64_t)table->len) : 0;

		memset(table->bytes + here, 0, table->len - here);
		off += table->len;
	}
	load_end(load, 0);
	return STEP_WAIT;
}

static void load_fail(struct op *op)
{
	load_end((struct load *)op, op->error);
}

static const struct op_kind load_kind = { "load", load_step, load_fail };

/* Begins to load the table that is needed, and those that follow it as far as need->more_len goes,
 * at most `max` in all. NULL: out of memory. */
static struct load *load_begin(const struct bpull_disk *disk, const struct table_need *need,
			       unsigned max)
{
	struct bpull_engine *engine = disk->engine;
	struct load *load = calloc(1, sizeof(*load));

	if (!load)
		return NULL;
	load->n = table_load_begin_some(engine->cache, need, load->tables, max);
	if (!load->n) {
		free(load);
		return NULL;
	}
	op_init(&load->op, &load_kind, engine, NULL);
	io_req_read(&load->req, need->file, load->tables[0]->bytes, need->len, need->host_off);
	for (unsigned i = 0; i < load->n; i++) {
		load->tables[i]->waiters = load;
		load->iov[i] = (struct iovec){ load->tables[i]->bytes, need->len };
	}
	if (load->n > 1) {
		load->req.iov = load->iov;
		load->req.n_iov = load->n;
		load->req.len = (uint64_t)load->n * need->len;
	}
	load->req.for_guest = disk->flags & BPULL_DISK_GUEST_IO;
	op_submit(&load->op, &load->req);
	return load;
}

enum step op_wait_table(struct op *op, const struct table_need *need)
{
	struct table *table = table_find(op->engine->cache, need->file, need->host_off);
	struct load *load = table ? table->waiters : load_begin(op->disk, need, 1);

	if (table && !load) { /* a thread that yields reads it itself (lock.c) */
		op_wait_in(&op->engine->table_waiters, op);
		return STEP_WAIT;
	}
	if (!load) {
		op_set_error(op, -ENOMEM, need->file, need->host_off, true);
		return STEP_NEXT;
	}
	op_wait_in(&load->waiters, op);
	return STEP_WAIT;
}

static struct layer *layer_of(const struct chain *chain, const struct file *file)
{
	for (unsigned i = 0; i < chain->n_layers; i++)
		if (chain->layers[i]->file == file)
			return chain->layers[i];
	return NULL;
}

/* Bytes to load ahead: a share of the cache, or tables would evict each other before they are
 * used. */
static uint64_t ahead_len(const struct bpull_disk *disk)
{
	return MIN((uint64_t)AHEAD_LEN,
		   table_cache_budget(disk->engine->cache) / 8 / disk->chain->n_layers);
}

void load_ahead(struct bpull_disk *disk, const struct table_need *missed, uint64_t guest_off)
{
	struct layer *layer = layer_of(disk->chain, missed->file);
	uint64_t len = 0, end = disk_overlay(disk)->backed_len;

	if (!layer || !layer_has_tables(layer) || disk->engine->n_ahead_failed)
		return;
	end = MIN(end, layer->guest_len);
	for (unsigned n = 0; guest_off < end && n < AHEAD_MAX;) {
		struct table_need place, need;
		struct load *load;

		if (layer_table_place(layer, guest_off, &place, &guest_off, &need))
			return;
		if (!place.len || table_find(disk->engine->cache, place.file, place.host_off))
			continue;
		if (n && len + place.len + place.more_len > ahead_len(disk))
			return;
		load = load_begin(disk, &place, LOAD_MAX);
		if (!load)
			return;
		len += load->req.len;
		load->ahead = disk;
		disk->n_background++;
		n++;
	}
}
