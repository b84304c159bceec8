/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "io/backends/uring_submit.h"

#include <errno.h>

#include "io/backends/threads.h"
#include "io/backends/uring_queue.h"

/* Nothing of a file in memory begins now and ends later, so the ring would hand each request to a
 * thread of the kernel's and wake the owner for each: a third of a job's time. One thread writes
 * while the owner reads. A guest would wait for either. */
static bool is_job_in_memory(const struct io_req *req)
{
	return req->file->now.always && req->file->io_align <= 1 && !req->for_guest &&
	       !req->offload;
}

static bool is_for_writer(const struct io_req *req)
{
	return is_job_in_memory(req) ||
	       (req->prompt && req->file->now.no_writes && req->file->io_align <= 1);
}

/* The writer's thread does the request; it starts with the first one. A file that is slow must not
 * hold up another one's writes: the ring or its workers do those meanwhile, and direct ones, which
 * the kernel begins without waiting: the thread would wait for the device with each. */
static bool claim_for_writer(struct uring *u, const struct io_req *req)
{
	if (req->kind != IO_WRITE || !is_for_writer(req) ||
	    (u->n_writing && u->writing_to != req->file))
		return false;
	if (!u->writer && !u->no_writer) {
		u->no_writer = writer_open(u->wake_fd, &u->writer);
		if (u->writer)
			writer_set_notify(u->writer, !u->quiet);
	}
	return u->writer;
}

/* The kernel's threads do such writes, and it puts their files into 64 buckets, by chance: of a
 * bucket one write runs at a time. Behind a file that is slow, or hangs, any other would wait. So
 * the ring has those of one file at a time, and workers of our own those of the others. */
static bool is_for_lanes(const struct uring *u, const struct io_req *req)
{
	return io_req_is_in_turn(req) && u->ring_writes.n && u->ring_writes.file != req->file;
}

/* False: none may be started. Nor are they once the ring is stuck: all that it had is with the
 * other pool then, and a file's writes take turns within one pool only. */
static bool start_lanes(struct uring *u)
{
	if (u->lanes.pool || u->lanes.is_refused || u->stuck)
		return u->lanes.pool;
	u->lanes.is_refused = workers_new(WORKERS_MAX, u->wake_fd, io_req_run_here, &u->lanes.pool);
	if (u->lanes.pool)
		workers_set_notify(u->lanes.pool, !u->quiet);
	return u->lanes.pool;
}

static void put_one(struct workers *workers, struct io_req *req)
{
	struct req_list one = { 0 };

	req_list_push(&one, req);
	workers_put(workers, &one);
}

static void put_in_ring(struct uring *u, struct io_req *req)
{
	if (io_req_is_in_turn(req) && !is_for_lanes(u, req)) {
		u->ring_writes.file = req->file;
		u->ring_writes.n++;
		req->in_ring = true;
	}
	req_list_push(&u->waiting, req);
}

void uring_submit(struct io *io, struct io_req *req)
{
	struct uring *u = (struct uring *)io;
	bool data = req->kind == IO_READ || req->kind == IO_WRITE;

	if (req->kind == IO_WORK || req->unaligned) {
		put_one(u->workers, req);
	} else if ((data || req->kind == IO_WRITEBACK) &&
		   (req->off > INT64_MAX || req->len > INT64_MAX - req->off)) {
		/* Here, because the ring takes the offset -1 for the file's own position. */
		uring_queue_finish(u, req, -EINVAL);
	} else if (req->kind == IO_READ && is_job_in_memory(req)) {
		io_req_run_here(req);
		uring_queue_finish(u, req, req->result);
	} else if (claim_for_writer(u, req)) {
		u->writing_to = req->file;
		u->n_writing++;
		req_list_push(&u->writes, req);
	} else if (is_for_lanes(u, req) && start_lanes(u)) {
		put_one(u->lanes.pool, req);
	} else if (req->kind == IO_WRITEBACK && !req->len) {
		uring_queue_finish(u, req, 0); /* the kernel would take 0 for "until the end" */
	} else {
		put_in_ring(u, req);
	}
}
