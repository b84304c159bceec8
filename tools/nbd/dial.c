/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Looking up a host's name can't be cut short, so a thread of its own does it, which is left alone
 * when the lookup is not waited for any more; the last of both frees what they share.
 */
#include "tools/nbd/dial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tools/clock/monotonic.h"
#include "tools/nbd/names/socket.h"

#define NS_PER_S   1000000000ull
#define NS_PER_MS  1000000ull
#define BACKLOG_MS 50 /* a unix socket whose backlog is full is tried again after it */
/* A connection of which a router has forgotten: known before a guest's time is over. */
#define KEEP_IDLE_S   30
#define LOST_MS       15000u
#define DIAL_MAX_ADDR 16 /* addresses of one host that are tried */

struct dial_here {
	struct nbd_place place;
	const struct nbd_policy *policy;
};

int dial_wait(int fd, short events, int cancel_fd, uint64_t deadline_ns)
{
	struct pollfd polls[2] = { { .fd = fd, .events = events },
				   { .fd = cancel_fd, .events = POLLIN } };
	uint64_t now_ns;

	while ((now_ns = monotonic_ns()) < deadline_ns) {
		uint64_t ms = (deadline_ns - now_ns) / NS_PER_MS + 1;
		int n = poll(polls, 2, ms < 60000 ? (int)ms : 60000);

		if (n > 0 && polls[1].revents)
			return -ECANCELED;
		if (n > 0 && polls[0].revents)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
	return -ETIMEDOUT;
}

__attribute__((format(printf, 3, 4))) static int dial_fail(struct dialed *dialed, int rc,
							   const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(dialed->why, sizeof(dialed->why), format, args);
	va_end(args);
	return rc;
}

static int dial_fail_as(struct dialed *dialed, const struct bpull_error *error)
{
	return dial_fail(dialed, error->code, "%.*s", DIAL_WHY_CAP - 1, error->message);
}

/* ---- Connecting ------------------------------------------------------------ */

/* For a child of fork(): once it is closed, its number may be another file's. */
static void dial_close(int *fd)
{
	int closed = *fd;

	*fd = -1;
	close(closed);
}

/* 0, or -errno; the socket is closed then. */
static int dial_connect(const struct sockaddr *address, socklen_t len, int cancel_fd,
			uint64_t deadline_ns, int *fd)
{
	int error = 0, rc;
	socklen_t error_len = sizeof(error);

	*fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (*fd < 0)
		return -errno;
	rc = connect(*fd, address, len) == 0 ? 0 : -errno;
	while (rc == -EAGAIN) {
		rc = dial_wait(-1, 0, cancel_fd, monotonic_ns() + BACKLOG_MS * NS_PER_MS);
		if (rc == -ETIMEDOUT && monotonic_ns() < deadline_ns)
			rc = connect(*fd, address, len) == 0 ? 0 : -errno;
	}
	if (rc == -EINPROGRESS || rc == -EINTR) {
		rc = dial_wait(*fd, POLLOUT, cancel_fd, deadline_ns);
		if (rc == 0 && getsockopt(*fd, SOL_SOCKET, SO_ERROR, &error, &error_len) == 0)
			rc = -error;
	}
	if (rc)
		dial_close(fd);
	return rc;
}

static int dial_unix(const struct dial_here *here, int cancel_fd, uint64_t deadline_ns,
		     struct dialed *dialed)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char way[NBD_SOCKET_WAY_CAP], *real = NULL;
	struct bpull_error error = { 0 };
	int fd = -1, rc;

	rc = nbd_socket_open(here->place.socket_path, &real, &fd, &error);
	if (here->policy && (rc == 0 || real) &&
	    !nbd_policy_allows_socket(here->policy, &here->place, real))
		rc = nbd_policy_refuse(&here->place, real, NULL, &error);
	free(real);
	if (rc) {
		if (fd >= 0)
			close(fd);
		return dial_fail_as(dialed, &error);
	}
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", nbd_socket_way(fd, way));
	rc = dial_connect((struct sockaddr *)&address, sizeof(address), cancel_fd, deadline_ns,
			  &dialed->fd);
	close(fd);
	return rc ? dial_fail(dialed, rc, "the socket can't be connected to: %s", strerror(-rc))
		  : 0;
}

/* ---- Looking up ------------------------------------------------------------ */

struct dial_lookup {
	pthread_mutex_t lock;
	unsigned n_users; /* under lock: the thread, and what waits for it */
	char *host;
	char port[8];
	int done_fd;            /* an eventfd */
	int rc;                 /* under lock: of getaddrinfo() */
	struct addrinfo *found; /* the same */
};

static void dial_lookup_leave(struct dial_lookup *lookup)
{
	bool is_last;

	pthread_mutex_lock(&lookup->lock);
	is_last = --lookup->n_users == 0;
	pthread_mutex_unlock(&lookup->lock);
	if (!is_last)
		return;
	if (lookup->found)
		freeaddrinfo(lookup->found);
	if (lookup->done_fd >= 0)
		close(lookup->done_fd);
	pthread_mutex_destroy(&lookup->lock);
	free(lookup->host);
	free(lookup);
}

static void *dial_lookup_main(void *opaque)
{
	struct dial_lookup *lookup = opaque;
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
	uint64_t one = 1;
	struct addrinfo *found = NULL;
	int rc = getaddrinfo(lookup->host, lookup->port, &hints, &found);

	pthread_mutex_lock(&lookup->lock);
	lookup->rc = rc;
	lookup->found = found;
	pthread_mutex_unlock(&lookup->lock);
	if (write(lookup->done_fd, &one, sizeof(one)) < 0)
		abort(); /* an eventfd takes a 1 */
	dial_lookup_leave(lookup);
	return NULL;
}

