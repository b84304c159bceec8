/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Reading guest bytes from whatever layers of the chain hold them. */
#ifndef BLOCKPULL_GUEST_CHAIN_READ_H
#define BLOCKPULL_GUEST_CHAIN_READ_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "engine/core/op.h"
#include "io/base.h"

struct bpull_disk;
struct extent;
struct gather_part;
struct table_need;

/* Reading a range of the guest's disk, from whatever layers hold it, into a vector of buffers: a
 * part of an operation. */
struct chain_read {
	struct op *op;
	const struct iovec *iov; /* the operation's, as long as this goes on */
	unsigned n_iov;
	uint64_t guest_off, len; /* what is to be read; bytes behind the disk's end are zeros */
	uint64_t done;           /* of len, mapped or read */
	struct gather_part *parts;
	unsigned n_parts, max_parts;
	bool decoding;
	bool has_read; /* not all of it reads zeros by the tables */
	/* Guest bytes that came from below the overlay; lo == hi: none. */
	uint64_t below_lo, below_hi;
};

/* What lies at guest bytes [at, at + len): its first piece. Bytes behind the disk's end are zeros.
 * 0, TABLE_NEED or -errno. */
int gather_map(struct bpull_disk *disk, uint64_t at, uint64_t len, struct extent *e,
	       struct table_need *need);
/* Begins; nothing happens before the first chain_read_step(). */
void chain_read_begin(struct chain_read *g, struct op *op, const struct iovec *iov, unsigned n_iov,
		      uint64_t guest_off, uint64_t len);
/* STEP_WAIT: the operation is to call it again when it is run next. STEP_NEXT: all is there, or the
 * operation is in error. */
enum step chain_read_step(struct chain_read *g);
/* Frees what it holds; no request of it is in flight. To be called after success and failure. */
void chain_read_end(struct chain_read *g);

#endif
