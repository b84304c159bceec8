/* SPDX-License-Identifier: MIT OR Apache-2.0 */
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
};

static void dialer_write(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		abort(); /* an eventfd takes a 1, or is as readable as can be */
}

static void dialer_close_pair(const int pair[2])
{
	for (int i = 0; i < 2; i++)
		if (pair[i] >= 0)
			close(pair[i]);
}

static void dialer_attempt(struct dialer *dialer, struct dialer_result *result)
{
	const struct dialer_options *options = &dialer->options;
	uint64_t deadline_ns = monotonic_ns() + options->timeout_ns;
	struct dialed dialed;

	memset(result, 0, sizeof(*result));
	result->rc = options->way.dial(options->way.way, dialer->cancel_fd, deadline_ns, &dialed);
	memcpy(result->why, dialed.why, sizeof(result->why));
	result->fd = dialed.fd;
	if (result->rc || !options->keys)
		return;
	result->rc = tls_pump_begin(options->keys, options->host, dialed.fd, dialed.pair[1],
				    dialer->cancel_fd, deadline_ns, &result->tls, result->why);
	result->fd = dialed.pair[0];
	if (result->rc == 0)
		return;
	dialer_close_pair(dialed.pair);
	close(dialed.fd);
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
	const struct dialer_result *result = &dialer->result;
	int fds[TLS_PUMP_FDS];

	close(dialer->cancel_fd);
	if (way->leave)
		way->leave(way->way);
	if (dialer->state != DIALER_DONE || result->rc)
		return;
	close(result->fd);
	if (!result->tls)
		return;
	tls_pump_fds(result->tls, fds);
	for (unsigned i = 0; i < TLS_PUMP_FDS; i++)
		close(fds[i]);
}