static int dial_start_thread(void *(*start)(void *), void *opaque)
{
	sigset_t all, before;
	pthread_t thread;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&thread, NULL, start, opaque);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc == 0)
		pthread_detach(thread);
	return -rc;
}

static struct dial_lookup *dial_lookup_new(const struct nbd_place *place)
{
	struct dial_lookup *lookup = calloc(1, sizeof(*lookup));

	if (!lookup)
		return NULL;
	pthread_mutex_init(&lookup->lock, NULL);
	lookup->n_users = 1;
	lookup->host = strdup(place->host);
	lookup->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	snprintf(lookup->port, sizeof(lookup->port), "%u", place->port);
	if (lookup->host && lookup->done_fd >= 0)
		return lookup;
	dial_lookup_leave(lookup);
	return NULL;
}

/* 0, or -errno with why; *lookup is to be left then, too, if it is not NULL. */
static int dial_look_up(const struct nbd_place *place, int cancel_fd, uint64_t deadline_ns,
			struct dial_lookup **lookup, struct dialed *dialed)
{
	int rc;

	*lookup = dial_lookup_new(place);
	if (!*lookup)
		return dial_fail(dialed, -ENOMEM, "there is no memory");
	(*lookup)->n_users = 2;
	rc = dial_start_thread(dial_lookup_main, *lookup);
	if (rc) {
		(*lookup)->n_users = 1;
		return dial_fail(dialed, rc, "no thread can be started: %s", strerror(-rc));
	}
	rc = dial_wait((*lookup)->done_fd, POLLIN, cancel_fd, deadline_ns);
	if (rc)
		return dial_fail(dialed, rc, "the host's name can't be looked up: %s",
				 strerror(-rc));
	pthread_mutex_lock(&(*lookup)->lock);
	rc = (*lookup)->rc;
	pthread_mutex_unlock(&(*lookup)->lock);
	if (rc)
		return dial_fail(dialed, -EHOSTUNREACH, "the host's name can't be looked up: %s",
				 gai_strerror(rc));
	return 0;
}

static int dial_address(const struct dial_here *here, const struct addrinfo *info, int cancel_fd,
			uint64_t deadline_ns, struct dialed *dialed)
{
	struct bpull_error error = { 0 };
	int rc, on = 1, idle_s = KEEP_IDLE_S;
	unsigned lost_ms = LOST_MS;

	if (here->policy && !nbd_policy_allows_address(here->policy, &here->place, info->ai_addr,
						       info->ai_addrlen)) {
		nbd_policy_refuse(&here->place, NULL, info->ai_addr, &error);
		return dial_fail_as(dialed, &error);
	}
	rc = dial_connect(info->ai_addr, info->ai_addrlen, cancel_fd, deadline_ns, &dialed->fd);
	if (rc)
		return dial_fail(dialed, rc, "the server can't be connected to: %s", strerror(-rc));
	setsockopt(dialed->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(dialed->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(dialed->fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	setsockopt(dialed->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &lost_ms, sizeof(lost_ms));
	return 0;
}

static int dial_host(const struct dial_here *here, int cancel_fd, uint64_t deadline_ns,
		     struct dialed *dialed)
{
	struct dial_lookup *lookup = NULL;
	int rc = dial_look_up(&here->place, cancel_fd, deadline_ns, &lookup, dialed);
	const struct addrinfo *info = rc == 0 ? lookup->found : NULL;
	unsigned n = 0;

	for (const struct addrinfo *i = info; i && n < DIAL_MAX_ADDR; i = i->ai_next)
		n++;
	if (rc == 0)
		rc = -EHOSTUNREACH;
	for (; info && n > 0; info = info->ai_next, n--) {
		uint64_t now_ns = monotonic_ns();
		uint64_t until_ns =
			now_ns < deadline_ns ? now_ns + (deadline_ns - now_ns) / n : deadline_ns;

		rc = dial_address(here, info, cancel_fd, until_ns, dialed);
		if (rc == 0 || rc == -ECANCELED)
			break;
	}
	if (lookup)
		dial_lookup_leave(lookup);
	return rc;
}

/* ---- The way --------------------------------------------------------------- */

static int dial_here_dial(void *way, int cancel_fd, uint64_t deadline_ns, struct dialed *dialed)
{
	const struct dial_here *here = way;
	int rc;

	*dialed = (struct dialed){ .fd = -1, .pair = { -1, -1 } };
	rc = (here->place.is_unix ? dial_unix : dial_host)(here, cancel_fd, deadline_ns, dialed);
	if (rc == 0 && here->place.tls &&
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, dialed->pair) != 0) {
		rc = dial_fail(dialed, -errno, "no sockets can be made: %s", strerror(errno));
		dial_close(&dialed->fd);
	}
	return rc;
}

static void dial_here_free(void *way)
{
	struct dial_here *here = way;

	nbd_place_free(&here->place);
	free(here);
}

int dial_direct(const struct nbd_place *place, const struct nbd_policy *policy,
		struct dial_way *way)
{
	struct dial_here *here = calloc(1, sizeof(*here));

	if (!here || nbd_place_copy(&here->place, place) != 0) {
		free(here);
		return -ENOMEM;
	}
	here->policy = policy;
	*way = (struct dial_way){ dial_here_dial, dial_here_free, NULL, here };
	return 0;
}
