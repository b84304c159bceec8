/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What forbids a job: in one file for a start and for a dry run, so that both say the same. It
 * changes nothing, in memory or on disk.
 */
#ifndef BLOCKPULL_API_REFUSE_H
#define BLOCKPULL_API_REFUSE_H

#include <stdbool.h>

#include "io/base.h"

struct bpull_disk;
struct bpull_job_options;
struct err;
struct job_layers;
struct target;

/* Refuses what can be known before a file is opened for the job, and finds its target, whose
 * base_name the caller frees, also after an error. A dry run of a pull is allowed on a disk that is
 * open for reading only. 0, or -errno with a sentence. Blocks. */
int refuse_job_on(struct bpull_disk *worker, const struct bpull_job_options *o,
		  const struct job_layers *layers, bool is_start, struct target *target,
		  struct err *err);
/* Refuses what is in the files: what would stop the job later, and damage that it would copy. Call
 * it after job_take_target(), and before a file is opened for writing. 0, or -errno with a
 * sentence. Blocks. */
int refuse_image(struct bpull_disk *worker, const struct bpull_job_options *o,
		 const struct job_layers *layers, bool is_start, struct err *err);
/* For a dry run: refuses a user who may not write to the files that are open for reading only and
 * are to be written to. A start finds that out when it opens them for writing. */
int refuse_user(const struct bpull_disk *worker, const struct job_layers *layers, struct err *err);
/* There is nothing to do for a pull down to layer pull_to. */
bool refuse_is_idle(const struct bpull_disk *disk, unsigned pull_to);
/* layer_begin_writing() must not be called for the image: it was, as the disk was opened for a
 * guest; or an earlier job's tables are still only in memory, since there was no space, and the
 * audit of the tables on disk would take what they lead to for leaked, and free it. This says
 * nothing of the files below the image. */
bool refuse_is_prepared(const struct bpull_disk *disk);

#endif
