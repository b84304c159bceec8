/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The backend of the simulated machine. A kicked request gets a time at which it is due; reaping
 * lets the clock run and finishes some of what is due, in random order. Nothing happens before:
 * what an owner has not reaped it cannot know, so the simulator need not decide it. It is stricter
 * than a kernel on purpose: a read buffer holds garbage until the read is reaped, a write buffer
 * must not change in flight, a request is submitted once, and what is not kicked never happens.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "io/blocking.h"
#include "io/wake.h"
#include "tests/machine/files/sim_private.h"

static struct sim *sim_of(const struct io *io)
{
	return (struct sim *)(uintptr_t)io;
}

static void sim_flight_push(struct sim_flight **list, size_t *n, size_t *cap,
			    const struct sim_flight *flight)
{
	if (*n == *cap) {
		*cap = MAX(*cap * 2, (size_t)64);
		*list = sim_need(realloc(*list, *cap * sizeof(**list)));
	}
	(*list)[(*n)++] = *flight;
}

static void sim_io_submit(struct io *io, struct io_req *req)
{
	struct sim *sim = sim_of(io);
	struct sim_flight flight = { .req = req, .stamp = ++sim->event };

	for (size_t i = 0; i < sim->n_waiting; i++)
		assert(sim->waiting[i].req != req);
	for (unsigned i = 0; req->kind == IO_READ && i < req->n_iov; i++)
		if (req->iov[i].iov_len) /* else there may be no buffer */
			memset(req->iov[i].iov_base, 0xa5, req->iov[i].iov_len);
	sim_flight_push(&sim->waiting, &sim->n_waiting, &sim->waiting_cap, &flight);
}

static bool sim_io_range_ok(const struct sim *sim, const struct io_req *req)
{
	uint64_t align = req->unaligned ? 1 : MAX(req->file->io_align, 1u);
	if (req->off > INT64_MAX || req->len > INT64_MAX - req->off)
		return false;
	if (!is_aligned(req->off | req->len, align))
		return false;
	for (unsigned i = 0; i < req->n_iov; i++)
		if (!is_aligned((uintptr_t)req->iov[i].iov_base | req->iov[i].iov_len, align))
			return false;
	return true;
}

static void sim_io_gather(const struct io_req *req, uint8_t *to)
{
	for (unsigned i = 0; i < req->n_iov; i++) {
		if (req->iov[i].iov_len)
			memcpy(to, req->iov[i].iov_base, req->iov[i].iov_len);
		to += req->iov[i].iov_len;
	}
}

static void sim_io_kick(struct io *io)
{
	struct sim *sim = sim_of(io);

	for (size_t i = 0; i < sim->n_waiting; i++) {
		struct sim_flight *flight = &sim->waiting[i];
		struct io_req *req = flight->req;
		if (req->kind == IO_WRITE && !sim_is_stopped(sim) && sim_io_range_ok(sim, req)) {
			flight->write = sim_log_fly(sim, sim_req_data(req), req->len, req->off);
			sim_io_gather(req, flight->write->bytes);
		}
		flight->due_ns = sim_due(sim, req);
		sim_flight_push(&sim->flights, &sim->n_flights, &sim->flights_cap, flight);
	}
	sim->n_waiting = 0;
	if (sim->n_flights)
		wake_signal(sim->wake_fd);
}

static int64_t sim_io_read(struct sim *sim, struct sim_flight *flight)
{
	struct io_req *req = flight->req;
	const struct sim_store *live = &sim_req_data(req)->live;
	uint64_t off = req->off + req->done_len;
	uint64_t here = off < live->len ? live->len - off : 0;
	uint64_t left = MIN(sim_next_len(sim, flight), here);
	unsigned n;
	const struct iovec *iov = io_req_rest(req, &n);
	int64_t got = 0;

	for (unsigned i = 0; i < n && left; i++) {
		size_t part = (size_t)MIN((uint64_t)iov[i].iov_len, left);
		sim_store_read(live, iov[i].iov_base, part, off + (uint64_t)got);
		left -= part;
		got += (int64_t)part;
	}
	return got;
}

static int64_t sim_io_past(struct sim *sim, struct sim_flight *flight)
{
	int64_t got = sim_past_begin(sim, flight->req);

	if (got)
		return got;
	got = sim_io_read(sim, flight);
	sim->n_past_cache += got > 0;
	return got;
}

