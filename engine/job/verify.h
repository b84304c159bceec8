/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Reading back what a job has copied. */
#ifndef BLOCKPULL_JOB_VERIFY_H
#define BLOCKPULL_JOB_VERIFY_H

#include <stdbool.h>

#include "io/base.h"

struct bpull_disk;

/* A new job is to verify. 0 or -ENOMEM. */
int verify_open(struct bpull_disk *disk);
/* Frees what the job noted. Nothing of it is in flight. */
void verify_close(struct bpull_disk *disk);
/* Something is being read back, sampled or dropped from the page cache. */
bool verify_is_busy(const struct bpull_disk *disk);
/* Everything noted is durable and nothing is copied meanwhile: reads it back. True: all of it is
 * read, and nothing noted any more. A difference fails the job with -EBADMSG. */
bool verify_run(struct bpull_disk *disk);

#endif
