/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Where in a disk's chain a job works, as its options name it. */
#ifndef BLOCKPULL_API_JOB_LAYERS_H
#define BLOCKPULL_API_JOB_LAYERS_H

#include <stdbool.h>

#include "engine/blockpull.h"
#include "io/base.h"

struct err;

/* Of a job's files: the layer that it begins in and, for a commit, that which gets it. */
struct job_layers {
	unsigned top, base; /* depth in the disk's chain */
	bool is_commit;
};

/* Which it is, and in *out the disk whose link the job changes: the disk itself, or a new node of
 * it (node_free()). 0, or -EINVAL, -ENOTSUP, -EROFS with a sentence. Blocks. */
int job_layers_find_worker(struct bpull_disk *disk, const struct bpull_job_options *o,
			   struct job_layers *layers, struct bpull_disk **out, struct err *err);
/* Of a commit: the layers [from, to) of that one's chain go into layer `to`. */
unsigned job_layers_from(const struct job_layers *layers);
unsigned job_layers_to(const struct job_layers *layers);
/* As the worker's job sees the options. An image that is committed into the next file, or that is
 * kept, keeps its link. */
struct bpull_job_options job_layers_options(const struct bpull_job_options *options,
					    const struct bpull_disk *disk,
					    const struct job_layers *layers);

#endif
