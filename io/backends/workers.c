/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One mutex, a queue in and a list out. One thread starts with the pool, the others
 * when there is more queued than idle threads to take it, up to the bound; all stay:
 * they sleep on the condition and cost nothing. Where a limit on processes forbids
 * another one, those that are there do the work. Signals are blocked in them (thread.h), so
 * that an embedder's handlers run on its own threads.
 *
 * Work stealing and lock-free queues were rejected: what runs here takes tens
 * of microseconds at least, and the lock is held for a few instructions.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "io/backends/ended.h"
#include "io/backends/workers.h"
#include "io/base.h"
#include "io/file.h"
#include "io/thread.h"
#include "io/wake.h"

/* The first thread of a pool is tried so often, so far apart. */
#define WORKERS_N_TRIES  50
#define WORKERS_PAUSE_NS 2000000

struct workers {
	void (*run)(struct io_req *req);
	unsigned max_threads;
	bool has_own_fd; /* ended.wake_fd is the pool's */

	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t more;
	struct req_list queue;
	struct req_list behind; /* writes to files of which another one is in the queue, or runs */
	struct ended ended;
	unsigned n_threads;
	unsigned n_idle;
	bool stopping;
	pthread_t threads[WORKERS_MAX];
};

/* Caller holds the lock. */
static void enqueue(struct workers *w, struct io_req *req)
{
	bool is_alone = io_req_is_in_turn(req), waits = is_alone && req->file->now.has_worker;

	if (is_alone)
		req->file->now.has_worker = true;
	req_list_push(waits ? &w->behind : &w->queue, req);
}

/* Caller holds the lock. The file's next write, if there is one, may run. */
static void release_file(struct workers *w, struct file *file)
{
	struct io_req *next = w->behind.first;

	while (next && next->file != file)
		next = next->next;
	file->now.has_worker = next;
	if (!next)
		return;
	req_list_remove(&w->behind, next);
	req_list_push(&w->queue, next);
}

static void *worker_main(void *arg)
{
	struct workers *w = arg;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		struct io_req *req = req_list_pop(&w->queue);
		if (!req && w->stopping)
			break;
		if (!req) {
			w->n_idle++;
			pthread_cond_wait(&w->more, &w->lock);
			w->n_idle--;
			continue;
		}
		pthread_mutex_unlock(&w->lock);
		w->run(req);
		pthread_mutex_lock(&w->lock);
		if (io_req_is_in_turn(req))
			release_file(w, req->file);
		ended_add(&w->ended, req);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* Caller holds the lock, or is alone. */
static int start_one(struct workers *w)
{
	int rc = thread_start(&w->threads[w->n_threads], worker_main, w);

	if (!rc)
		w->n_threads++;
	return rc;
}

/* Tries again for a while: the kernel counts a thread for a moment after it has ended. */
static int start_first(struct workers *w)
{
	const struct timespec pause = { .tv_nsec = WORKERS_PAUSE_NS };
	int rc;

	for (int n = 0; (rc = start_one(w)) == -EAGAIN && n < WORKERS_N_TRIES; n++)
		nanosleep(&pause, NULL);
	return rc;
}

void workers_set_max(struct workers *w, unsigned max_threads)
{
	w->max_threads = MIN(MAX(max_threads, 1u), (unsigned)WORKERS_MAX);
}

int workers_new(unsigned max_threads, int wake_fd, void (*run)(struct io_req *req),
		struct workers **out)
{
	struct workers *w = calloc(1, sizeof(*w));
	int rc;

	if (!w)
		return -ENOMEM;
	w->has_own_fd = wake_fd < 0;
	if (w->has_own_fd)
		wake_fd = wake_open();
	if (wake_fd < 0) {
		free(w);
		return wake_fd;
	}
	w->run = run;
	workers_set_max(w, max_threads);
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->more, NULL);
	ended_init(&w->ended, &w->lock, wake_fd);
	rc = start_first(w);
	if (rc) {
		workers_free(w);
		return rc;
	}
	*out = w;
	return 0;
}

int workers_wake_fd(const struct workers *w)
{
	return w->ended.wake_fd;
}

void workers_put(struct workers *w, struct req_list *list)
{
	struct io_req *req;
	int rc = 0;

	if (!list->first)
		return;
	pthread_mutex_lock(&w->lock);
	while ((req = req_list_pop(list)))
		enqueue(w, req);
	/* A thread woken but not yet running still counts as idle: at worst one starts later. */
	for (unsigned n = w->n_idle; !rc && n < w->queue.n && w->n_threads < w->max_threads; n++)
		rc = start_one(w);
	for (unsigned n = MIN(w->n_idle, w->queue.n); n; n--)
		pthread_cond_signal(&w->more);
	pthread_mutex_unlock(&w->lock);
}

void workers_set_notify(struct workers *w, bool on)
{
	ended_set_notify(&w->ended, on);
}

unsigned workers_take(struct workers *w, struct io_req **out, unsigned max)
{
	return ended_take(&w->ended, out, max);
}

void workers_free(struct workers *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	assert(!w->queue.first && !w->behind.first && !w->ended.list.first);
	w->stopping = true;
	pthread_cond_broadcast(&w->more);
	pthread_mutex_unlock(&w->lock);
	for (unsigned i = 0; i < w->n_threads; i++)
		pthread_join(w->threads[i], NULL);
	pthread_cond_destroy(&w->more);
	pthread_mutex_destroy(&w->lock);
	if (w->has_own_fd)
		close(w->ended.wake_fd);
	free(w);
}

void workers_leave(struct workers *w)
{
	if (w->has_own_fd)
		close(w->ended.wake_fd);
}
