/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A commit in flight: its phases, and what commit.c and header.c share. */
#ifndef BLOCKPULL_COMMIT_STATE_H
#define BLOCKPULL_COMMIT_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/commit/commit.h"
#include "engine/core/op.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/io.h"

struct bpull_disk;

/* The table writes of the commit in flight found no space, or no memory: it stands still until
 * commit_retry(). Nothing was written wrongly, so it may be tried as often as there may be space
 * again. */
bool commit_is_stalled(const struct bpull_disk *disk);
/* A commit is in flight, stalled or not. */
bool commit_is_running(const struct bpull_disk *disk);
/* A commit is in flight that ends by itself: it is not stalled. */
bool commit_will_end(const struct bpull_disk *disk);
/* No commit begins until commit_release(), and operations that want one wait: a job is going to
 * write the header itself, with no commit in flight. */
void commit_hold(struct bpull_disk *disk);

/* Ends commit_hold(): operations that waited for a commit run again. */
void commit_release(struct bpull_disk *disk);

enum commit_phase {
	COMMIT_WRITE_REFCOUNT,
	COMMIT_DATA_BARRIER,
	COMMIT_BARRIER,
	COMMIT_LET_GO, /* what the last batch's entries replaced is counted free */
	COMMIT_WRITE_REFTABLE,
	COMMIT_REFTABLE_BARRIER,
	COMMIT_WRITE_TABLES,
	COMMIT_LAST_BARRIER,
	COMMIT_HEADER,     /* enum header_phase */
	COMMIT_LET_GO_NOW, /* and what this batch's entries replaced */
	COMMIT_DONE,
};

enum header_phase {
	HEADER_READ, /* reads the bytes that are to be replaced */
	HEADER_WRITE,
	HEADER_BARRIER,
	HEADER_LINK_GONE,
	HEADER_LOOK_AT, /* there was no space for the write: reads what came through of it */
	HEADER_COMPARE,
	HEADER_RESTORE,
	HEADER_RESTORE_BARRIER,
	HEADER_LINK_KEPT,
};

struct commit {
	struct op op;
	enum commit_kind kind;
	enum commit_phase phase;
	enum header_phase header_phase;
	struct staged staged;
	enum stage writing_lo, writing_hi; /* stages whose writes are in flight: [lo, hi) */
	struct io_req *writes;
	struct io_req sync;
	/* The bytes that the new header replaces, [header_off, header_off + header_len) of the
	 * file, read before; and room for as many, to compare with them. NULL: the file has no
	 * header. */
	uint8_t *old_header;
	struct io_req header; /* reads old_header, or writes it back */
	uint64_t header_off, header_len;
	int header_error; /* -errno of the new header's write or barrier: the old one goes back */
	bool barrier_failed; /* header_error is the barrier's */
	bool synced;         /* a barrier of the image's file was submitted */
	bool stalled;        /* the writes found no space, and wait for commit_retry() */
	int stall_error;     /* the error that stalled it: no space, or no memory */
	unsigned n_gone_on;  /* job.n_gone_on when the writes were begun or tried again */
	uint64_t number;     /* disk_commits.n_begun as the commit began */
	struct table_need need;
};

/* Submits all writes of the stages [lo, hi), which may go in any order. */
enum step commit_write_stages(struct commit *commit, enum stage lo, enum stage hi);
/* Submits a barrier of the image's file. */
enum step commit_barrier(struct commit *commit);
/* Frees the commit, and wakes the operations that waited for it. */
void commit_end(struct commit *commit);

/* Every operation that waits for the commit's end runs again. */
void commit_wake_waiters(struct bpull_disk *disk, int error);
/* Before the disk is closed: drops a stalled commit, with what it would have written. */
void commit_abandon(struct bpull_disk *disk);
/* The disk gets another image: forgets what this one has not made durable, and that it was
 * poisoned. No commit may be running but a stalled one. */
void commit_forget(struct bpull_disk *disk);

#endif
