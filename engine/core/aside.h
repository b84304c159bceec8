/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a job does between two of its steps and waits for files: it runs on a worker,
 * and the engine's rounds, which serve all guests, go on. One at a time for a disk.
 * While it runs the job stands still; guests' requests and commits do not.
 *
 * The blocking functions of the formats, run whole, were chosen over operations of many
 * phases: each is tested by itself, with a cut after each of its writes.
 */
#ifndef BLOCKPULL_CORE_ASIDE_H
#define BLOCKPULL_CORE_ASIDE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/core/op.h"
#include "io/base.h"
#include "io/err.h"
#include "io/io.h"

struct bpull_disk;

struct aside_kind {
	const char *name;
	/* Nothing else may look at the image's tables or write its header meanwhile:
	 * disk.exclusive. */
	bool is_exclusive;
	/* Before it, on the engine's thread. 0 or -errno: then there is no work, but an end. NULL:
	 * nothing. */
	int (*begin)(struct bpull_disk *disk);
	/* On a worker: touches what no operation and no call on the disk touches meanwhile. 0 or
	 * -errno. */
	int (*work)(struct bpull_disk *disk, struct err *err);
	/* After it, on the engine's thread, also where the work was never run for want of a
	 * worker: rc is that error, and err has no sentence. NULL: nothing. */
	void (*end)(struct bpull_disk *disk, int rc, const struct err *err);
};

/* Each of the eleven kinds once: one that ran when a step began is counted in that step, too. */
#define ASIDE_MAX_DONE 11

struct aside {
	struct op op;
	struct io_req req;
	const struct aside_kind *kind; /* of what runs, or waits for walks to end; NULL: nothing */
	bool runs;
	bool was_run;                                  /* on a worker, to its end */
	const struct aside_kind *done[ASIDE_MAX_DONE]; /* in this step of the job */
	unsigned n_done;
	int rc; /* of the last one */
	struct err err;
	void *state; /* its own: from begin() to end() */
	uint64_t n;  /* what the last one counted */
};

/* True: it was done in this step of the job, and its result is in disk->aside. Else it is begun,
 * unless it is under way. */
bool aside_do(struct bpull_disk *disk, const struct aside_kind *kind);
bool aside_is_done(const struct bpull_disk *disk, const struct aside_kind *kind);
/* One is under way. */
bool aside_runs(const struct bpull_disk *disk);
/* A step of the job begins: nothing is done. */
void aside_begin_step(struct bpull_disk *disk);

#endif
