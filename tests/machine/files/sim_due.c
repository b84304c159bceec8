/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* When a request of the simulated machine ends. */

#include "tests/machine/files/sim_private.h"

struct sim_file *sim_req_data(const struct io_req *req)
{
	return req->file ? ((struct sim_handle *)req->file)->data : NULL;
}

enum sim_op sim_req_op(const struct io_req *req)
{
	switch (req->kind) {
	case IO_READ: return SIM_READ;
	case IO_WRITE: return SIM_WRITE;
	case IO_SYNC: return SIM_SYNC;
	case IO_WRITEBACK: return SIM_WRITEBACK;
	case IO_WORK: return SIM_WORK;
	}
	abort();
}

static bool is_of_held(struct sim *sim, const struct io_req *req)
{
	const struct sim_knobs *knobs = &sim->knobs;

	if (knobs->hold_prefix)
		return req->file &&
		       !strncmp(req->file->name, knobs->hold_prefix, strlen(knobs->hold_prefix));
	return !knobs->hold_name || sim_file_find(sim, knobs->hold_name) == sim_req_data(req);
}

/* Most completions come at once, some late, a few very late, and those held back when there is
 * nothing else to wait for. */
uint64_t sim_due_soon(struct sim *sim, const struct io_req *req)
{
	const struct sim_knobs *knobs = &sim->knobs;
	uint64_t most = knobs->max_delay_ns + 1;

	if (knobs->hold_ops >> sim_req_op(req) & 1 && is_of_held(sim, req) &&
	    sim_chance(sim, knobs->hold_permille))
		return sim->now_ns + (knobs->hold_ns
					      ? knobs->hold_ns
					      : UINT64_C(1000000000) * (1 + sim_below(sim, 8)));
	switch (sim_below(sim, 10)) {
	case 0: return sim->now_ns + sim_below(sim, most);
	case 1:
	case 2:
	case 3: return sim->now_ns + sim_below(sim, most) / 10;
	default: return sim->now_ns;
	}
}

static bool sim_req_is_far(const struct sim *sim, const struct io_req *req)
{
	return sim->knobs.far_rate && req->kind == IO_READ && !req->file->writable;
}

/* Latencies pass side by side, bytes behind each other. */
static uint64_t sim_due_far(struct sim *sim, const struct io_req *req)
{
	uint64_t begin_ns = MAX(sim->far_free_ns, sim->now_ns);

	sim->far_free_ns = begin_ns + req->len * UINT64_C(1000000000) / sim->knobs.far_rate;
	sim->far_bytes += req->len;
	return sim->far_free_ns + sim->knobs.far_latency_ns;
}

/* Some of what a write-back holds up; the device takes all else at once. */
static uint64_t sim_due_on_device(struct sim *sim, const struct io_req *req)
{
	const struct sim_knobs *knobs = &sim->knobs;

	if (sim->now_ns >= sim->write_back_ns) {
		sim->busy_ns = MAX(sim->busy_ns, sim->now_ns) +
			       sim->dirty_len * UINT64_C(1000000000) / knobs->device_rate;
		sim->write_back_ns = sim->now_ns + knobs->write_back_ns;
		sim->dirty_len = 0;
	}
	if (req->kind == IO_WRITE)
		sim->dirty_len += req->len;
	if (req->kind != IO_READ || sim->now_ns >= sim->busy_ns)
		return sim_due_soon(sim, req);
	return sim->now_ns + sim_below(sim, knobs->stall_ns);
}

uint64_t sim_due(struct sim *sim, const struct io_req *req)
{
	if (sim_req_is_far(sim, req))
		return sim_due_far(sim, req);
	return sim->knobs.device_rate ? sim_due_on_device(sim, req) : sim_due_soon(sim, req);
}
