/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef BLOCKPULL_VERIFY_H
#define BLOCKPULL_VERIFY_H

#include <stdbool.h>

#include "engine/copied.h"
#include "engine/engine.h"
#include "io/io.h"

#define HOLE_SAMPLE_LEN 4096u

/* Samples of what raw files' file systems call holes, one after the other (verify_holes.c). */
struct hole_samples {
	struct op op;       /* first */
	bool reading, done; /* one is in flight; there are no more */
	unsigned depth;     /* of the layer that is looked at */
	uint64_t off;       /* byte in its file: all before it was looked at */
	struct file *file;
	uint64_t at, next_off; /* the sample in flight; `off` when it was zeros */
	struct io_req req;
	uint8_t block[HOLE_SAMPLE_LEN];
};

/* A job's BPULL_JOB_VERIFY: what was copied and not read back yet. */
struct verify {
	struct hole_samples holes;
	struct copied_list list;
	size_t max_items; /* then it is read back before more is copied */
	bool uncached;    /* the page cache has none of it: reading it back has begun */
	bool uncaching;
	size_t next; /* of the list, to be read back */
	unsigned n_reading;
	enum job_step after; /* the step when all is read back */
};

/* A new job is to verify. 0 or -ENOMEM. */
int verify_open(struct bpull_disk *disk);
/* Nothing of it is in flight. */
void verify_close(struct bpull_disk *disk);
/* Is what is copied from now on to be noted? */
bool verify_is_on(const struct bpull_disk *disk);
/* So much is noted that it must be read back before the cursor goes on. */
bool verify_is_full(const struct bpull_disk *disk);
/* Is something noted? */
bool verify_has_any(const struct bpull_disk *disk);
/* Reading it back or sampling holes, or about to end that. */
bool verify_is_busy(const struct bpull_disk *disk);
/* The guest is about to change [guest_off, guest_off + len) and has its clusters locked. */
void verify_forget(struct bpull_disk *disk, uint64_t guest_off, uint64_t len);
/* The job begins: from now on --holes=trust is not enough for the chain's files, whose holes need a
 * known file system. */
void verify_holes_begin(struct bpull_disk *disk);
/* Samples the holes that it does believe. True: all of them were zeros. A sample that is not fails the
 * job with -EBADMSG. To be called again after each round until then. */
bool verify_holes(struct bpull_disk *disk);
/* Everything noted is durable and nothing is copied meanwhile: reads it back. True: all of it is
 * read, and nothing noted any more. A difference fails the job with -EBADMSG. */
bool verify_run(struct bpull_disk *disk);

#endif
