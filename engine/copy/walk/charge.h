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
	/* Bytes of the engine's tokens that the job has taken; raised to the others' when it begins
	 * to wait, so that it saves none up. The waiting job with the fewest is next. */
	uint64_t shared_turn;
};

/* The job's rate from now on: bytes/s, 0 for none; burst as limiter_set(). */
void throttle_set_speed(struct bpull_disk *disk, uint64_t now_ns, uint64_t bandwidth,
			uint64_t burst);

/* What a run has paid. */
struct run_charge {
	/* Bytes that were charged while the run waited without its lock: it maps again, and they
	 * count for what it finds then. */
	uint32_t paid_len;
	uint64_t charged_len; /* bytes charged, and not yet read and written */
	struct copy_run *next_throttled;
	struct run_requests requests;
};

/* Lets the disk's waiting runs go that the limits allow by now. Returns when the next one may go;
 * UINT64_MAX: none waits, or what is in flight must end first. */
uint64_t throttle_release(struct bpull_disk *disk, uint64_t now_ns);
/* Cancels the runs that wait for tokens: they have done nothing yet. */
void throttle_cancel(struct bpull_disk *disk);
/* A guest or a pause may wait for clusters that runs have locked while they wait for tokens: lets
 * those runs go at once. */
void throttle_bypass(struct bpull_disk *disk);

/* The bytes that the run was charged for are read and written: they are not in flight any more. */
void copy_run_paid_is_done(struct copy_run *p);

/* The phase CHARGE. */
enum step copy_run_charge(struct copy_run *p);

#endif
