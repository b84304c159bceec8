/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The numbers of a job that any thread may read. */
#ifndef BLOCKPULL_JOB_INFO_H
#define BLOCKPULL_JOB_INFO_H

#include <stdint.h>

#include "io/base.h"

struct bpull_disk;

/* Before the disk can be seen by other threads. */
void job_init_control(struct bpull_disk *disk);
/* When no other thread can see the disk any more. */
void job_free_control(struct bpull_disk *disk);
/* Shows the job's state and counters to bpull_job_get_info(). */
void job_publish_info(struct bpull_disk *disk, uint64_t now_ns);

#endif
