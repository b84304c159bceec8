/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A job's limit, as what was asked of it and how far it is ask for. */
#ifndef BLOCKPULL_JOB_PACE_H
#define BLOCKPULL_JOB_PACE_H

#include <stdint.h>

struct bpull_disk;
struct bpull_job_options;
struct bpull_job_rates;

/* The job begins with these. */
void pace_begin(struct bpull_disk *disk, const struct bpull_job_options *options, uint64_t now_ns);
/* Its walk has, too: the first limit, before anything is read. */
void pace_start(struct bpull_disk *disk, uint64_t now_ns);
/* Another bandwidth was asked for; and what else rates->which names. */
void pace_set_speed(struct bpull_disk *disk, uint64_t bandwidth, uint64_t burst, uint64_t now_ns);
void pace_set_rates(struct bpull_disk *disk, const struct bpull_job_rates *rates, uint64_t now_ns);
/* After each round: sets the limit anew where that is due. */
void pace_run(struct bpull_disk *disk, uint64_t now_ns);
/* When that is due; UINT64_MAX: never, the limit stays what was asked for. */
uint64_t pace_deadline_ns(const struct bpull_disk *disk);
/* Puts what is known of it into the job's counters. */
void pace_tell(struct bpull_disk *disk, uint64_t now_ns);

#endif
