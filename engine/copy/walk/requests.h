/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The limit on requests: how many reads and writes of data copy runs may hand to files in a second,
 * beside how many bytes. Tables, barriers and clones are not counted.
 */
#ifndef BLOCKPULL_COPY_REQUESTS_H
#define BLOCKPULL_COPY_REQUESTS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/core/rate/limiter.h"
#include "io/base.h"

struct bpull_disk;
struct copy_run;

/* A job's; its tokens are requests. */
struct request_rate {
	struct limiter limiter;
	uint64_t n_prepaid; /* paid for by runs that wrote less often than they had paid for */
	uint64_t n_done;    /* requests that the job has made */
};

/* A run's. */
struct run_requests {
	uint32_t n_paid_reads, n_paid_writes; /* and not made yet */
	uint64_t n_charged;                   /* and not done */
};

/* The job's limit from now on: requests/s, 0 for none. */
void requests_set_rate(struct bpull_disk *disk, uint64_t now_ns, uint64_t iops);
/* Such a limit holds for the run: its job's or its engine's. */
bool requests_are_limited(const struct copy_run *run);
/* When the run's requests may go, as limiter_ready_ns() says it. */
uint64_t requests_ready_ns(struct copy_run *run, uint64_t now_ns);
/* Pays for them: what the plan reads, and one write. */
void requests_charge(struct copy_run *run, uint64_t now_ns);
/* So many were submitted. What was not paid for is charged now, and waited for by later runs. */
void requests_note_reads(struct copy_run *run, uint32_t n);
void requests_note_writes(struct copy_run *run, uint32_t n);
/* They have ended, and so has the run, or its piece. */
void requests_end(struct copy_run *run);

#endif
