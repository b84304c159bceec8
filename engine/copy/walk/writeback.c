/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Early write-back of what is copied, for file systems and kernels without
 * uncached writes (RWF_DONTCACHE: Linux 6.14 has it for ext4, XFS and others). If
 * it were left to the barrier, all of it would go to the device at once, and
 * copying would wait: a dense image would take half as long again.
 *
 * Whether a write may be uncached is only known when one was tried, so nothing is
 * chosen when the file is opened. fadvise(DONTNEED) after the writes was
 * rejected: it drops clean pages only, so it must wait for the device first.
 */
#include "engine/copy/walk/writeback.h"

#include <stdlib.h>

#include "engine/copy/walk/walk.h"
#include "engine/core/disk.h"
#include "engine/core/loop.h"
#include "engine/core/op.h"
#include "io/base.h"
#include "io/file.h"
#include "io/io.h"

/* Bytes of one write-back: fewer cost calls, more let the device idle. */
#define WRITEBACK_LEN (8 * MiB)

struct writeback {
	struct op op;
	struct io_req req;
};

/* Write-back is a hint: the barrier tells of errors. */
static void writeback_end(struct op *op)
{
	op->disk->n_background--;
	engine_rerun(op->engine); /* the job may wait for it to end */
	free(op);
}

static enum step writeback_step(struct op *op)
{
	writeback_end(op);
	return STEP_WAIT;
}

static const struct op_kind writeback_kind = { "write-back", writeback_step, writeback_end };

void writeback_note(struct bpull_disk *disk, uint64_t host_off, uint64_t len)
{
	struct file *file = disk_overlay(disk)->data;
	struct writeback_range *range = &disk->walk->writeback;
	struct writeback *w;

	if (!file->past_cache.no_writes || file->io_align > 1)
		return;
	range->lo = range->len ? MIN(range->lo, host_off) : host_off;
	range->hi = range->len ? MAX(range->hi, host_off + len) : host_off + len;
	range->len += len;
	if (range->len < WRITEBACK_LEN)
		return;
	w = calloc(1, sizeof(*w));
	if (!w) /* the barrier does it all */
		return;
	range->len = 0;
	disk->n_background++;
	op_init(&w->op, &writeback_kind, disk->engine, disk);
	io_req_writeback(&w->req, file, range->hi - range->lo, range->lo);
	op_submit(&w->op, &w->req);
}
