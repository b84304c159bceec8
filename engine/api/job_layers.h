/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Which layers of a disk's chain a job works on, as its options name them. */
#ifndef BLOCKPULL_API_JOB_LAYERS_H
#define BLOCKPULL_API_JOB_LAYERS_H

#include <stdbool.h>

#include "engine/blockpull.h"
#include "io/base.h"

struct err;

/* Depths in the opened disk's chain. */
struct job_layers {
	unsigned top;  /* the layer that a pull fills, or the highest that a commit copies */
	unsigned base; /* only for a commit: the layer that it writes to */
	bool is_commit;
};

/* Finds the layers, and the worker: the disk whose link the job changes, which is the disk itself,
 * or a new node of it (to be freed by node_free()). 0, or -EINVAL, -ENOTSUP, -ENOMEM with a
 * sentence. Blocks. */
int job_layers_find_worker(struct bpull_disk *disk, const struct bpull_job_options *o,
			   struct job_layers *layers, struct bpull_disk **out, struct err *err);
/* For a commit: the layers [from, to) of the worker's chain are copied into its layer `to`. */
unsigned job_layers_from(const struct job_layers *layers);
unsigned job_layers_to(const struct job_layers *layers);
/* The options as the worker's job is to see them: `base` by its layer's name, or NULL where the
 * worker keeps its link, since its image is committed into the next file, or is kept. */
struct bpull_job_options job_layers_options(const struct bpull_job_options *options,
					    const struct bpull_disk *disk,
					    const struct job_layers *layers);

#endif
