/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Inner requests take no room of the guests' memory (admit.c): else a guest's request could have
 * the room and wait for the lock of a copy run, which waits for its inner request. Their number is
 * bounded by that of the job's runs. Nor do they count as a guest at work, to which the job would
 * give way.
 */
#include "engine/guest/inner.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/core/op.h"
#include "engine/guest/request.h"
#include "engine/guest/submit.h"
#include "io/base.h"
#include "io/file.h"

/* g: NULL: there was no memory, and the operation gets that error. */
static void submit(struct guest *g, struct op *op, uint64_t guest_off)
{
	if (!g) {
		op_set_error(op, -ENOMEM, NULL, guest_off, false);
		return;
	}
	g->waits.op = op;
	g->op.urgent = false;
	op->n_pending++;
	guest_submit(g);
}

static void inner_write(struct bpull_disk *into, struct op *op, void *buf, uint64_t len,
			uint64_t guest_off)
{
	submit(guest_new_inner(into, GUEST_WRITE, buf, len, guest_off), op, guest_off);
}

static void inner_zero(struct bpull_disk *into, struct op *op, uint64_t guest_off, uint64_t len)
{
	submit(guest_new_inner(into, GUEST_ZEROES, NULL, len, guest_off), op, guest_off);
}

const struct down_ops inner_ops = { .write = inner_write, .zero = inner_zero };

void inner_grow(struct bpull_disk *node, struct op *op, uint64_t guest_len)
{
	submit(guest_new_grow(node, guest_len), op, guest_len);
	if (!op->n_pending)
		op_ready(op);
}
