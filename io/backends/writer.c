/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * ext4 can't begin a buffered write and end it later, so the ring hands each to a thread of the
 * kernel's, which takes a third of the time of a 4 KiB write. One thread of our own takes all that
 * was submitted at once. Several were rejected: they would wait for each other on the file's own
 * lock. (So would the kernel's, which therefore runs writes to one file in turn.)
 *
 * Owner and writer may share a processor. So that the owner can pass on the first ends while the
 * rest is written, the writer gives the processor away once it has most of a batch.
 */
#include "io/backends/writer.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "io/backends/ended.h"
#include "io/backends/threads.h"
#include "io/thread.h"

/* Of a batch of n writes, after how many the processor is given away; one that is shorter than
 * WRITER_LONG is written to its end, since giving the processor away costs as much as two
 * writes. */
#define WRITER_YIELD_AFTER(n) ((n)*5 / 8)
#define WRITER_LONG           16

struct writer {
	pthread_t thread;

	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t more;
	struct req_list queue;
	struct ended ended;
	bool is_asleep;
	bool stopping;
};

static void writer_finish(struct writer *w, struct io_req *req)
{
	pthread_mutex_lock(&w->lock);
	ended_add(&w->ended, req);
	pthread_mutex_unlock(&w->lock);
}

static void writer_run_batch(struct writer *w, struct req_list *batch)
{
	unsigned left = batch->n, left_at_yield = left - WRITER_YIELD_AFTER(left);
	bool is_long = left >= WRITER_LONG;
	struct io_req *req;

	while ((req = req_list_pop(batch))) {
		io_req_run_here(req);
		writer_finish(w, req);
		if (is_long && --left == left_at_yield)
			sched_yield();
	}
}

static void *writer_main(void *opaque)
{
	struct writer *w = opaque;
	struct req_list batch = { 0 };

	pthread_mutex_lock(&w->lock);
	while (!w->stopping) {
		if (!w->queue.first) {
			w->is_asleep = true;
			pthread_cond_wait(&w->more, &w->lock);
			w->is_asleep = false;
			continue;
		}
		req_list_move(&batch, &w->queue);
		pthread_mutex_unlock(&w->lock);
		writer_run_batch(w, &batch);
		pthread_mutex_lock(&w->lock);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

int writer_open(int wake_fd, struct writer **out)
{
	struct writer *w = calloc(1, sizeof(*w));
	int rc;

	if (!w)
		return -ENOMEM;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->more, NULL);
	ended_init(&w->ended, &w->lock, wake_fd);
	rc = thread_start(&w->thread, writer_main, w);
	if (rc) {
		pthread_cond_destroy(&w->more);
		pthread_mutex_destroy(&w->lock);
		free(w);
		return rc;
	}
	*out = w;
	return 0;
}

void writer_put(struct writer *w, struct req_list *list)
{
	pthread_mutex_lock(&w->lock);
	req_list_move(&w->queue, list);
	if (w->is_asleep)
		pthread_cond_signal(&w->more);
	pthread_mutex_unlock(&w->lock);
}

void writer_set_notify(struct writer *w, bool on)
{
	ended_set_notify(&w->ended, on);
}

unsigned writer_take(struct writer *w, struct io_req **out, unsigned max)
{
	return ended_take(&w->ended, out, max);
}

void writer_close(struct writer *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	assert(!w->queue.first && !w->ended.list.first);
	w->stopping = true;
	pthread_cond_signal(&w->more);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	pthread_cond_destroy(&w->more);
	pthread_mutex_destroy(&w->lock);
	free(w);
}
