/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How an active commit comes to its end beside a guest that writes. It copies what was written
 * since its last look, and looks again, until that is so little that the guest can wait for it.
 * Where the guest writes as fast as the job copies that would never be: after a few looks in vain
 * it may write half as fast as the job copies, so that each look finds half as much.
 *
 * Letting a guest's writes go to both images was rejected: each would take as long as the slower
 * one does, from READY on, and be two that can fail.
 *
 * Pure. Bytes of the guest's disk.
 */
#ifndef BLOCKPULL_CORE_CONVERGE_H
#define BLOCKPULL_CORE_CONVERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/base.h"

/* Looks at a guest that is not slowed. */
#define CONVERGE_FREE_LOOKS 4u

/* Zero-initialised it has not looked. */
struct converge {
	unsigned n_looks;
	uint64_t look_len; /* what the last one found, which is copied now */
};

/* It has looked in vain for long enough: the guest may be made to wait. */
static inline bool converge_may_slow(const struct converge *c)
{
	return c->n_looks > CONVERGE_FREE_LOOKS;
}
/* What was written is looked at, and copied next. */
void converge_look(struct converge *c, uint64_t written_len);
/* The guest can wait for what it wrote since the last look: that is little for a job that may copy
 * `rate` bytes/s (0: no limit), or it becomes no less. */
bool converge_is_near(const struct converge *c, uint64_t written_len, uint64_t rate);
/* The guest is to wait for the job: of what the last look found left_len is to be copied still. */
bool converge_is_too_fast(const struct converge *c, uint64_t left_len, uint64_t written_len,
			  uint64_t rate);
/* Of written_len, what counts there while n_read of n items are read back: nothing is copied
 * meanwhile, and a guest that waited for all of them would stand still for as long. What is left
 * out is at most a quarter of the last look, so that looks still find less and less. */
uint64_t converge_count_written(const struct converge *c, uint64_t written_len, size_t n_read,
				size_t n);

#endif
