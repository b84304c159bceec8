/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Merging writes that lie side by side. */
#ifndef BLOCKPULL_CORE_MERGE_H
#define BLOCKPULL_CORE_MERGE_H

#include <stdbool.h>
#include <stdint.h>

#include "io/base.h"

struct bpull_engine;
struct io_req;
struct op;

#define MERGE_QUEUE 64

/* Writes asked for in this round of the engine, not submitted yet. */
struct merge_queue {
	struct io_req *reqs[MERGE_QUEUE];
	unsigned n;
	/* How many of them, from the end, will be one write, and the bytes of that. */
	unsigned n_last;
	uint64_t last_len;
};

/* As op_submit(), for a write of a single buffer, but queued until merge_flush(), which may submit
 * it as a part of a larger write. True: it will be a part of the write that was queued before it,
 * and so costs no request of its own. */
bool merge_write(struct op *op, struct io_req *req);
/* Submits the queue, at the end of a round. */
void merge_flush(struct bpull_engine *engine);

#endif
