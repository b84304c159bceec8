/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "io/source/ask.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "io/base.h"
#include "io/io.h"
#include "io/req.h"
#include "io/source/expect.h"

/* ---- The end of a read ---- */

static void scatter(const struct source_read *read)
{
	const uint8_t *from = read->flat + read->skip;
	uint64_t left = read->got;

	for (const struct iovec *to = read->iov; left; to++) {
		uint64_t n = MIN((uint64_t)to->iov_len, left);

		memcpy(to->iov_base, from, n);
		from += n;
		left -= n;
	}
}

static void tell_waiter(struct source_file *sf, struct source_wait *wait, int64_t result)
{
	pthread_mutex_lock(&sf->lock);
	wait->result = result;
	wait->is_over = true;
	pthread_cond_broadcast(&sf->ended);
	pthread_mutex_unlock(&sf->lock);
}

/* 0, or -EBADMSG: the bytes are not those that are expected. */
static int judge_bytes(const struct source_read *read)
{
	const struct source_expect *expect = read->sf->source.expect;
	const uint8_t *bytes = read->flat ? read->flat : read->iov[0].iov_base;

	if (!expect || !read->to ||
	    source_expect_holds(expect, bytes, read->from, read->to - read->from))
		return 0;
	return -EBADMSG;
}

/* The last of its questions is over: frees it. */
static void end_read(struct source_read *read)
{
	int failed = atomic_load(&read->rc), rc = failed ? failed : judge_bytes(read);
	int64_t result = rc ? rc : (int64_t)read->got;
	struct source_wait *wait = read->wait;
	struct source_file *sf = read->sf;
	struct io_req *req = read->req;
	struct io *io = read->io;

	if (!rc && read->flat)
		scatter(read);
	free(read->flat);
	free(read);
	if (wait) {
		tell_waiter(sf, wait, result);
		return;
	}
	req->result = result;
	io_arrive(io, req);
}

void source_drop_part(struct source_read *read, int rc)
{
	int none = 0;

	if (rc)
		atomic_compare_exchange_strong(&read->rc, &none, rc);
	if (atomic_fetch_sub(&read->n_left, 1) == 1)
		end_read(read);
}

void source_end_ask(struct source_ask *ask, int rc)
{
	struct source_file *sf = ask->read->sf;

	if (rc == -ESTALE)
		atomic_store(&sf->is_stale, true);
	source_drop_part(ask->read, rc);
	pthread_mutex_lock(&sf->lock);
	sf->n_asked--;
	pthread_cond_broadcast(&sf->ended);
	pthread_mutex_unlock(&sf->lock);
}

/* ---- Its begin ---- */

void source_note_asked(struct source_file *sf)
{
	pthread_mutex_lock(&sf->lock);
	sf->n_asked++;
	pthread_mutex_unlock(&sf->lock);
}

struct source_read *source_read_new(struct source_file *sf, unsigned n_asks)
{
	struct source_read *read = calloc(1, sizeof(*read) + n_asks * sizeof(read->asks[0]));

	if (!read)
		return NULL;
	read->sf = sf;
	read->n_asks = n_asks;
	atomic_init(&read->n_left, n_asks + 1);
	for (unsigned i = 0; i < n_asks; i++)
		read->asks[i].read = read;
	return read;
}

void source_read_set_end(struct source_read *read, struct io *io, struct io_req *req,
			 struct source_wait *wait)
{
	read->io = io;
	read->req = req;
	read->wait = wait;
}

int64_t source_wait_for(struct source_file *sf, const struct source_wait *wait)
{
	pthread_mutex_lock(&sf->lock);
	while (!wait->is_over)
		pthread_cond_wait(&sf->ended, &sf->lock);
	pthread_mutex_unlock(&sf->lock);
	return wait->result;
}

struct source_want source_want_of(const struct io_req *req, uint64_t end)
{
	uint64_t left = end - MIN(req->off, end);

	return (struct source_want){
		.iov = req->iov,
		.n_iov = req->n_iov,
		.off = req->off,
		.len = MIN(req->len, left),
		.asker = req->for_guest ? SOURCE_GUEST : SOURCE_JOB,
	};
}

void source_end_req(struct io *io, struct io_req *req, int rc)
{
	req->result = rc;
	io_arrive(io, req);
}

/* ---- What both files of a source share ---- */

int source_refuse_write(struct file *file, const void *buf, size_t len, uint64_t off)
{
	return -EBADF;
}

int source_refuse_truncate(struct file *file, uint64_t len)
{
	return -EBADF;
}

int source_sync_nothing(struct file *file)
{
	return 0;
}

/* Never asked: trust_holes is off, the zeros' file tells. */
int source_know_nothing(struct file *file, uint64_t off, struct file_status *out)
{
	*out = (struct file_status){ .len = file->len - off };
	return 0;
}

int source_init_file(struct file *file, const struct file_ops *ops, const char *name, uint64_t len)
{
	*file = (struct file){
		.ops = ops,
		.name = strdup(name),
		.real_name = strdup(name),
		.len = len,
		.read_only = true,
		.io_align = 1,
		.fd = -1,
		.slot = -1,
		.is_source = true,
	};
	return file->name && file->real_name ? 0 : -ENOMEM;
}
