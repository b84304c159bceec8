/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A token bucket. */
#ifndef BLOCKPULL_CORE_LIMITER_H
#define BLOCKPULL_CORE_LIMITER_H

#include <stdint.h>

#include "io/base.h"

/* A token bucket. Its tokens are bytes, or requests where the caller says so. Zero-initialised it
 * is unlimited. */
struct limiter {
	uint64_t rate;      /* bytes/s; 0: unlimited */
	uint64_t burst;     /* bytes the bucket holds */
	int64_t tokens;     /* bytes; below 0 after a request larger than the bucket */
	uint64_t fraction;  /* of a byte: 10^-9 each, 0 .. 999999999 */
	uint64_t filled_ns; /* the time up to which `tokens` counts what was earned */
	uint64_t in_flight; /* bytes charged and not done */
	/* Bytes that a request waits for: the bucket holds at least so much, whatever is in
	 * flight. */
	uint64_t wanted;
};

/* Sets or changes the limit, at once: what was earned so far is kept up to the new burst. burst 0:
 * a tenth of a second of the rate. An unlimited bucket that becomes limited begins empty. */
void limiter_set(struct limiter *limiter, uint64_t now_ns, uint64_t rate, uint64_t burst);
/* When `bytes` may go: now_ns or earlier if at once. UINT64_MAX: not before some of what is in
 * flight is done; ask again then. */
uint64_t limiter_ready_ns(struct limiter *limiter, uint64_t now_ns, uint64_t bytes);
/* Bytes that are earned and not used; below 0: owed. 0 if there is no limit. */
int64_t limiter_saved(struct limiter *limiter, uint64_t now_ns);
/* Charges bytes for which limiter_ready_ns() said now. They are in flight until limiter_done(). */
void limiter_charge(struct limiter *limiter, uint64_t now_ns, uint64_t bytes);
/* So many of the bytes in flight are read and written. */
void limiter_done(struct limiter *limiter, uint64_t now_ns, uint64_t bytes);

#endif
