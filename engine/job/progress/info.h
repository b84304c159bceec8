/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The numbers of a job that any thread may read. */
#ifndef BLOCKPULL_JOB_INFO_H
#define BLOCKPULL_JOB_INFO_H

#include <stdint.h>

#include "engine/blockpull.h"
#include "io/base.h"

struct bpull_disk;
struct bpull_job_info;

/* Before the disk can be seen by other threads. */
void job_init_control(struct bpull_disk *disk);
/* When no other thread can see the disk any more. */
void job_free_control(struct bpull_disk *disk);
/* A job of this type begins, which goes to that guest offset. */
void job_begin_info(struct bpull_disk *disk, enum bpull_job_type type, uint64_t end);
/* All is copied: programs may see that cur is end. */
void job_reach_end(struct bpull_disk *disk);
/* The job is over, and bpull_job_get_info() tells with which status. */
void job_publish_end(struct bpull_disk *disk, enum bpull_job_status status, uint64_t now_ns);
/* Shows the job's state and counters to bpull_job_get_info(). */
void job_publish_info(struct bpull_disk *disk, uint64_t now_ns);
/* What was shown last, but for the time, which goes on where no round is run. Any thread. */
void job_read_info(struct bpull_disk *disk, struct bpull_job_info *out);

#endif
