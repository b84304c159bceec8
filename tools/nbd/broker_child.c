/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The broker is a fork of the program, and keeps nothing of it but the policy, which it asks
 * again: a program that was taken over gets no other place from it. The main thread takes places;
 * each has a thread of its own, since dialing waits.
 */
#include "tools/nbd/broker_child.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tools/clock/monotonic.h"

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned n; /* under lock */
} broker_channels = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 };

struct broker_channel {
	int fd;
	struct dial_way way;
};

static void broker_count(int change)
{
	pthread_mutex_lock(&broker_channels.lock);
	broker_channels.n += change;
	pthread_cond_signal(&broker_channels.changed);
	pthread_mutex_unlock(&broker_channels.lock);
}

/* A second request, or the end of the channel, cuts an attempt short: the channel is readable. */
static int broker_channel_serve(struct broker_channel *channel)
{
	struct broker_request request;
	struct broker_reply reply = { 0 };
	struct dialed dialed;
	int fds[BROKER_FDS], rc;

	rc = broker_receive(channel->fd, &request, sizeof(request), fds) == sizeof(request)
		     ? 0
		     : -EPIPE;
	broker_close_all(fds); /* a request has none: they would be ours for ever */
	if (rc)
		return rc;
	reply.n = request.n;
	reply.rc = channel->way.dial(channel->way.way, channel->fd, monotonic_ns() + request.ns,
				     &dialed);
	memcpy(reply.why, dialed.why, sizeof(reply.why));
	fds[0] = dialed.fd;
	fds[1] = dialed.pair[0];
	fds[2] = dialed.pair[1];
	if (reply.rc)
		return broker_send(channel->fd, &reply, sizeof(reply), NULL, 0);
	rc = broker_send(channel->fd, &reply, sizeof(reply), fds, fds[1] >= 0 ? BROKER_FDS : 1);
	broker_close_all(fds);
	return rc;
}

static void *broker_channel_main(void *opaque)
{
	struct broker_channel *channel = opaque;

	while (broker_channel_serve(channel) == 0)
		continue;
	close(channel->fd);
	channel->way.free(channel->way.way);
	free(channel);
	broker_count(-1);
	return NULL;
}

/* False: it is no sound message. */
static bool broker_unpack(struct broker_place *packed, size_t len, struct nbd_place *place)
{
	char *parts[3], *at = packed->text;
	char *end = (char *)packed + len;

	for (unsigned i = 0; i < 3; i++) {
		char *nul = at < end ? memchr(at, 0, end - at) : NULL;

		if (!nul)
			return false;
		parts[i] = at;
		at = nul + 1;
	}
	*place = (struct nbd_place){ .tls = packed->tls,
				     .is_unix = packed->is_unix,
				     .host = packed->is_unix ? NULL : parts[0],
				     .port = packed->port,
				     .socket_path = packed->is_unix ? parts[1] : NULL,
				     .export_name = parts[2] };
	return true;
}

/* Without a channel in the end the other side sees that it is closed. */
static void broker_take_place(struct broker_place *packed, size_t len, int fd,
			      const struct nbd_policy *policy)
{
	struct broker_channel *channel = calloc(1, sizeof(*channel));
	struct nbd_place place;
	pthread_t thread;

	if (!channel || !broker_unpack(packed, len, &place) ||
	    (!packed->is_operators && nbd_policy_ask(policy, &place) == NBD_REFUSED) ||
	    dial_direct(&place, packed->is_operators ? NULL : policy, &channel->way) != 0) {
		free(channel);
		close(fd);
		return;
	}
	channel->fd = fd;
	broker_count(1);
	if (pthread_create(&thread, NULL, broker_channel_main, channel) != 0) {
		broker_count(-1);
		channel->way.free(channel->way.way);
		free(channel);
		close(fd);
		return;
	}
	pthread_detach(thread);
}

/* Keeps nothing of the process that it comes from: its files, pipes and locks are its own. */
static int broker_child_detach(int fd)
{
	static const int ignored[] = {
		SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2
	};
	int null_fd;

	for (unsigned i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	prctl(PR_SET_NAME, "blockpull-nbd");
	if (dup2(fd, 3) < 0)
		_exit(1);
#ifdef SYS_close_range
	if (syscall(SYS_close_range, 4u, ~0u, 0u) != 0)
#endif
		for (int i = 4, n = getdtablesize(); i < n; i++)
			close(i);
	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int i = 0; i < 3; i++)
		if (null_fd < 0 || dup2(null_fd, i) < 0)
			close(i);
	if (null_fd > 3)
		close(null_fd);
	return 3;
}

void broker_child_main(int fd, const struct nbd_policy *policy)
{
	struct broker_place *packed = malloc(sizeof(*packed));
	int fds[BROKER_FDS];
	ssize_t n;

	fd = broker_child_detach(fd);
	while (packed && (n = broker_receive(fd, packed, sizeof(*packed), fds)) > 0) {
		int channel = fds[0];

		fds[0] = -1;
		broker_close_all(fds);
		if (channel >= 0)
			broker_take_place(packed, n, channel, policy);
	}
	close(fd);
	pthread_mutex_lock(&broker_channels.lock);
	while (broker_channels.n > 0)
		pthread_cond_wait(&broker_channels.changed, &broker_channels.lock);
	_exit(0);
}
