/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The executor of operations (see op.h). Two FIFOs of ready operations, the
 * guest's and the others, run to the end by the owner's thread between reaping
 * and submitting, the guest's first. Stepping an operation straight from its
 * completion was rejected: a long chain of completions would recurse, and
 * guest operations could not go first.
 */
#include "engine/core/op.h"

#include <assert.h>

#include "engine/blockpull.h"
#include "engine/core/disk.h"
#include "io/base.h"
#include "io/fifo.h"
#include "io/file.h"
#include "io/io.h"

void op_init(struct op *op, const struct op_kind *kind, struct bpull_engine *engine,
	     struct bpull_disk *disk)
{
	*op = (struct op){ .kind = kind, .engine = engine, .disk = disk };
}

void op_ready(struct op *op)
{
	struct op_list *list = op->urgent ? &op->engine->urgent : &op->engine->ready;

	if (op->queued)
		return;
	op->queued = true;
	FIFO_APPEND(list, op, next_ready);
}

void op_granted(void *owner)
{
	op_ready(owner);
}

void op_set_error(struct op *op, int error, struct file *file, uint64_t off, bool was_read)
{
	if (op->error || !error)
		return;
	op->error = error;
	op->error_file = file;
	op->error_off = file ? file_shown_off(file, off) : off;
	op->error_was_read = was_read;
}

void op_submit(struct op *op, struct io_req *req)
{
	req->owner = op;
	req->for_guest |= op->disk && op->disk->flags & BPULL_DISK_GUEST_IO;
	op->n_pending++;
	io_submit(op->engine->io, req);
}

void op_io_done(struct io_req *req)
{
	struct op *op = req->owner;

	assert(op->n_pending);
	if (req->result < 0)
		op_set_error(op, (int)req->result, req->file, req->off,
			     req->kind == IO_READ || req->kind == IO_WORK);
	if (!--op->n_pending)
		op_ready(op);
}

static void step_until_wait(struct op *op)
{
	for (;;) {
		if (op->error) {
			op->kind->fail(op);
			return;
		}
		if (op->kind->step(op) == STEP_WAIT)
			return;
		/* NEXT after submitting would run a phase before its input is there. */
		assert(!op->n_pending);
	}
}

static struct op *pop(struct op_list *list)
{
	struct op *op = FIFO_TAKE(list, next_ready);

	if (op)
		op->queued = false;
	return op;
}

void op_run_ready(struct bpull_engine *engine)
{
	struct op *op;

	while ((op = pop(&engine->urgent)) || (op = pop(&engine->ready)))
		step_until_wait(op);
}

void op_wait_in(struct op_list *waiters, struct op *op)
{
	op->n_pending++;
	FIFO_APPEND(waiters, op, next_waiter);
}

void op_wake_all(struct op_list *waiters, int error, struct file *file, uint64_t off, bool was_read)
{
	struct op *waiter;

	while ((waiter = FIFO_TAKE(waiters, next_waiter))) {
		op_set_error(waiter, error, file, off, was_read);
		if (!--waiter->n_pending)
			op_ready(waiter);
	}
}
