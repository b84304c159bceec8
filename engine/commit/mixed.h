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

/* Looks whether a backing file was changed since it was opened. 0: none was. -ESTALE: one was, and
 * the job fails of it. -EAGAIN: that is not known yet, and the caller is to ask again in the next
 * round. */
int mixed_check_files(struct bpull_disk *disk);
/* For a job that ends with its link kept, for whatever reason, when its runs and commits are over:
 * marks the image if a backing file was changed, and says so in the job's message. A worker writes
 * the header (core/aside.h). True: all is done. False: call it again in the next round. */
bool mixed_mark(struct bpull_disk *disk);
/* The same for a disk that is closed or given away, and at once: for a change that no job has seen,
 * since it came after a job's end, or beside copies that follow reads. Nothing is in flight, and
 * what could be made durable is. Blocks. */
void mixed_mark_closing(struct bpull_disk *disk);
/* For a job whose link is gone, durably: takes away the mark that the job was told to accept. True
 * and false as for mixed_mark(). */
bool mixed_clear(struct bpull_disk *disk);
/* 0, or -EPERM with a sentence: the image is marked, and the job does not accept that. */
int mixed_refuse(const struct layer *overlay, bool accepts, struct err *err);
/* As mixed_refuse(), for an open disk. Also -ESTALE: the job accepts the mark, but the backing file
 * was changed while this disk had it open, whose tables in memory may be those of before. */
int mixed_check(const struct bpull_disk *disk, uint32_t job_flags, struct err *err);
/* The disk's warning that an image which is read here is marked; the caller frees it. NULL: there
 * is none, or no memory. */
char *mixed_warning(const struct bpull_disk *disk);

#endif