static int64_t sim_io_write(struct sim *sim, struct sim_flight *flight)
{
	struct io_req *req = flight->req;
	struct sim_file *data = sim_req_data(req);
	uint64_t off = req->off + req->done_len;
	uint64_t part = sim_next_len(sim, flight);

	if (data->limit && off + part > data->limit)
		part = off < data->limit ? data->limit - off : 0;
	if (!part && req->len > req->done_len)
		return -ENOSPC;
	sim_store_write(&data->live, flight->write->bytes + req->done_len, (size_t)part, off);
	flight->write->moved = req->done_len + part;
	return (int64_t)part;
}

/* As a worker would: what holds for the engine's round does not hold for it. */
static int sim_io_work(struct io_req *req)
{
	struct blocking *rounds = blocking_set(NULL);
	int rc = req->work(req);

	blocking_set(rounds);
	return rc;
}

static int64_t sim_io_attempt(struct sim *sim, struct sim_flight *flight)
{
	struct io_req *req = flight->req;

	switch (req->kind) {
	case IO_READ:
	case IO_WRITE:
		if (req->kind == IO_WRITE && !req->file->writable)
			return -EBADF;
		if (!sim_io_range_ok(sim, req))
			return -EINVAL;
		if (sim_chance(sim, sim->knobs.retry_permille))
			return sim_chance(sim, 500) ? -EINTR : -EAGAIN;
		if (req->past_cache)
			return sim_io_past(sim, flight);
		return req->kind == IO_READ ? sim_io_read(sim, flight) : sim_io_write(sim, flight);
	case IO_SYNC:
	case IO_WRITEBACK: return 0;
	case IO_WORK: return sim_io_work(req);
	}
	abort();
}

/* The buffer must be what it was when the write was kicked. */
static void sim_io_check_buffer(const struct sim_flight *flight)
{
	const uint8_t *then = flight->write->bytes;
	for (unsigned i = 0; i < flight->req->n_iov; i++) {
		const struct iovec *iov = &flight->req->iov[i];
		if (iov->iov_len && memcmp(iov->iov_base, then, iov->iov_len)) {
			fprintf(stderr, "sim: a buffer changed under a write at %#llx\n",
				(unsigned long long)flight->req->off);
			abort();
		}
		then += iov->iov_len;
	}
}

static void sim_io_land(struct sim *sim, struct sim_flight *flight)
{
	struct sim_file *data = sim_req_data(flight->req);
	int64_t result = flight->req->result;

	if (result == SIM_STOPPED)
		return; /* what was in flight stays so, its fate open */
	if (flight->req->kind == IO_SYNC)
		sim_log_sync(data, flight->stamp, result < 0);
	if (!flight->write)
		return;
	sim_io_check_buffer(flight);
	if (result < 0 && flight->arrives) {
		sim_store_write(&data->live, flight->write->bytes, flight->write->len,
				flight->write->off);
	} else if (result < 0) {
		uint64_t off = flight->write->off, limit = data->limit ? data->limit : UINT64_MAX;
		if (off + flight->write->len > limit)
			flight->write->len = off < limit ? limit - off : 0;
		if ((result == -ENOSPC || result == -EDQUOT) && sim_is_one_sector(flight->req))
			flight->write->len = 0;
		sim_tear(&data->live, flight->write, &sim->rng);
	} else {
		/* Pieces of it may have been written over by a write that was in flight beside it:
		 * what goes to the device is what is in the page cache. */
		sim_store_read(&data->live, flight->write->bytes, flight->write->len,
			       flight->write->off);
	}
	sim_log_land(sim, data, flight->write, result < 0);
}

/* Its first attempt. */
static int sim_io_begin(struct sim *sim, struct sim_flight *flight)
{
	int error = sim_op_begin(sim, sim_req_op(flight->req), sim_req_data(flight->req));

	if (error != SIM_STOPPED && sim->hit) {
		flight->stuck = sim->hit->persists ? error : 0;
		flight->arrives = sim->hit->arrives;
		flight->max_len = sim->hit->max_len;
	}
	return error;
}

/* True: the request is finished. */
static bool sim_io_step(struct sim *sim, struct sim_flight *flight)
{
	struct io_req *req = flight->req;
	int64_t got = sim_is_stopped(sim) ? SIM_STOPPED : 0;

	if (!got && !flight->started)
		got = sim_io_begin(sim, flight);
	else if (!got)
		got = flight->stuck;
	flight->started = true;
	if (!got)
		got = sim_io_attempt(sim, flight);
	sim_op_trace(sim, sim_req_op(req), req->off + req->done_len, req->len, got);
	if (!io_req_attempt(req, got))
		return false;
	sim_io_land(sim, flight);
	return true;
}

