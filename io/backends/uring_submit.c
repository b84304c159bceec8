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
 * hold up another one's writes: the ring does those meanwhile, and direct ones, which the kernel
 * begins without waiting: the thread would wait for the device with each. */
static bool claim_for_writer(struct uring *u, const struct io_req *req)
{
	if (req->kind != IO_WRITE || !is_for_writer(req) ||
	    (u->n_writing && u->writing_to != req->file))
		return false;
	if (!u->writer && !u->no_writer) {
		u->no_writer = writer_open(u->wake_fd, &u->writer);
		if (u->writer)
			writer_tell(u->writer, !u->quiet);
	}
	return u->writer;
}

void uring_submit(struct io *io, struct io_req *req)
{
	struct uring *u = (struct uring *)io;
	bool data = req->kind == IO_READ || req->kind == IO_WRITE;

	if (req->kind == IO_WORK || req->unaligned) {
		struct req_list one = { 0 };
		req_list_push(&one, req);
		workers_put(u->workers, &one);
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
	} else if (req->kind == IO_WRITEBACK && !req->len) {
		uring_queue_finish(u, req, 0); /* the kernel would take 0 for "until the end" */
	} else {
		req_list_push(&u->waiting, req);
	}
}
