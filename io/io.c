/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The one gate to the backends: what was asked for is checked here, and counted. */
#include "io/io.h"

#include <assert.h>

#include "io/base.h"
#include "io/unaligned.h"
#include "io/wake.h"

static uint64_t sum_iov(const struct io_req *req)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < req->n_iov; i++) {
		bool wraps = add_u64(sum, req->iov[i].iov_len, &sum);

		assert(!wraps);
	}
	return sum;
}

void io_submit(struct io *io, struct io_req *req)
{
	switch (req->kind) {
	case IO_READ:
	case IO_WRITE: assert(sum_iov(req) == req->len); break;
	case IO_SYNC:
	case IO_WRITEBACK: break;
	case IO_WORK: assert(req->work); break;
	}
	assert(req->kind == IO_WORK || req->file);
	req->result = 0;
	req->next = NULL;
	req->done_len = 0;
	req->n_retries = 0;
	req->uncached_refused = false;
	if (req->kind != IO_WRITE || req->file->past_cache.no_writes || req->file->io_align > 1)
		req->uncached = false;
	req->past_cache_refused = false;
	req->in_ring = false;
	req->past_cache = req->past_cache && io_req_may_pass_cache(req);
	req->unaligned = io_req_is_unaligned(req);
	io->n_in_flight++;
	if (req->kind == IO_READ && req->file->is_source)
		req->file->ops->submit(req->file, io, req);
	else
		io->ops->submit(io, req);
}

/* ---- requests that ended outside the backend ---- */

void io_arrive(struct io *io, struct io_req *req)
{
	struct io_req *first = atomic_load(&io->arrived);
	int fd = io->ops->fd(io);

	do
		req->next = first;
	while (!atomic_compare_exchange_weak(&io->arrived, &first, req));
	if (!first)
		wake_signal(fd);
}

static bool has_arrived(const struct io *io)
{
	return io->taken || atomic_load(&io->arrived);
}

static unsigned reap_arrived(struct io *io, struct io_req **out, unsigned max)
{
	unsigned n = 0;

	/* Most looks find nothing, and a look costs less than the exchange. */
	if (!has_arrived(io))
		return 0;
	if (!io->taken)
		io->taken = atomic_exchange(&io->arrived, NULL);
	while (n < max && io->taken) {
		out[n++] = io->taken;
		io->taken = io->taken->next;
	}
	return n;
}

void io_kick(struct io *io)
{
	io->ops->kick(io);
}

bool io_feed(struct io *io)
{
	if (io->ops->feed)
		return io->ops->feed(io);
	io->ops->kick(io);
	return false;
}

void io_enter(struct io *io)
{
	io->ops->enter(io);
}

bool io_can_wait(const struct io *io)
{
	return io->ops->wait;
}

int io_wait(struct io *io, int fd, int timeout_ms)
{
	if (has_arrived(io))
		timeout_ms = 0;
	return io->ops->wait(io, fd, timeout_ms);
}

unsigned io_reap(struct io *io, struct io_req **out, unsigned max)
{
	unsigned n = reap_arrived(io, out, max);

	/* Asked even with nothing in flight: the backend may have a stale wake-up to clear. */
	if (n < max)
		n += io->ops->reap(io, out + n, max - n);
	/* The backend may have taken the wake-up for its own. */
	if (has_arrived(io))
		wake_signal(io_fd(io));
	assert(n <= max && n <= io->n_in_flight);
	io->n_in_flight -= n;
	for (unsigned i = 0; i < n; i++)
		if (out[i]->uncached_refused)
			out[i]->file->past_cache.no_writes = true;
	for (unsigned i = 0; i < n; i++)
		if (out[i]->past_cache_refused)
			out[i]->file->past_cache.no_reads = true;
	return n;
}

int io_fd(const struct io *io)
{
	return io->ops->fd(io);
}

void io_set_notify(struct io *io, bool on)
{
	if (io->ops->set_notify)
		io->ops->set_notify(io, on);
	if (on && has_arrived(io))
		wake_signal(io_fd(io));
}

bool io_has_done(const struct io *io)
{
	return has_arrived(io) || (io->ops->has_done && io->ops->has_done(io));
}

void io_close(struct io *io)
{
	if (!io)
		return;
	assert(!io->n_in_flight);
	io->ops->destroy(io);
}

void io_leave(struct io *io)
{
	if (io->ops->leave)
		io->ops->leave(io);
}
