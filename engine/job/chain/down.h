/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Commits: what the layers [from, to) of a disk's chain hold is copied into layer `to`.
 *
 * from 1: the layers below the image go into one of them; then the image's link leads there, as
 * after a pull to a base. from 0, an active commit: the image's own bytes go down, too, while its
 * guest writes; at the end layer `to` becomes the image.
 *
 * I10: A byte of layer `to` changes only where a layer above it, of those that are committed, holds
 * that byte: so no disk that reads through those layers sees the change.
 * I11: A link that leads around those layers, and an emptied image, become durable only after all
 * that they held is durable in layer `to`.
 */
#ifndef BLOCKPULL_JOB_DOWN_H
#define BLOCKPULL_JOB_DOWN_H

#include <stdbool.h>

#include "engine/copy/walk/walk.h"
#include "engine/core/disk.h"
#include "io/base.h"

struct bpull_job_options;

static inline bool down_is_on(const struct bpull_disk *disk)
{
	return disk->walk->down.into;
}

static inline bool down_is_active(const struct bpull_disk *disk)
{
	return down_is_on(disk) && !disk->walk->down.from;
}

/* The disk whose image the job writes to. */
static inline struct bpull_disk *job_written(struct bpull_disk *disk)
{
	return down_is_on(disk) ? disk->walk->down.into : disk;
}

/* Layer `to` is as long as the disk, and a guest that is held has come to rest: runs may go. */
bool down_prepare_copy(struct bpull_disk *disk);
/* A guest that is held goes on, and calls that walk the chain do. */
void down_let_guest_go(struct bpull_disk *disk);
/* Once a round, before the job's step: where layer `to` could not be written the job fails, or
 * stops; the guest of an active commit waits, or goes on, by how fast it writes. */
void down_run(struct bpull_disk *disk);
/* All that was owed is in layer `to`, durably. True: the end may come. False: the guest has written
 * meanwhile, and a step was set. */
bool down_end_proving(struct bpull_disk *disk);
/* The program wants the end of an active commit that waits for it. */
void down_finalize(struct bpull_disk *disk);
/* Makes all that is in layer `to` durable. True: it is, and a link may lead there. False: not yet,
 * or the job has failed. */
bool down_settle(struct bpull_disk *disk);
/* Layer `to`, to which the image's link leads, or did, is the disk's image. True: it is done. */
bool down_pivot(struct bpull_disk *disk);
/* The job is about to end: layer `to` is a backing file again, unless it is the image; the guest
 * goes on. True: it is done. */
bool down_rest(struct bpull_disk *disk);
/* The job is over. */
void down_end(struct bpull_disk *disk);

#endif
