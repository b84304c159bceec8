/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "io/backends/uring_submit.h"

#include <errno.h>

#include "io/backends/threads.h"
#include "io/backends/uring_queue.h"

/* A job's request to a file in memory. Such requests can't begin now and end later, so the ring
 * would hand each to a thread of the kernel's and wake the owner for each: a third of a job's time.
 * Instead the owner reads itself and the writer's thread writes. A guest would wait for either, so
 * its requests go to the ring. */
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

/* True: the writer's thread is to do the request; it is started for the first one. It has writes to
 * one file at a time, so that a slow file holds up no other: the ring or workers do those. Direct
 * writes go to the ring, too: the kernel begins them without waiting, and the thread would wait for
 * the device with each. */
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

/* A buffered write that may wait, to another file than the ring has such writes of. The kernel
 * hashes their files into 64 buckets and runs one write of a bucket at a time, so any file could
 * wait behind one that is slow or hangs. So the ring has writes to one file, and workers those to
 * the others. */
static bool is_for_lanes(const struct uring *u, const struct io_req *req)
{
	return io_req_is_in_turn(req) && u->ring_writes.n && u->ring_writes.file != req->file;
}

/* False: no thread may be started; or the ring is stuck, and there was no pool before: all that the
 * ring had is with u->workers then, and a file's writes take turns within one pool only. */
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
