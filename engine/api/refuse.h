/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What forbids a job: one place for a start and for a dry run, so that both say the same. Nothing
 * is changed by it, in memory or on disk.
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

/* All that can be known before a file is opened for the job. *target: its base_name is to be freed,
 * also after an error. A dry run of a pull may be asked of a disk that is open for reading only. 0,
 * or -errno with a sentence. Blocks. */
int refuse_job_on(struct bpull_disk *worker, const struct bpull_job_options *o,
		  const struct job_layers *layers, bool is_start, struct target *target,
		  struct err *err);
/* What is in the files, once the target is the worker's: what would stop the job later, and damage
 * that it would copy. Before any of them is opened for writing. */
int refuse_image(struct bpull_disk *worker, const struct bpull_job_options *o,
		 const struct job_layers *layers, bool is_start, struct err *err);
/* For a dry run: refuses a user who may not write to the files that are open for reading only and
 * are to be written to. A start finds that out when it opens them for writing. */
int refuse_user(const struct bpull_disk *worker, const struct job_layers *layers, struct err *err);
/* There is nothing to pull down to layer pull_to. */
bool refuse_is_idle(const struct bpull_disk *disk, unsigned pull_to);
/* The image may be written to: opening it audited it for the guest; or an earlier job's tables are
 * only in memory, for want of space: the check on disk would take what they lead to for leaked, and
 * free it. That says nothing of the files below it. */
bool refuse_is_prepared(const struct bpull_disk *disk);

#endif
