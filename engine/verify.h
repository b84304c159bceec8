/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef BLOCKPULL_VERIFY_H
#define BLOCKPULL_VERIFY_H

#include <stdbool.h>

#include "engine/copied.h"
#include "engine/engine.h"

/* A job's BPULL_JOB_VERIFY: what was copied and not read back yet. */
struct verify {
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
/* Reading it back, or about to end that. */
bool verify_is_busy(const struct bpull_disk *disk);
/* The guest is about to change [guest_off, guest_off + len) and has its clusters locked. */
void verify_forget(struct bpull_disk *disk, uint64_t guest_off, uint64_t len);
/* Everything noted is durable and nothing is copied meanwhile: reads it back. True: all of it is
 * read, and nothing noted any more. A difference fails the job with -EBADMSG. */
bool verify_run(struct bpull_disk *disk);

#endif
