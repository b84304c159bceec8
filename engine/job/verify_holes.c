/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a verifying job does about holes, which nothing of it copies and so
 * nothing of it would compare. Of file systems that are believed because the
 * user says so, it believes nothing: their holes are read. Of those known to
 * tell the truth it takes samples, one block in every MiB of a hole, before
 * it copies anything: they must read as zeros.
 *
 * Before, because a pull to a base writes entries for zeros, which would hide
 * the data from then on. Reading all of those holes was rejected: a terabyte of
 * them is an hour, and `--holes=read` says the same.
 *
 * The places are mixed from the file's identity and the offset, so that a run
 * can be repeated, and differ from hole to hole.
 */
#include "engine/job/verify_holes.h"

#include <errno.h>
#include <string.h>

#include "engine/blockpull.h"
#include "engine/core/copied.h"
#include "engine/core/disk.h"
#include "engine/core/fault.h"
#include "engine/core/loop.h"
#include "engine/core/op.h"
#include "engine/core/ranges/zero.h"
#include "formats/chain/chain.h"
#include "formats/core/layer.h"
#include "io/base.h"
#include "io/file.h"
#include "io/file/file_holes.h"
#include "io/io.h"

#define SAMPLE_EVERY MiB  /* bytes of a hole: one sample is read in each */
#define MAX_SAMPLES  8192 /* of one file: in a larger file samples lie further apart */

void verify_holes_begin(struct bpull_disk *disk)
{
	/* A commit leaves out what tables say: there is no raw file above a base. */
	disk->verify->holes.done = disk->verify->is_below;
	if (disk->verify->is_below)
		return;
	disk->verify->holes.depth = 1;
	for (unsigned i = 1; i < disk->chain->n_layers; i++)
		file_doubt_holes(disk->chain->layers[i]->file);
}

static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* The rest of a hole at or behind `off` of the file at `depth`. False: there is none. */
static bool find_hole(const struct bpull_disk *disk, struct hole_samples *h, uint64_t *end)
{
	const struct chain *chain = disk->chain;

	for (; h->depth < chain->n_layers; h->depth++, h->off = 0) {
		const struct layer *layer = chain->layers[h->depth];
		struct file_status status;

		while (layer_format(layer) == IMAGE_RAW && h->off < layer->file->len &&
		       !file_status(layer->file, h->off, &status)) {
			*end = h->off + status.len;
			if (status.is_hole)
				return true;
			h->off = *end;
		}
	}
	return false;
}

/* Reads the next sample. False: there is none. */
static bool read_sample(struct bpull_disk *disk, struct hole_samples *h)
{
	uint64_t end, n_blocks;

	if (!find_hole(disk, h, &end))
		return false;
	h->file = disk->chain->layers[h->depth]->file;
	end = MIN(end, h->off + MAX(SAMPLE_EVERY, h->file->len / MAX_SAMPLES));
	n_blocks = div_round_up(end - h->off, HOLE_SAMPLE_LEN);
	h->at = h->off + mix(h->file->ino ^ mix(h->off)) % n_blocks * HOLE_SAMPLE_LEN;
	h->next_off = end;
	memset(h->block, 0, sizeof(h->block));
	io_req_read(&h->req, h->file, h->block, MIN(HOLE_SAMPLE_LEN, end - h->at), h->at);
	op_submit(&h->op, &h->req);
	return true;
}

static void refuse_hole(struct bpull_disk *disk, const struct hole_samples *h)
{
	struct shown shown;

	job_set_remedy(disk, BPULL_REMEDY_READ_HOLES);
	job_fail(
		disk, -EBADMSG,
		"%s: its file system calls the bytes from %#llx on a hole, but they do not read as "
		"zeros; %s: do it again with holes read, and look after that file "
		"system",
		file_show(h->file, &shown), (unsigned long long)h->at,
		disk->flatten ? "nothing was made of it" : "the backing link is kept");
}

static enum step stop_reading(struct hole_samples *h)
{
	h->reading = false;
	engine_rerun(h->op.engine);
	return STEP_WAIT;
}

static bool may_go_on(const struct bpull_disk *disk)
{
	return job_goes_on(&disk->job);
}

static enum step samples_step(struct op *op)
{
	struct hole_samples *h = (struct hole_samples *)op;

	if (!zero_is(h->block, sizeof(h->block))) {
		refuse_hole(op->disk, h);
		return stop_reading(h);
	}
	h->off = h->next_off;
	if (!may_go_on(op->disk))
		return stop_reading(h);
	h->done = !read_sample(op->disk, h);
	return h->done ? stop_reading(h) : STEP_WAIT;
}

static void samples_fail(struct op *op)
{
	job_fail_op(op->disk, op);
	stop_reading((struct hole_samples *)op);
}

static const struct op_kind samples_kind = { "hole-samples", samples_step, samples_fail };

bool verify_holes(struct bpull_disk *disk)
{
	struct hole_samples *h = &disk->verify->holes;

	if (h->done || h->reading || !may_go_on(disk))
		return h->done;
	op_init(&h->op, &samples_kind, disk->engine, disk);
	h->reading = read_sample(disk, h);
	h->done = !h->reading;
	return h->done;
}
