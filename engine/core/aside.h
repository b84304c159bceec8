/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Work of a job that waits for files, between two of the job's steps: it runs on a worker, so the
 * engine's rounds, which serve all guests, go on. A disk has one such work at a time. While it runs
 * the job stands still; guests' requests and commits do not.
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
	/* Called before work(), on the engine's thread. 0, or -errno: work() is not run, but end()
	 * is. May be NULL. */
	int (*begin)(struct bpull_disk *disk);
	/* Called on a worker: it may touch only what no operation and no call on the disk touches
	 * meanwhile. 0 or -errno. */
	int (*work)(struct bpull_disk *disk, struct err *err);
	/* Called after work(), on the engine's thread. Also called where begin() failed or no
	 * worker could be had: then rc is that error, and err has no sentence. May be NULL. */
	void (*end)(struct bpull_disk *disk, int rc, const struct err *err);
};

/* There are eleven kinds, and each is done once in a step at most. One that was still running as a
 * step began counts in that step. */
#define ASIDE_MAX_DONE 11

struct aside {
	struct op op;
	struct io_req req;
	const struct aside_kind *kind; /* what runs, or waits for walks to end; NULL: nothing */
	bool runs;                     /* `kind` runs: it does not wait for walks */
	bool was_run;                  /* the last one's work() ran, to its end */
	const struct aside_kind *done[ASIDE_MAX_DONE]; /* in this step of the job */
	unsigned n_done;
	int rc; /* of the last one that ended, as `err` */
	struct err err;
	void *state; /* what begin() keeps for end(): the kind's own */
	uint64_t n;  /* a count that the last one's work() leaves to the job */
};

/* True: the work was done in this step of the job, and its result is in disk->aside. False: it is
 * begun, or under way, or another one is; call again in a later round. */
bool aside_do(struct bpull_disk *disk, const struct aside_kind *kind);
bool aside_is_done(const struct bpull_disk *disk, const struct aside_kind *kind);
/* Some work runs on a worker. */
bool aside_runs(const struct bpull_disk *disk);
/* A step of the job begins: forgets what was done, and what waits for walks to end. */
void aside_begin_step(struct bpull_disk *disk);

#endif
