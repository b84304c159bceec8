/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What other threads do with a remote: the library asks, opens, closes and shares it. Questions go
 * into an inbox under shared.lock, guests' apart from others', and the remote's own thread
 * (remote_loop.c) takes them from there. Nothing in `own` is touched here once that thread runs.
 */
#include "tools/nbd/remote.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tools/clock/monotonic.h"
#include "tools/nbd/remote_state.h"

#define NS_PER_S 1000000000ull

/* Under the lock. */
static void remote_wake(struct remote *remote)
{
	uint64_t one = 1;

	if (remote->shared.is_woken)
		return;
	remote->shared.is_woken = true;
	if (write(remote->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		abort(); /* an eventfd takes a 1, or is as readable as can be */
}

/* ---- What the library asks ------------------------------------------------- */

/* 0, or -errno: the caller ends the question. */
static int remote_submit(struct remote *remote, struct ask *ask)
{
	struct ask_queue *inbox =
		&remote->shared
			 .inbox[ask->asker == BPULL_SOURCE_GUEST ? REMOTE_GUESTS : REMOTE_OTHERS];
	int rc = 0;

	pthread_mutex_lock(&remote->shared.lock);
	if (remote->shared.is_closing)
		rc = -ECANCELED;
	if (rc == 0) {
		for (size_t i = 0; i < ask->n_pieces; i++)
			ask_queue_add(inbox, &ask->pieces[i]);
		remote_wake(remote);
	}
	pthread_mutex_unlock(&remote->shared.lock);
	return rc;
}

static void remote_read(void *source, void *buf, size_t len, uint64_t offset,
			enum bpull_source_asker asker, struct bpull_source_ask *ask)
{
	struct remote *remote = source;
	struct ask *new = NULL;
	int rc = 0;

	if (len > 0) {
		new = ask_new_read(ask, asker, buf, len, offset, remote->max_request);
		rc = new ? remote_submit(remote, new) : -ENOMEM;
	}
	if (rc == 0 && new)
		return;
	free(new);
	bpull_source_read_done(ask, rc);
}

static void remote_extents(void *source, uint64_t offset, uint64_t len,
			   enum bpull_source_asker asker, struct bpull_source_ask *ask)
{
	struct remote *remote = source;
	struct ask *new = NULL;
	int rc = 0;

	if (remote->export.has_extents && len > 0) {
		new = ask_new_extents(ask, asker, offset, len);
		rc = new ? remote_submit(remote, new) : -ENOMEM;
	}
	if (rc == 0 && new)
		return;
	free(new);
	bpull_source_extents_done(ask, rc, NULL, 0);
}

/* ---- Opening and closing --------------------------------------------------- */

static void remote_free(struct remote *remote)
{
	void (*closed)(void *opaque) = remote->closed;
	void *opaque = remote->opaque;

	if (remote->wake_fd >= 0)
		close(remote->wake_fd);
	pthread_cond_destroy(&remote->shared.opened_changed);
	pthread_mutex_destroy(&remote->shared.lock);
	record_close(remote->record);
	free(remote->identity);
	free(remote->export_name);
	free(remote);
	closed(opaque);
}

static void remote_leave_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* In a child of fork(): closes what was inherited, and leaves the memory. */
static void remote_leave(void *source)
{
	struct remote *remote = source;

	if (remote->is_left)
		return;
	remote->is_left = true;
	for (unsigned i = 0; i < REMOTE_MAX_WIRES; i++) {
		remote_leave_fd(remote->shared.fds[i]);
		for (unsigned j = 0; j < TLS_PUMP_FDS; j++)
			remote_leave_fd(remote->shared.tls_fds[i][j]);
	}
	dialer_leave(remote->dialer);
	close(remote->wake_fd);
}

static void remote_end(struct remote *remote)
{
	pthread_mutex_lock(&remote->shared.lock);
	remote->shared.is_closing = true;
	/* libnbd may be reading what a server sends without an end. */
	for (unsigned i = 0; i < REMOTE_MAX_WIRES; i++)
		if (remote->shared.fds[i] >= 0)
			shutdown(remote->shared.fds[i], SHUT_RDWR);
	remote_wake(remote);
	pthread_mutex_unlock(&remote->shared.lock);
	pthread_join(remote->thread, NULL);
	dialer_close(remote->dialer);
	remote_free(remote);
}

static void remote_close(void *source)
{
	struct remote *remote = source, **link = &remote->remotes->first;
	bool is_last;

	pthread_mutex_lock(&remote->remotes->lock);
	is_last = --remote->n_users == 0;
	while (is_last && *link != remote)
		link = &(*link)->next;
	if (is_last)
		*link = remote->next;
	pthread_mutex_unlock(&remote->remotes->lock);
	if (is_last)
		remote_end(remote);
}

static const struct bpull_source_ops remote_ops = {
	.size = sizeof(struct bpull_source_ops),
	.read = remote_read,
	.extents = remote_extents,
	.close = remote_close,
	.leave = remote_leave,
};

static uint64_t remote_least(const struct remote_settings *settings)
{
	uint64_t least = settings->request_ns;

	if (settings->guest_ns < least)
		least = settings->guest_ns;
	return least;
}

static int remote_start(struct remote *remote, const struct remote_options *options)
{
	const struct nbd_place *place = options->place;
	uint64_t least_ns = remote_least(options->settings);
	struct dialer_options dialer = {
		.way = options->way,
		.keys = place->tls ? options->settings->keys : NULL,
		.host = place->is_unix ? NULL : strdup(place->host),
		.timeout_ns = options->settings->open_ns,
		.done_fd = remote->wake_fd,
		.tick = remote_watch,
		.opaque = remote,
		.tick_ns = least_ns / 4,
	};
	sigset_t all, before;
	int rc = place->is_unix || dialer.host ? dialer_open(&dialer, &remote->dialer) : -ENOMEM;

	if (rc) {
		free(dialer.host);
		options->way.free(options->way.way);
		return rc;
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = -pthread_create(&remote->thread, NULL, remote_main, remote);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc)
		dialer_close(remote->dialer);
	return rc;
}

/* NULL: no memory. */
static struct remote *remote_new(const struct remote_options *options)
{
	struct remote *new = calloc(1, sizeof(*new));
	pthread_condattr_t attr;

	if (!new)
		return NULL;
	new->settings = options->settings;
	new->record = options->record;
	new->closed = options->closed;
	new->remotes = options->remotes;
	new->is_operators = options->is_operators;
	new->opaque = options->opaque;
	pthread_mutex_init(&new->shared.lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&new->shared.opened_changed, &attr);
	pthread_condattr_destroy(&attr);
	for (unsigned i = 0; i < REMOTE_MAX_WIRES; i++)
		new->shared.fds[i] = new->shared.tls_fds[i][0] = new->shared.tls_fds[i][1] = -1;
	for (unsigned i = 0; i < REMOTE_CLASSES; i++) {
		ask_queue_init(&new->shared.inbox[i]);
		ask_queue_init(&new->own.queue[i]);
	}
	new->identity = strdup(options->identity);
	new->export_name = strdup(options->place->export_name);
	new->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return new;
}

/* Waits for the first connection. 0, or -errno with why. */
static int remote_wait(struct remote *remote, char why[DIAL_WHY_CAP])
{
	uint64_t until_ns = monotonic_ns() + remote->settings->open_ns;
	struct timespec until = { until_ns / NS_PER_S, until_ns % NS_PER_S };
	int rc = 0;

	pthread_mutex_lock(&remote->shared.lock);
	while (remote->shared.opened == REMOTE_OPENING && rc == 0)
		rc = pthread_cond_timedwait(&remote->shared.opened_changed, &remote->shared.lock,
					    &until);
	if (remote->shared.opened == REMOTE_OPEN) {
		rc = 0;
	} else if (remote->shared.opened == REMOTE_FAILED) {
		rc = remote->shared.rc;
		memcpy(why, remote->shared.why, DIAL_WHY_CAP);
	} else {
		rc = -ETIMEDOUT;
		snprintf(why, DIAL_WHY_CAP, "the server did not answer for %llu s",
			 (unsigned long long)(remote->settings->open_ns / NS_PER_S));
	}
	pthread_mutex_unlock(&remote->shared.lock);
	return rc;
}

static int remote_open_fail(struct bpull_error *error, const char *identity, int rc,
			    const char *why)
{
	error->code = rc;
	snprintf(error->message, sizeof(error->message), "%.512s: %s", identity, why);
	return rc;
}

static void remote_give(struct remote *remote, struct bpull_source *source)
{
	*source = (struct bpull_source){
		.size = sizeof(*source),
		.ops = &remote_ops,
		.source = remote,
		.length = remote->export.length,
		.block_size = remote->export.block_size,
		.max_size = WIRE_MAX_REQUEST,
		.identity = remote->identity,
	};
}

bool remotes_share(struct remotes *remotes, const char *identity, bool is_operators,
		   struct bpull_source *source)
{
	struct remote *remote;

	pthread_mutex_lock(&remotes->lock);
	for (remote = remotes->first; remote; remote = remote->next)
		if (remote->is_operators == is_operators && !strcmp(remote->identity, identity) &&
		    record_is_connected(remote->record))
			break;
	if (remote) {
		remote->n_users++;
		remote_give(remote, source);
	}
	pthread_mutex_unlock(&remotes->lock);
	return remote;
}

int remote_open(const struct remote_options *options, struct bpull_source *source,
		struct bpull_error *error)
{
	struct remote *remote = remote_new(options);
	char why[DIAL_WHY_CAP] = "there is no memory";
	int rc;

	if (!remote) {
		options->way.free(options->way.way);
		record_close(options->record);
		options->closed(options->opaque);
		return remote_open_fail(error, options->identity, -ENOMEM, why);
	}
	if (!remote->identity || !remote->export_name || remote->wake_fd < 0) {
		options->way.free(options->way.way);
		remote_free(remote);
		return remote_open_fail(error, options->identity, -ENOMEM, why);
	}
	rc = remote_start(remote, options);
	if (rc) {
		remote_free(remote);
		return remote_open_fail(error, options->identity, rc, strerror(-rc));
	}
	rc = remote_wait(remote, why);
	if (rc) {
		remote_end(remote);
		return remote_open_fail(error, options->identity, rc, why);
	}
	remote_give(remote, source);
	pthread_mutex_lock(&remote->remotes->lock);
	remote->n_users = 1;
	remote->next = remote->remotes->first;
	remote->remotes->first = remote;
	pthread_mutex_unlock(&remote->remotes->lock);
	return 0;
}
