/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Loading tables for operations that were told TABLE_NEED. A load is an
 * operation of its own; any number of others wait for it. Bytes behind the end
 * of the file are zeros: the formats have checked where a table may lie, and
 * a new table's slices may not have been written yet.
 */
#include <errno.h>

#include "engine/engine.h"
#include "io/base.h"

struct load {
	struct op op;
	struct io_req req;
	struct table *table;
	struct op *waiters;
};

static void load_end(struct load *load, int error)
{
	load->table->waiters = NULL;
	op_wake_all(&load->waiters, error, load->req.file, load->req.off, true);
	table_load_end(load->op.engine->cache, load->table, error);
	free(load);
}

static enum step load_step(struct op *op)
{
	struct load *load = (struct load *)op;
	size_t got = load->req.result;

	memset(load->table->bytes + got, 0, load->table->len - got);
	load_end(load, 0);
	return STEP_WAIT;
}

static void load_fail(struct op *op)
{
	load_end((struct load *)op, op->error);
}

static const struct op_kind load_kind = { "load", load_step, load_fail };

static struct load *load_begin(struct bpull_engine *engine, const struct table_need *need)
{
	struct load *load = calloc(1, sizeof(*load));

	if (!load)
		return NULL;
	load->table = table_load_begin(engine->cache, need);
	if (!load->table) {
		free(load);
		return NULL;
	}
	op_init(&load->op, &load_kind, engine, NULL);
	load->table->waiters = load;
	io_req_read(&load->req, need->file, load->table->bytes, need->len, need->host_off);
	op_submit(&load->op, &load->req);
	return load;
}

enum step op_wait_table(struct op *op, const struct table_need *need)
{
	struct table *table = table_find(op->engine->cache, need->file, need->host_off);
	struct load *load = table ? table->waiters : load_begin(op->engine, need);

	if (!load) {
		op_set_error(op, -ENOMEM, need->file, need->host_off, true);
		return STEP_NEXT;
	}
	op_wait_in(&load->waiters, op);
	return STEP_WAIT;
}
