/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The phase of a copy run that pays for its bytes, and the queue of those that wait for tokens.
 */
#ifndef BLOCKPULL_COPY_CHARGE_H
#define BLOCKPULL_COPY_CHARGE_H

#include <stdint.h>

#include "engine/copy/walk/requests.h"
#include "engine/core/op.h"
#include "engine/core/rate/limiter.h"
#include "io/base.h"

struct bpull_disk;
struct copy_run;

/* The job's rate, and the runs that wait for tokens, its own or the engine's. */
struct throttle {
	struct limiter limiter;
	struct copy_run *first, *last; /* FIFO */
	/* Bytes of the engine's tokens that the job has had: the job with the fewest is next. */
	uint64_t shared_turn;
};

/* The job's rate from now on: bytes/s, 0 for none; burst as limiter_set(). */
void throttle_set_speed(struct bpull_disk *disk, uint64_t now_ns, uint64_t bandwidth,
			uint64_t burst);

/* What a run has paid. */
struct run_charge {
	uint32_t paid_len;    /* bytes charged to the limiters for what is mapped next */
	uint64_t charged_len; /* bytes charged and not done */
	struct copy_run *next_throttled;
	struct run_requests requests;
};

/* Lets runs go that the limits allow by now. Returns when the next one may go; UINT64_MAX: none
 * waits. */
uint64_t throttle_release(struct bpull_disk *disk, uint64_t now_ns);
/* Cancels the runs that wait for tokens: they have done nothing yet. */
void throttle_cancel(struct bpull_disk *disk);
/* Lets runs go at once that wait for tokens with their clusters locked, where a guest or a pause
 * waits for them. */
void throttle_bypass(struct bpull_disk *disk);

/* The bytes that the run was charged for are read and written: they are not in flight any more. */
void copy_run_paid_is_done(struct copy_run *p);

/* The phase CHARGE. */
enum step copy_run_charge(struct copy_run *p);

#endif