static size_t sim_io_n_due(const struct sim *sim)
{
	size_t n = 0;
	for (size_t i = 0; i < sim->n_flights; i++)
		n += sim->flights[i].due_ns <= sim->now_ns;
	return n;
}

/* Nothing due: now and then the owner is woken for nothing, else time passes until something is. */
static size_t sim_io_pass_time(struct sim *sim)
{
	uint64_t next = sim_later_next_ns(sim);

	sim_pass(sim, sim_below(sim, 2000));
	size_t n = sim_io_n_due(sim);
	if (n || next <= sim->now_ns || (!sim->n_flights && !sim->n_later) || sim_chance(sim, 300))
		return n;
	for (size_t i = 0; i < sim->n_flights; i++)
		next = MIN(next, sim->flights[i].due_ns);
	if (next > sim->now_ns)
		sim_pass(sim, next - sim->now_ns);
	return sim_io_n_due(sim);
}

/* Puts the i-th due flight of the list in *at. */
static size_t sim_io_nth_due(const struct sim *sim, size_t i)
{
	for (size_t at = 0;; at++)
		if (sim->flights[at].due_ns <= sim->now_ns && !i--)
			return at;
}

static unsigned sim_io_reap(struct io *io, struct io_req **out, unsigned max)
{
	struct sim *sim = sim_of(io);
	size_t n_due = sim_io_pass_time(sim);
	size_t steps = n_due ? 1 + sim_below(sim, n_due) : 0;
	unsigned n = 0;

	sim_later_run(sim);
	for (; steps && n < max && n_due; steps--) {
		size_t at = sim_io_nth_due(sim, sim_below(sim, n_due));
		struct sim_flight flight = sim->flights[at];
		/* Order within the list means nothing, so the last one fills the gap. */
		sim->flights[at] = sim->flights[--sim->n_flights];
		if (sim_io_step(sim, &flight)) {
			out[n++] = flight.req;
		} else {
			flight.due_ns = sim_due_soon(sim, flight.req);
			sim_flight_push(&sim->flights, &sim->n_flights, &sim->flights_cap, &flight);
		}
		n_due = sim_io_n_due(sim);
	}
	if (!sim->n_flights && !sim->n_later)
		wake_drain(sim->wake_fd);
	return n;
}

uint64_t sim_n_begun_later(const struct sim *sim, enum sim_op op)
{
	uint64_t n = 0;

	for (size_t i = 0; i < sim->n_flights; i++)
		n += !sim->flights[i].started && sim_req_op(sim->flights[i].req) == op;
	for (size_t i = 0; i < sim->n_waiting; i++)
		n += sim_req_op(sim->waiting[i].req) == op;
	return n;
}

static int sim_io_fd(const struct io *io)
{
	return sim_of(io)->wake_fd;
}

static void sim_io_use_memory(struct io *io, void *base, size_t len)
{
}

static void sim_io_file(struct io *io, struct file *file)
{
}

/* A kernel would read from whatever gets the descriptor next. */
static void sim_io_forget(struct io *io, struct file *file)
{
	struct sim *sim = sim_of(io);

	for (size_t i = 0; i < sim->n_flights; i++)
		assert(sim->flights[i].req->file != file);
	for (size_t i = 0; i < sim->n_waiting; i++)
		assert(sim->waiting[i].req->file != file);
}

static void sim_io_destroy(struct io *io)
{
	struct sim *sim = sim_of(io);
	assert(!sim->n_flights && !sim->n_waiting && sim->io_open);
	sim->io_open = false;
}

/* Its engine's rounds hold up every guest while they wait (docs/architecture.md, "What a round may
 * wait for"). */
static void sim_io_round_waits(struct io *io)
{
	fprintf(stderr, "sim: a round of the engine makes a blocking call on a file\n");
	abort();
}

static const struct io_ops sim_io_ops = {
	.name = "sim",
	.submit = sim_io_submit,
	.kick = sim_io_kick,
	.reap = sim_io_reap,
	.fd = sim_io_fd,
	.use_memory = sim_io_use_memory,
	.add_file = sim_io_file,
	.forget_file = sim_io_forget,
	.round_waits = sim_io_round_waits,
	.destroy = sim_io_destroy,
};

void sim_io_init(struct sim *sim)
{
	sim->io.ops = &sim_io_ops;
}

struct io *sim_io(struct sim *sim)
{
	sim->io_open = true;
	return &sim->io;
}
