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

/* Zero-initialised: the commit has not looked yet. */
struct converge {
	unsigned n_looks;
	uint64_t look_len; /* bytes that the last look found, and that are copied now */
};

/* So many looks were in vain that the guest may be made to wait. */
static inline bool converge_may_slow(const struct converge *c)
{
	return c->n_looks > CONVERGE_FREE_LOOKS;
}
/* A look has found written_len bytes, which are copied next. */
void converge_look(struct converge *c, uint64_t written_len);
/* The guest can be held while the job copies written_len bytes, written since the last look: that
 * is little for a job that may copy `rate` bytes/s (0: no limit), or further looks would not find
 * less. */
bool converge_is_near(const struct converge *c, uint64_t written_len, uint64_t rate);
/* The guest writes too fast, and is to wait. left_len: bytes of the last look that are still to be
 * copied; written_len: bytes written since. */
bool converge_is_too_fast(const struct converge *c, uint64_t left_len, uint64_t written_len,
			  uint64_t rate);
/* For converge_is_too_fast() while a job reads back, and n_read of n items are done: how much of
 * written_len counts. Nothing is copied meanwhile, so a guest that had to wait for all of it would
 * stand still as long. At most a quarter of the last look is left out, so looks still find less and
 * less. */
uint64_t converge_count_written(const struct converge *c, uint64_t written_len, size_t n_read,
				size_t n);

#endif
