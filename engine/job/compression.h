/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The type of compression that a job asks for. */
#ifndef BLOCKPULL_JOB_COMPRESSION_H
#define BLOCKPULL_JOB_COMPRESSION_H

#include "io/base.h"

struct bpull_disk;
struct bpull_job_options;
struct err;

/* Refuses a type that the overlay can't take. Writes nothing. Reads its tables on disk, for which
 * it waits until no commit runs. 0, or -errno with a sentence. */
int compression_check(struct bpull_disk *disk, const struct bpull_job_options *options,
		      struct err *err);
/* Looks again, and writes the type into the header, blocking. The options name a type. 0, or -errno
 * with a sentence; the disk is poisoned then where it is unknown which type the header has. */
int compression_set(struct bpull_disk *disk, const struct bpull_job_options *options,
		    struct err *err);

#endif
