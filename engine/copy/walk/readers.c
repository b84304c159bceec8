/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A run's side of its readers. A reader joins a run that is about to read, or has read, what it
 * wants, and is served when the bytes are in the run's buffer: it waits for no write. What it is
 * given is what the layers below the overlay hold. These never change, and the overlay lacked the
 * range when the reader looked. So a write that has come since is one that the read may be before.
 *
 * A reader waits for reads only. A run that has to wait for a lock, or finds that the range is
 * there or that it ends before it, lets the reader go, and it looks again. One that can't read
 * leaves it to the reader: what has failed may be bytes that it does not want. But where the source
 * is away, or another one, from which both would read, the reader fails, too: a guest waits for it
 * once.
 *
 * Keeping what a guest has read until the run asks for it was rejected: the run would have to find
 * out which of its clusters that makes whole, and reads of one cluster that are in flight together
 * would each bring it.
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

	/* Compressing changes it in place. */
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
