/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Where in a disk's chain a job works, as its options name it. */
#ifndef BLOCKPULL_API_PLACE_H
#define BLOCKPULL_API_PLACE_H

#include <stdbool.h>

#include "engine/blockpull.h"
#include "io/base.h"

struct err;

/* Of a job's files: the layer that it begins in and, for a commit, that which gets it. */
struct place {
	unsigned top, base; /* depth in the disk's chain */
	bool is_commit;
};

/* Which it is, and in *out the disk whose link the job changes: the disk itself, or a new node of
 * it (node_free()). 0, or -EINVAL, -ENOTSUP, -EROFS with a sentence. Blocks. */
int place_find_worker(struct bpull_disk *disk, const struct bpull_job_options *o,
		      struct place *place, struct bpull_disk **out, struct err *err);
/* Of a commit: the layers [from, to) of that one's chain go into layer `to`. */
unsigned place_from(const struct place *place);
unsigned place_to(const struct place *place);
/* As the worker's job sees the options. An image that is committed into the next file, or that is
 * kept, keeps its link. */
struct bpull_job_options place_options(const struct bpull_job_options *options,
				       const struct bpull_disk *disk, const struct place *place);

#endif
