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

/* A job's limit. */
struct request_rate {
	struct limiter limiter; /* its tokens are requests */
	uint64_t n_prepaid; /* requests that runs paid for and did not make: free for later ones */
	uint64_t n_done;    /* requests that the job has made */
};
/* A run's requests. */
struct run_requests {
	uint32_t n_paid_reads, n_paid_writes; /* paid for, and not made yet */
	uint64_t n_charged;                   /* charged to the limiters, and not done */
};

/* The job's limit from now on: requests/s, 0 for none. */
void requests_set_rate(struct bpull_disk *disk, uint64_t now_ns, uint64_t iops);
/* The run's job or its engine has a limit on requests. */
bool requests_are_limited(const struct copy_run *run);
/* When the run's requests may go, as limiter_ready_ns() says it. */
uint64_t requests_ready_ns(struct copy_run *run, uint64_t now_ns);
/* Pays for the requests that the plan's reads take, and for one write. */
void requests_charge(struct copy_run *run, uint64_t now_ns);
/* The run has submitted n requests. Those that were not paid for are charged now, as a debt for
 * which later runs wait. */
void requests_note_reads(struct copy_run *run, uint32_t n);
void requests_note_writes(struct copy_run *run, uint32_t n);
/* The run, or one piece of it, has ended, and so have its requests. */
void requests_end(struct copy_run *run);

#endif
