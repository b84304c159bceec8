/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What sets the kinds of jobs apart: a pull, a commit into a lower layer, and a commit of the image
 * itself. steps.c has what is alike in all of them, job/chain/down.h what a commit is.
 */
#ifndef BLOCKPULL_JOB_KINDS_H
#define BLOCKPULL_JOB_KINDS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/blockpull.h"
#include "io/base.h"

struct bpull_disk;

struct job_kind {
	enum bpull_job_type type;
	/* The lower layer becomes the disk's image at the end. */
	bool pivots;
	/* What was read as zeros settles what is owed; where nothing is owed when all is copied, no
	 * table is walked again. */
	bool settles_zeros;
	/* The guest offset that the job goes to. */
	uint64_t (*guest_end)(const struct bpull_disk *disk);
	/* Before each step, also of a job that is paused or stopped. */
	void (*before_step)(struct bpull_disk *disk);
	/* COPYING: true: runs may begin. False: not yet, or the job failed. */
	bool (*prepare_copy)(struct bpull_disk *disk);
	/* COMMITTING, when all is durable: true: the tables may be walked again. False: not yet, or
	 * another step was set. */
	bool (*prepare_proof)(struct bpull_disk *disk);
	/* PROVING, when nothing is owed any more: true: the end may come. False: as above. */
	bool (*end_proving)(struct bpull_disk *disk);
	/* READY, when the program has asked for the end. */
	void (*finalize)(struct bpull_disk *disk);
	/* DETACHING, before the link changes: true: it may. False: not yet, or the job failed. */
	bool (*settle)(struct bpull_disk *disk);
	/* DETACHING, after that: true: the job is over. */
	bool (*finish)(struct bpull_disk *disk);
};

/* Of the job that is about to begin on the disk. */
const struct job_kind *job_kind_of(const struct bpull_disk *disk);

#endif
