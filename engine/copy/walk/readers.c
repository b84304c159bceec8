/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A run's side of its readers. A reader joins a run that is about to read, or has read, what it
 * wants, and is served when the bytes are in the run's buffer: it waits for no write. It gets what
 * the layers below the overlay hold. These never change, and the overlay lacked the range when the
 * reader looked. A guest's write to the range that came since is in flight beside the read, which
 * may return the bytes of before.
 *
 * A reader waits for reads only. A run that has to wait for a lock, that finds the range in the
 * overlay, or that ends before it, lets the reader go, and the reader looks again. If the run can't
 * read, the reader reads for itself: what failed may be bytes that it does not want. But if the
 * source is away (-EHOSTUNREACH), or is not the same disk any more (-ESTALE), and both read from
 * it, the reader fails with the run: a guest waits for such a source once, not twice.
 *
 * Keeping what a guest has read until the run asks for it was rejected: the run would have to find
 * out which of its clusters that makes whole, and reads of one cluster that are in flight together
 * would each transfer it.
 */
#include "engine/copy/walk/readers.h"

#include <errno.h>

#include "engine/copy/walk/run_state.h"
#include "engine/core/fault.h"
#include "engine/core/op.h"
#include "engine/core/ranges/iov.h"
#include "io/base.h"

static void end_reader(struct run_reader *r, enum run_reader_state state)
{
	r->state = state;
	if (!--r->op->n_pending)
		op_ready(r->op);
}

void run_readers_fill(const struct copy_run *p, const struct run_reader *r)
{
	iov_fill(r->iov, r->n_iov, r->at, p->buf + (r->guest_off - p->guest_off), r->len);
}

void run_readers_serve(struct copy_run *p)
{
	struct run_readers *readers = &p->read.readers;

	/* Compressing changes the buffer in place: from then on it can't serve. */
	if (copy_run_in_pieces(p) || (p->compress.is_on && p->phase != COPY_RUN_COMPRESS))
		return;
	readers->is_here = !p->compress.is_on;
	while (readers->first) {
		struct run_reader *r = readers->first;

		readers->first = r->next;
		run_readers_fill(p, r);
		end_reader(r, READER_SERVED);
	}
}

static bool is_within(const struct copy_run *p, const struct run_reader *r)
{
	return r->guest_off + r->len <= p->guest_off + p->len;
}

void run_readers_trim(struct copy_run *p)
{
	struct run_reader **link = &p->read.readers.first;

	while (*link) {
		struct run_reader *r = *link;

		if (is_within(p, r)) {
			link = &r->next;
			continue;
		}
		*link = r->next;
		end_reader(r, READER_PASSED);
	}
}

static void let_all_go(struct copy_run *p, enum run_reader_state state)
{
	struct run_readers *readers = &p->read.readers;

	readers->is_here = false;
	while (readers->first) {
		struct run_reader *r = readers->first;

		readers->first = r->next;
		end_reader(r, state);
	}
}

void run_readers_pass(struct copy_run *p)
{
	let_all_go(p, READER_PASSED);
}

void run_readers_fail(struct copy_run *p)
{
	const struct op *op = &p->op;
	bool is_gone = fault_is_of_source(op, -EHOSTUNREACH) || fault_is_of_source(op, -ESTALE);

	for (struct run_reader *r = p->read.readers.first; is_gone && r; r = r->next)
		if (r->file == op->error_file)
			op_set_error(r->op, op->error, op->error_file, 0, true);
	let_all_go(p, READER_FAILED);
}
