/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Group commit, as the rest of the engine sees it: commit.c has the order of writes and its
 * invariants.
 */
#ifndef BLOCKPULL_COMMIT_COMMIT_H
#define BLOCKPULL_COMMIT_COMMIT_H

#include <stdbool.h>

#include "io/base.h"

struct bpull_disk;
struct op;

enum commit_kind {
	COMMIT_SOFT,   /* a batch: its table updates become durable with the next barrier */
	COMMIT_HARD,   /* all published so far is durable when it ends */
	COMMIT_DETACH, /* hard, and then the backing link is dropped, durably */
};

/* Begins a group commit of what the disk has published. Does nothing while one is in flight or held
 * back, or where the disk is poisoned: job_run() looks again when that is over. */
void commit_begin(struct bpull_disk *disk, enum commit_kind kind);
/* Tries the writes of a stalled commit again, if there is one. */
void commit_retry(struct bpull_disk *disk);
/* The error that stalled the commit in flight: -errno. There must be a commit in flight. */
int commit_stall_error(const struct bpull_disk *disk);
/* For a guest's request that needs the next commit: tries a stalled commit again, unless a job will
 * do so. False: it stays stalled until the job tries again. Then a request that holds a lock must
 * not wait, since the job's runs may wait for that lock. If the new try finds no space either, the
 * operations that wait for the commit get its error. */
bool commit_revive(struct bpull_disk *disk);
/* The commit in flight is to drop the link, or has just done so. */
bool commit_is_detaching(const struct bpull_disk *disk);
/* The job that wanted the link dropped is over, or gave up: a commit in flight that has not begun
 * to write the header becomes a hard one. */
void commit_keep_link(struct bpull_disk *disk);
/* Begins a commit if none is in flight, and makes the operation ready when it ends. False: none can
 * be begun (the disk is poisoned, or there is no memory). */
bool commit_await(struct bpull_disk *disk, enum commit_kind kind, struct op *op);
/* Makes the operation ready when the commit in flight ends, at once if there is none. */
void commit_wait(struct bpull_disk *disk, struct op *op);

#endif
