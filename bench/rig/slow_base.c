/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Every answer takes as long as every other, so questions end in the order in which
 * they came: one thread and one queue are enough for any number of them in flight.
 */
#include "bench/rig/slow_base.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/rig/timed.h"

struct slow_question {
	struct slow_question *next;
	struct bpull_source_ask *ask;
	void *buf;
	size_t len;
	uint64_t off, due_ns;
};

struct slow_base {
	int fd;
	uint64_t len, delay_ns;
	atomic_uint_fast64_t n_reads, n_guest_reads, read_len;
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t come;
	struct slow_question *first, *last;
	bool is_over;
};

static void slow_answer(struct slow_base *base, struct slow_question *q)
{
	uint64_t now_ns = timed_now_ns();
	ssize_t n;

	if (q->due_ns > now_ns) {
		struct timespec nap = { .tv_sec = (time_t)((q->due_ns - now_ns) / 1000000000),
					.tv_nsec = (long)((q->due_ns - now_ns) % 1000000000) };

		nanosleep(&nap, NULL);
	}
	n = pread(base->fd, q->buf, q->len, (off_t)q->off);
	bpull_source_read_done(q->ask, n == (ssize_t)q->len ? 0 : -EIO);
	free(q);
}

static void *slow_run(void *opaque)
{
	struct slow_base *base = opaque;

	pthread_mutex_lock(&base->mutex);
	while (base->first || !base->is_over) {
		struct slow_question *q = base->first;

		if (!q) {
			pthread_cond_wait(&base->come, &base->mutex);
			continue;
		}
		base->first = q->next;
		if (!base->first)
			base->last = NULL;
		pthread_mutex_unlock(&base->mutex);
		slow_answer(base, q);
		pthread_mutex_lock(&base->mutex);
	}
	pthread_mutex_unlock(&base->mutex);
	return NULL;
}

static void slow_read(void *source, void *buf, size_t len, uint64_t offset,
		      enum bpull_source_asker asker, struct bpull_source_ask *ask)
{
	struct slow_base *base = source;
	struct slow_question *q = malloc(sizeof(*q));

	if (!q) {
		bpull_source_read_done(ask, -ENOMEM);
		return;
	}
	atomic_fetch_add(&base->n_reads, 1);
	atomic_fetch_add(&base->n_guest_reads, asker == BPULL_SOURCE_GUEST);
	atomic_fetch_add(&base->read_len, len);
	*q = (struct slow_question){ .ask = ask,
				     .buf = buf,
				     .len = len,
				     .off = offset,
				     .due_ns = timed_now_ns() + base->delay_ns };
	pthread_mutex_lock(&base->mutex);
	*(base->last ? &base->last->next : &base->first) = q;
	base->last = q;
	pthread_cond_signal(&base->come);
	pthread_mutex_unlock(&base->mutex);
}

static const struct bpull_source_ops slow_ops = { .size = sizeof(slow_ops), .read = slow_read };

struct slow_base *slow_base_open(const char *path, uint64_t len, uint64_t delay_ns)
{
	struct slow_base *base = calloc(1, sizeof(*base));

	if (!base)
		return NULL;
	base->fd = open(path, O_RDONLY | O_CLOEXEC);
	base->len = len;
	base->delay_ns = delay_ns;
	pthread_mutex_init(&base->mutex, NULL);
	pthread_cond_init(&base->come, NULL);
	if (base->fd < 0 || pthread_create(&base->thread, NULL, slow_run, base)) {
		free(base);
		return NULL;
	}
	return base;
}

void slow_base_close(struct slow_base *base)
{
	pthread_mutex_lock(&base->mutex);
	base->is_over = true;
	pthread_cond_signal(&base->come);
	pthread_mutex_unlock(&base->mutex);
	pthread_join(base->thread, NULL);
	close(base->fd);
	free(base);
}

uint64_t slow_base_reads(struct slow_base *base)
{
	return atomic_load(&base->n_reads);
}

uint64_t slow_base_guest_reads(struct slow_base *base)
{
	return atomic_load(&base->n_guest_reads);
}

uint64_t slow_base_read_len(struct slow_base *base)
{
	return atomic_load(&base->read_len);
}

int slow_base_find(void *opaque, const struct bpull_open_request *request, struct bpull_base *found,
		   struct bpull_error *error)
{
	struct slow_base *base = opaque;

	(void)request;
	(void)error;
	found->source = (struct bpull_source){ .size = sizeof(found->source),
					       .ops = &slow_ops,
					       .source = base,
					       .length = base->len,
					       .identity = "slow base" };
	return 0;
}
