/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The proof that a backing link may go: a set of places, not a sum.
 *
 * When a job starts, every byte of the guest's disk is owed. A byte is settled
 * by evidence alone:
 *
 *   - a walk over the tables as they are on disk (JOB_PROVING) finds that the
 *     overlay holds it, or that no layer of the chain that is to go does;
 *   - a run read it from the chain, under a lock, while the overlay lacked it,
 *     and found zeros, which is what it will read without the chain;
 *   - a top without tables has it written (a raw file that is flattened into).
 *
 * What a run skipped, gave up or forgot stays owed, and is walked again. The
 * link goes when nothing is owed. Since its memory is bounded the set may hold
 * too much: then some zeros are read once more.
 */
#ifndef BLOCKPULL_COPY_PROOF_H
#define BLOCKPULL_COPY_PROOF_H

#include <stdbool.h>
#include <stdint.h>

#include "io/base.h"

struct bpull_disk;
struct table_need;

/* Call it before a job starts, and before anything is changed for it: gives the job's sets so much
 * memory that they never fail later. 0 or -ENOMEM. */
int proof_begin(struct bpull_disk *disk);
/* The job begins: all is owed, to the end of the longest disk that reads through the link. Not
 * earlier, since only a format that is ready for writing knows its snapshots, and so that end. */
void proof_owe_all(struct bpull_disk *disk);
void proof_end(struct bpull_disk *disk);
/* There is evidence that the guest bytes [lo, hi) need no chain: they are not owed any more. Does
 * nothing without a job. */
void proof_settle(struct bpull_disk *disk, uint64_t lo, uint64_t hi);
bool proof_is_complete(const struct bpull_disk *disk);

/* A proving walk has come to [guest_off, guest_off + len), which the overlay lacks on disk: settles
 * the parts that read as zeros through the chain. The rest stays owed, for a copying walk. *done:
 * bytes passed. 0, TABLE_NEED (after *done bytes) or -errno. */
int proof_pass_lacking(struct bpull_disk *disk, uint64_t guest_off, uint64_t len, uint64_t *done,
		       struct table_need *need);

#endif
