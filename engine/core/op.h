/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One operation, one continuation. An operation has a step function that runs
 * its current phase: it submits zero or more requests and says NEXT, or WAIT.
 * When the last thing it waits for has finished, it goes on the ready list and
 * its step runs again. That is the only continuation in the library.
 *
 * The executor records the first error of anything the operation waited for;
 * an operation in error is never stepped again but failed, so no phase can
 * forget one.
 */
#ifndef BLOCKPULL_CORE_OP_H
#define BLOCKPULL_CORE_OP_H

#include <stdbool.h>
#include <stdint.h>

#include "io/base.h"

struct bpull_disk;
struct bpull_engine;
struct file;
struct io_req;
struct op;

enum step {
	STEP_NEXT, /* run the (new) phase now */
	/* An event will call op_ready(), or the operation is over and may be freed already. */
	STEP_WAIT,
};

struct op_kind {
	const char *name;
	enum step (*step)(struct op *op);
	/* op->error is set and nothing is pending: unwind. The operation is over. */
	void (*fail)(struct op *op);
};

struct op {
	const struct op_kind *kind;
	struct bpull_engine *engine;
	struct bpull_disk *disk; /* NULL for table loads and merged writes */
	int error;               /* first failure, -errno */
	struct file *error_file; /* what it was about, or NULL */
	uint64_t error_off;      /* byte in error_file */
	bool error_was_read;
	/* What it waits for: requests in flight, lists of waiters that it is on, a run that reads
	 * for it, a request of a node that was made for it. A range lock is not counted. */
	unsigned n_pending;
	bool queued; /* on a ready list */
	bool urgent; /* the guest waits for it: run before others */
	struct op *next_ready;
	struct op *next_waiter; /* on a list of waiters: a table's, a commit's */
};

struct op_list {
	struct op *first, *last;
};

void op_init(struct op *op, const struct op_kind *kind, struct bpull_engine *engine,
	     struct bpull_disk *disk);
/* Puts it on the ready list (once). */
void op_ready(struct op *op);
/* op_ready() as range_lock_release() and range_lock_shrink() take it: the owner of a lock is an
 * operation. */
void op_granted(void *owner);
/* Records a failure found outside a request. The first one stands; 0 is none. */
void op_set_error(struct op *op, int error, struct file *file, uint64_t off, bool was_read);
/* Submits a request of this operation; its completion is counted. */
void op_submit(struct op *op, struct io_req *req);
/* The backend has ended a request: its operation has one thing less to wait for. */
void op_io_done(struct io_req *req);
/* Runs ready operations until none is left. */
void op_run_ready(struct bpull_engine *engine);
/* Puts the operation on a list: it also waits for op_wake_all() of that list, beside what it waits
 * for already. */
void op_wait_in(struct op_list *waiters, struct op *op);
/* Wakes all of the list, with an error (or 0), in the order in which they came. */
void op_wake_all(struct op_list *waiters, int error, struct file *file, uint64_t off,
		 bool was_read);

#endif
