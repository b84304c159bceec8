/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a job does between two of its steps and waits for files: on a worker (core/aside.h). Each
 * function says whether it is done; until then the job looks again, round after round. What fails
 * ends the job.
 */
#ifndef BLOCKPULL_JOB_ENDS_H
#define BLOCKPULL_JOB_ENDS_H

#include <stdbool.h>

#include "io/base.h"

struct bpull_disk;

/* Space that failed runs gave back below what others published: a format that can't note it takes
 * it out. Everything is committed and nothing in flight. A failure is that of a commit (I7). */
bool job_reclaim(struct bpull_disk *disk);
/* What is kept of the tables outside the cache is as on disk. */
bool job_reread(struct bpull_disk *disk);
/* Runs that failed wrote behind the end of what is in use: on a full disk the tables need it. */
bool job_give_back_space(struct bpull_disk *disk);
/* The layers that the overlay does not read any more are closed: their owners have them. */
bool job_close_dropped(struct bpull_disk *disk);
/* The image of a node is a backing file again, if all that was written to it is durable. True where
 * the disk is none. */
bool job_rest_node(struct bpull_disk *disk);
/* The new file of a flatten is made durable under its name. */
bool job_finish_flatten(struct bpull_disk *disk);
/* The new file of a flatten that is not to be is removed. */
bool job_abandon_flatten(struct bpull_disk *disk);

#endif
