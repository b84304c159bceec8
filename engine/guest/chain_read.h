/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Reading guest bytes from whatever layers of the chain hold them. */
#ifndef BLOCKPULL_GUEST_CHAIN_READ_H
#define BLOCKPULL_GUEST_CHAIN_READ_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "engine/core/op.h"
#include "engine/core/ranges/range_set.h"
#include "io/base.h"

struct bpull_disk;
struct extent;
struct chain_read_part;
struct table_need;

/* A read of a range of the guest's disk, from the layers that hold it, into a vector of buffers. An
 * operation embeds this struct and calls chain_read_step(). */
struct chain_read {
	struct op *op;
	const struct iovec *iov; /* the operation's: it must stay until chain_read_end() */
	unsigned n_iov;
	uint64_t guest_off, len; /* the range; bytes behind the disk's end read as zeros */
	uint64_t done;           /* of len: bytes mapped or read */
	struct chain_read_part *parts;
	unsigned n_parts, max_parts;
	bool decoding;
	bool may_join; /* parts that cost may come from copy runs (copy/walk/readers.h) */
	/* Offsets in the range. Where a copy run has let the reader go, `done` goes back, and the
	 * bytes up to `to` are read once more; then the rest from `resume` on. */
	struct {
		uint64_t to, resume;
		unsigned n;    /* how often that happened in a row */
		bool is_alone; /* a run could not read: up to `to` no run is joined */
	} again;
	bool has_data; /* some of it does not read as zeros by the tables */
	/* Guest bytes read from layers below the overlay; and those of them that were not read by a
	 * copy run. lo == hi: none. */
	struct range below, alone;
	bool is_late; /* it joined a run that was reading already: its time tells too little */
};

/* Finds the first extent of the guest bytes [at, at + len). Bytes behind the disk's end are zeros.
 * 0, TABLE_NEED or -errno. */
int chain_read_map(struct bpull_disk *disk, uint64_t at, uint64_t len, struct extent *e,
		   struct table_need *need);
/* Sets a read up. The first chain_read_step() submits it. */
void chain_read_begin(struct chain_read *read, struct op *op, const struct iovec *iov,
		      unsigned n_iov, uint64_t guest_off, uint64_t len);
/* STEP_WAIT: call it again when the operation runs next. STEP_NEXT: all is read, or the operation
 * is in error. */
enum step chain_read_step(struct chain_read *read);
/* Frees what it holds, after success and after failure; no request of it may be in flight. */
void chain_read_end(struct chain_read *read);

#endif
