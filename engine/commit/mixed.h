/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The mark in the image that a backing file changed while it was copied. */
#ifndef BLOCKPULL_COMMIT_MIXED_H
#define BLOCKPULL_COMMIT_MIXED_H

#include <stdbool.h>
#include <stdint.h>

#include "io/base.h"

struct bpull_disk;
struct err;
struct layer;

/* Fails the job if a file of the chain was changed since it was opened: 0 or -ESTALE. -EAGAIN: that
 * is not known yet, and the caller is to ask again in the next round. */
int mixed_check_files(struct bpull_disk *disk);
/* The last thing that a job does which keeps its link, whatever ended it, when its runs and commits
 * are over. Where a file of the chain was changed the image is marked, and the job's message says
 * so. A worker writes the header (core/aside.h). False: not yet. */
bool mixed_mark(struct bpull_disk *disk);
/* The same when the disk is closed, for a change that no job has seen: after a job's end, or beside
 * copies that follow reads. Nothing is in flight, and what could be made durable is. */
void mixed_mark_closing(struct bpull_disk *disk);
/* The link is gone, durably: takes away the mark that the job was told to accept. As
 * mixed_mark(). */
bool mixed_clear(struct bpull_disk *disk);
/* -EPERM with a sentence: the image is marked, and the job does not accept that. */
int mixed_refuse(const struct layer *overlay, bool accepts, struct err *err);
/* That, and -ESTALE: the job does, but what this disk has in memory of the changed file is of its
 * earlier state. */
int mixed_check(const struct bpull_disk *disk, uint32_t job_flags, struct err *err);
/* For the disk's warning: what reads this disk reads a mixture. NULL: it does not. malloc'd. */
char *mixed_warning(const struct bpull_disk *disk);

#endif
