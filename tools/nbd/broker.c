/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Messages are packets. To the broker: a place, with the end of a channel; on a channel: a number
 * and how long it may take. Back: the number, what came of it, and descriptors.
 */
#include "tools/nbd/broker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/clock/monotonic.h"
#include "tools/nbd/broker_child.h"

#define NS_PER_S 1000000000ull

struct broker {
	int fd; /* -1: sealed */
};

struct broker_way {
	int fd; /* of the channel */
	uint64_t n;
};

/* ---- The ways -------------------------------------------------------------- */

static int broker_way_fail(struct dialed *dialed, int rc, const char *why)
{
	snprintf(dialed->why, sizeof(dialed->why), "%s", why);
	return rc;
}

static int broker_way_dial(void *opaque, int cancel_fd, uint64_t deadline_ns, struct dialed *dialed)
{
	struct broker_way *way = opaque;
	uint64_t now_ns = monotonic_ns();
	struct broker_request request = { .n = ++way->n,
					  .ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0 };
	struct broker_reply reply = { 0 };
	int fds[BROKER_FDS], rc;

	*dialed = (struct dialed){ .fd = -1, .pair = { -1, -1 } };
	if (broker_send(way->fd, &request, sizeof(request), NULL, 0) != 0)
		return broker_way_fail(dialed, -EHOSTUNREACH, "the process that connects is gone");
	do {
		/* It knows the deadline; a second for it to say so. */
		rc = dial_wait(way->fd, POLLIN, cancel_fd, deadline_ns + NS_PER_S);
		if (rc)
			return broker_way_fail(dialed, rc, strerror(-rc));
		if (broker_receive(way->fd, &reply, sizeof(reply), fds) != sizeof(reply)) {
			broker_close_all(fds);
			return broker_way_fail(dialed, -EHOSTUNREACH,
					       "the process that connects is gone");
		}
		if (reply.n != request.n)
			broker_close_all(fds);
	} while (reply.n != request.n);
	reply.why[sizeof(reply.why) - 1] = '\0';
	dialed->fd = fds[0];
	dialed->pair[0] = fds[1];
	dialed->pair[1] = fds[2];
	return reply.rc ? broker_way_fail(dialed, reply.rc, reply.why) : 0;
}

static void broker_way_free(void *opaque)
{
	struct broker_way *way = opaque;

	close(way->fd);
	free(way);
}

static void broker_way_leave(void *opaque)
{
	const struct broker_way *way = opaque;

	close(way->fd);
}

static size_t broker_pack(const struct nbd_place *place, bool is_operators,
			  struct broker_place *packed)
{
	const char *parts[3] = { place->host ? place->host : "",
				 place->socket_path ? place->socket_path : "", place->export_name };
	size_t at = 0;

	memset(packed, 0, offsetof(struct broker_place, text));
	packed->tls = place->tls;
	packed->is_unix = place->is_unix;
	packed->is_operators = is_operators;
	packed->port = place->port;
	for (unsigned i = 0; i < 3; i++) {
		size_t len = strlen(parts[i]) + 1;

		if (len > sizeof(packed->text) - at)
			return 0;
		memcpy(packed->text + at, parts[i], len);
		at += len;
	}
	return offsetof(struct broker_place, text) + at;
}

int broker_add(struct broker *broker, const struct nbd_place *place, bool is_operators,
	       struct dial_way *way)
{
	struct broker_place *packed = malloc(sizeof(*packed));
	struct broker_way *new = calloc(1, sizeof(*new));
	size_t len = packed ? broker_pack(place, is_operators, packed) : 0;
	int pair[2] = { -1, -1 }, rc = packed && new ? 0 : -ENOMEM;

	if (rc == 0 && len == 0)
		rc = -ENAMETOOLONG;
	if (rc == 0 && broker->fd < 0)
		rc = -EPERM;
	if (rc == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		rc = -errno;
	if (rc == 0)
		rc = broker_send(broker->fd, packed, len, &pair[1], 1);
	free(packed);
	if (pair[1] >= 0)
		close(pair[1]);
	if (rc) {
		if (pair[0] >= 0)
			close(pair[0]);
		free(new);
		return rc;
	}
	new->fd = pair[0];
	*way = (struct dial_way){ broker_way_dial, broker_way_free, broker_way_leave, new };
	return 0;
}

/* ---- The process ----------------------------------------------------------- */

static int broker_fork(const struct nbd_policy *policy, const int pair[2])
{
	pid_t child = fork(), got;
	int status = 0;

	if (child < 0)
		return -errno;
	if (child == 0) {
		/* Its parent ends at once, so that it is no child of ours to be waited for. */
		pid_t again = fork();

		if (again != 0)
			_exit(again < 0 ? 1 : 0);
		broker_child_main(pair[1], policy);
	}
	do
		got = waitpid(child, &status, 0);
	while (got < 0 && errno == EINTR);
	return got == child && status != 0 ? -EAGAIN : 0;
}

int broker_start(const struct nbd_policy *policy, struct broker **broker, struct bpull_error *error)
{
	struct broker *new = calloc(1, sizeof(*new));
	int pair[2] = { -1, -1 }, rc = new ? 0 : -ENOMEM;

	if (rc == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		rc = -errno;
	if (rc == 0)
		rc = broker_fork(policy, pair);
	if (pair[1] >= 0)
		close(pair[1]);
	if (rc) {
		if (pair[0] >= 0)
			close(pair[0]);
		free(new);
		error->code = rc;
		snprintf(error->message, sizeof(error->message),
			 "the process that connects to servers can't be started: %s",
			 strerror(-rc));
		return rc;
	}
	new->fd = pair[0];
	*broker = new;
	return 0;
}

void broker_seal(struct broker *broker)
{
	if (broker->fd >= 0)
		close(broker->fd);
	broker->fd = -1;
}

void broker_free(struct broker *broker)
{
	if (!broker)
		return;
	broker_seal(broker);
	free(broker);
}
