/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * One attempt at a time goes IDLE, WANTED, AT_WORK, DONE: the remote's thread moves it to WANTED
 * and back to IDLE, the helper does the rest. The lock is not held while the helper dials, so
 * nothing waits for an attempt but the close, which cuts it short by cancel_fd.
 */
#include "tools/nbd/dialer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "tools/clock/monotonic.h"

#define NS_PER_S 1000000000ull

enum dialer_state {
	DIALER_IDLE = 0,
	DIALER_WANTED,
	DIALER_AT_WORK,
	DIALER_DONE
};

struct dialer {
	struct dialer_options options;
	int cancel_fd; /* an eventfd: written to once, by dialer_close() */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum dialer_state state; /* this and what follows under lock */
	bool is_closing;
	struct dialer_result result;
	/* The attempt's: the thread's own while AT_WORK, under lock else. Its descriptors, or -1,
	 * from when they exist until they are taken, for a child of fork(). */
	struct dialed dialed;
};

static void dialer_write(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		abort(); /* an eventfd takes a 1, or is as readable as can be */
}

static void dialer_forget(struct dialed *dialed)
{
	dialed->fd = dialed->pair[0] = dialed->pair[1] = -1;
}

static void dialer_close_all(const struct dialed *dialed)
{
	const int fds[] = { dialed->fd, dialed->pair[0], dialed->pair[1] };

	for (unsigned i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static void dialer_attempt(struct dialer *dialer, struct dialer_result *result)
{
	const struct dialer_options *options = &dialer->options;
	uint64_t deadline_ns = monotonic_ns() + options->timeout_ns;
	struct dialed *dialed = &dialer->dialed, failed;

	memset(result, 0, sizeof(*result));
	result->rc = options->way.dial(options->way.way, dialer->cancel_fd, deadline_ns, dialed);
	memcpy(result->why, dialed->why, sizeof(result->why));
	result->fd = dialed->fd;
	if (result->rc || !options->keys)
		return;
	result->rc = tls_pump_begin(options->keys, options->host, dialed->fd, dialed->pair[1],
				    dialer->cancel_fd, deadline_ns, &result->tls, result->why);
	result->fd = dialed->pair[0];
	if (result->rc == 0)
		return;
	/* Once they are closed, their numbers may be other files'. */
	failed = *dialed;
	dialer_forget(dialed);
	dialer_close_all(&failed);
	result->fd = -1;
}

/* Waits for work or for the next tick. */
static void dialer_wait(struct dialer *dialer)
{
	struct timespec at;
	uint64_t at_ns = monotonic_ns() + dialer->options.tick_ns;

	at.tv_sec = at_ns / NS_PER_S;
	at.tv_nsec = at_ns % NS_PER_S;
	pthread_cond_timedwait(&dialer->changed, &dialer->lock, &at);
}

static void *dialer_main(void *opaque)
{
	struct dialer *dialer = opaque;
	struct dialer_result result;

	pthread_mutex_lock(&dialer->lock);
	while (!dialer->is_closing) {
		if (dialer->state != DIALER_WANTED)
			dialer_wait(dialer);
		if (dialer->is_closing)
			break;
		if (dialer->state == DIALER_WANTED) {
			dialer->state = DIALER_AT_WORK;
			pthread_mutex_unlock(&dialer->lock);
			dialer_attempt(dialer, &result);
			pthread_mutex_lock(&dialer->lock);
			dialer->result = result;
			dialer->state = DIALER_DONE;
			dialer_write(dialer->options.done_fd);
		}
		pthread_mutex_unlock(&dialer->lock);
		dialer->options.tick(dialer->options.opaque);
		pthread_mutex_lock(&dialer->lock);
	}
	pthread_mutex_unlock(&dialer->lock);
	return NULL;
}

static int dialer_start(struct dialer *dialer)
{
	pthread_condattr_t attr;
	sigset_t all, before;
	int rc;

	pthread_mutex_init(&dialer->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&dialer->changed, &attr);
	pthread_condattr_destroy(&attr);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&dialer->thread, NULL, dialer_main, dialer);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -rc;
}

int dialer_open(const struct dialer_options *options, struct dialer **dialer)
{
	struct dialer *new = calloc(1, sizeof(*new));
	int rc;

	if (!new)
		return -ENOMEM;
	new->options = *options;
	dialer_forget(&new->dialed);
	new->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = new->cancel_fd < 0 ? -errno : dialer_start(new);
	if (rc) {
		if (new->cancel_fd >= 0)
			close(new->cancel_fd);
		free(new);
		return rc;
	}
	*dialer = new;
	return 0;
}

void dialer_dial(struct dialer *dialer)
{
	pthread_mutex_lock(&dialer->lock);
	dialer->state = DIALER_WANTED;
	pthread_cond_signal(&dialer->changed);
	pthread_mutex_unlock(&dialer->lock);
}

bool dialer_take(struct dialer *dialer, struct dialer_result *result)
{
	bool is_done;

	pthread_mutex_lock(&dialer->lock);
	is_done = dialer->state == DIALER_DONE;
	if (is_done) {
		*result = dialer->result;
		dialer_forget(&dialer->dialed);
		dialer->state = DIALER_IDLE;
	}
	pthread_mutex_unlock(&dialer->lock);
	return is_done;
}

static void dialer_free(struct dialer *dialer)
{
	close(dialer->cancel_fd);
	dialer->options.way.free(dialer->options.way.way);
	free(dialer->options.host);
	free(dialer);
}

void dialer_close(struct dialer *dialer)
{
	if (!dialer)
		return;
	dialer_write(dialer->cancel_fd);
	pthread_mutex_lock(&dialer->lock);
	dialer->is_closing = true;
	pthread_cond_signal(&dialer->changed);
	pthread_mutex_unlock(&dialer->lock);
	pthread_join(dialer->thread, NULL);
	if (dialer->state == DIALER_DONE && dialer->result.rc == 0) {
		close(dialer->result.fd);
		tls_pump_free(dialer->result.tls);
	}
	pthread_cond_destroy(&dialer->changed);
	pthread_mutex_destroy(&dialer->lock);
	dialer_free(dialer);
}

void dialer_leave(const struct dialer *dialer)
{
	const struct dial_way *way = &dialer->options.way;

	close(dialer->cancel_fd);
	if (way->leave)
		way->leave(way->way);
	dialer_close_all(&dialer->dialed);
}
