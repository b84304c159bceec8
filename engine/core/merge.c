/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Writes of neighbouring runs as one. Islands of data lie apart on the guest's
 * disk, but what is copied of them lies together in the image: a write for each
 * of them costs a system call, a hand-over to a kernel thread and a request of
 * the device, 16 times a MiB. What operations write in one round of the engine
 * is collected, and what goes on where the last write ends is submitted with it.
 *
 * Runs of many islands in one buffer were rejected: all that a run does (zeros,
 * hashes, entries) counts on guest bytes that lie together.
 */
#include "engine/core/merge.h"

#include <stdlib.h>

#include "engine/core/disk.h"
#include "engine/core/op.h"
#include "io/base.h"
#include "io/io.h"

#define MERGE_MAX     32u
#define MERGE_MAX_LEN (2 * MiB)

struct merged {
	struct op op;
	struct io_req req;
	unsigned n;
	struct iovec iov[MERGE_MAX];
	struct io_req *parts[MERGE_MAX];
};

/* All parts end alike. Writing each once more after a failure would be a retry, and a file that
 * failed once is not trusted. */
static void end_merged(struct merged *m)
{
	for (unsigned i = 0; i < m->n; i++) {
		m->parts[i]->result = m->op.error ? m->op.error : (int64_t)m->parts[i]->len;
		op_io_done(m->parts[i]);
	}
	free(m);
}

static enum step merged_step(struct op *op)
{
	end_merged((struct merged *)op);
	return STEP_WAIT;
}

static void merged_fail(struct op *op)
{
	end_merged((struct merged *)op);
}

static const struct op_kind merged_kind = { "merged write", merged_step, merged_fail };

/* The request goes on where the n before it end, len bytes together: one write. */
static bool is_next_to(const struct io_req *first, unsigned n, uint64_t len,
		       const struct io_req *req)
{
	return n < MERGE_MAX && req->file == first->file && req->uncached == first->uncached &&
	       req->off == first->off + len && req->len <= MERGE_MAX_LEN - len;
}

/* How many of reqs[0..n) are one write. */
static unsigned n_contiguous(struct io_req *const *reqs, unsigned n)
{
	uint64_t len = reqs[0]->len;
	unsigned i = 1;

	for (; i < n && is_next_to(reqs[0], i, len, reqs[i]); i++)
		len += reqs[i]->len;
	return i;
}

bool merge_write(struct op *op, struct io_req *req)
{
	struct merge_queue *queue = &op->engine->merging;
	bool is_merged;

	if (queue->n == MERGE_QUEUE)
		merge_flush(op->engine);
	is_merged = queue->n && is_next_to(queue->reqs[queue->n - queue->n_last], queue->n_last,
					   queue->last_len, req);
	queue->n_last = is_merged ? queue->n_last + 1 : 1;
	queue->last_len = is_merged ? queue->last_len + req->len : req->len;
	req->owner = op;
	op->n_pending++;
	queue->reqs[queue->n++] = req;
	return is_merged;
}

static void submit_merged(struct bpull_engine *engine, struct io_req **reqs, unsigned n)
{
	struct merged *m = n > 1 ? calloc(1, sizeof(*m)) : NULL;
	bool offload = engine_guest_is_active(engine);
	uint64_t len = 0;

	if (!m) {
		for (unsigned i = 0; i < n; i++) {
			reqs[i]->offload = offload;
			io_submit(engine->io, reqs[i]);
		}
		return;
	}
	m->n = n;
	for (unsigned i = 0; i < n; i++) {
		m->parts[i] = reqs[i];
		m->iov[i] = reqs[i]->one;
		len += reqs[i]->len;
	}
	op_init(&m->op, &merged_kind, engine, NULL);
	io_req_write(&m->req, reqs[0]->file, NULL, len, reqs[0]->off);
	m->req.iov = m->iov;
	m->req.n_iov = n;
	m->req.uncached = reqs[0]->uncached;
	m->req.offload = offload;
	op_submit(&m->op, &m->req);
}

void merge_flush(struct bpull_engine *engine)
{
	struct merge_queue *queue = &engine->merging;

	for (unsigned i = 0, n; i < queue->n; i += n) {
		n = n_contiguous(&queue->reqs[i], queue->n - i);
		submit_merged(engine, &queue->reqs[i], n);
	}
	queue->n = 0;
}
