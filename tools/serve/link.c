/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Frontends come and go; the disk stays open. A second one waits in the socket's
 * queue until the first has left: two would share no state but the disk.
 */
#include "tools/serve/link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tools/cli/say.h"
#include "tools/vhost/guard.h"
#include "tools/words/text.h"

/* ---- the socket ---- */

static int link_bind(struct link *link, const char *path, struct bpull_error *error)
{
	int rc = address_bind(path, &link->address);

	if (rc == -ENAMETOOLONG)
		return text_error(error, rc,
				  "socket '%.40s%s': its name must have 1 to %zu bytes: choose a "
				  "directory with a shorter one",
				  path, strlen(path) > 40 ? "..." : "", ADDRESS_MAX_LEN);
	if (rc >= 0) {
		link->listen_fd = rc;
		link->is_named = true;
		rc = listen(link->listen_fd, 1) ? -errno : 0;
	}
	return rc ? text_error(error, rc, "socket %s: %s", path, address_error(rc)) : 0;
}

static void link_watch(struct link *link, int fd, uint32_t events, enum serve_tag tag)
{
	struct epoll_event event = { .events = events, .data.u64 = tag };

	epoll_ctl(link->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

/* ---- the frontend ---- */

static void link_drain(void *opaque, struct vhost_queue *queue)
{
	port_drain(((struct link *)opaque)->port, queue);
}

/* Each kick makes an edge, so the descriptor is never read: one call less for each. */
static void link_watch_queue(void *opaque, struct vhost_queue *queue)
{
	link_watch(opaque, queue->kick_fd, EPOLLIN | EPOLLET, TAG_WORK);
}

/* The frontend has the descriptor's file open, too: closing ours would not end the watch. */
static void link_unwatch_queue(void *opaque, struct vhost_queue *queue)
{
	struct link *link = opaque;

	epoll_ctl(link->epoll_fd, EPOLL_CTL_DEL, queue->kick_fd, NULL);
}

static void link_all_stopped(void *opaque)
{
	struct port *port = ((struct link *)opaque)->port;

	port->rings_stopped(port->opaque);
}

static const struct vhost_ops link_ops = { link_drain, link_watch_queue, link_unwatch_queue,
					   link_all_stopped };

static void link_connect(struct link *link, int fd)
{
	struct port *port = link->port;

	if (vhost_session_open(&port->session, &port->geometry, &link_ops, link)) {
		close(fd);
		return;
	}
	port->is_connected = true;
	port->is_told = false;
	port->is_gone = false;
	link->channel.fd = fd;
	link->told_refusals = 0;
	link_watch(link, fd, EPOLLIN, TAG_FRONTEND);
}

void link_drop(struct link *link)
{
	struct port *port = link->port;

	if (!port->is_connected)
		return;
	port->is_gone = true;
	port_drain(port, NULL);
	port_disconnect(port);
	record_keep(&port->record);
	vhost_session_close(&port->session);
	port->is_held = false;
	guard_take_hit(); /* of memory that is not there any more */
	port->is_connected = false;
	vhost_channel_done(&link->channel);
	epoll_ctl(link->epoll_fd, EPOLL_CTL_DEL, link->channel.fd, NULL);
	close(link->channel.fd);
	link->channel.fd = -1;
	link->is_over = link->listen_fd < 0;
	if (!link->is_over)
		link_watch(link, link->listen_fd, EPOLLIN, TAG_FRONTEND);
}

static void link_accept(struct link *link)
{
	int fd = accept4(link->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	epoll_ctl(link->epoll_fd, EPOLL_CTL_DEL, link->listen_fd, NULL);
	link_connect(link, fd);
}

/* True: the message stays where it is. What comes behind it is not looked at meanwhile, but for the
 * frontend's end. */
static bool link_update_hold(struct link *link)
{
	struct port *port = link->port;
	struct epoll_event event = { .data.u64 = TAG_FRONTEND };
	bool must = port_must_hold(port, &link->channel.message);

	if (must == port->is_held)
		return must;
	port->is_held = must;
	event.events = must ? EPOLLRDHUP : EPOLLIN;
	epoll_ctl(link->epoll_fd, EPOLL_CTL_MOD, link->channel.fd, &event);
	return must;
}

static bool link_has_hung_up(const struct link *link)
{
	struct pollfd end = { .fd = link->channel.fd, .events = POLLRDHUP };

	return poll(&end, 1, 0) == 1;
}

/* The frontend is told so, too, but not why. Once a connection of each message, so that one which
 * repeats them fills no log. */
static void link_tell_refusal(struct link *link, uint32_t number, const char *why)
{
	uint64_t bit = UINT64_C(1) << (number < 63 ? number : 63);

	if (why && !(link->told_refusals & bit))
		say_error("the frontend's message %u (%s) is refused: %s", number,
			  vhost_message_name(number), why);
	link->told_refusals |= why ? bit : 0;
}

void link_process(struct link *link)
{
	struct vhost_channel *channel = &link->channel;
	const char *why = NULL;

	if (link->port->is_held && link_has_hung_up(link))
		link_drop(link);
	if (channel->fd < 0 && link->listen_fd >= 0)
		link_accept(link);
	while (channel->fd >= 0) {
		enum vhost_received got = vhost_channel_receive(channel, &why);
		uint32_t number = channel->message.header.number;
		enum vhost_outcome outcome = VHOST_HANG_UP;

		if (got == VHOST_NOTHING || (got == VHOST_MESSAGE && link_update_hold(link)))
			return;
		if (got == VHOST_MESSAGE)
			outcome = vhost_session_handle(&link->port->session, &channel->message,
						       channel->fd, &why);
		vhost_channel_done(channel);
		if (outcome == VHOST_GO_ON) {
			link_tell_refusal(link, number, why);
			continue;
		}
		if (got != VHOST_END)
			say_error("the frontend's message %u (%s) is refused, and the connection "
				  "ended: %s",
				  number, vhost_message_name(number), why);
		link_drop(link);
	}
}

/* ---- open and close ---- */

static int link_ask(int fd, int what)
{
	int answer = -1;
	socklen_t len = sizeof(answer);

	return getsockopt(fd, SOL_SOCKET, what, &answer, &len) ? -1 : answer;
}

/* What such a descriptor is not; NULL: it will do. Only over a Unix socket does memory come. */
static const char *link_fault(int fd, bool is_listening)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);

	if (fcntl(fd, F_GETFD) < 0)
		return "is not open";
	if (link_ask(fd, SO_TYPE) != SOCK_STREAM || link_ask(fd, SO_DOMAIN) != AF_UNIX)
		return "is no Unix stream socket";
	if (!is_listening && getpeername(fd, (struct sockaddr *)&peer, &len))
		return "neither listens nor is connected";
	return NULL;
}

/* A socket that was given: listens, or is connected. */
static int link_take(struct link *link, int fd, struct bpull_error *error)
{
	bool is_listening = link_ask(fd, SO_ACCEPTCONN) == 1;
	const char *fault = link_fault(fd, is_listening);

	if (fault)
		return text_error(error, -EINVAL,
				  "--fd: descriptor %d %s: pass a Unix stream socket that listens "
				  "or is connected",
				  fd, fault);
	fcntl(fd, F_SETFD, fcntl(fd, F_GETFD) | FD_CLOEXEC);
	if (!is_listening) {
		link_connect(link, fd);
		return link->channel.fd < 0 ? -ENOMEM : 0;
	}
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	link->listen_fd = fd;
	return 0;
}

int link_open(struct link *link, struct port *port, int epoll_fd, const char *path, int fd,
	      struct bpull_error *error)
{
	int rc;

	*link = (struct link){
		.port = port, .epoll_fd = epoll_fd, .listen_fd = -1, .channel.fd = -1
	};
	rc = path ? link_bind(link, path, error) : link_take(link, fd, error);
	if (rc)
		return rc;
	if (link->listen_fd >= 0)
		link_watch(link, link->listen_fd, EPOLLIN, TAG_FRONTEND);
	return 0;
}

void link_close(struct link *link)
{
	if (link->port && link->port->is_connected)
		port_drain(link->port, NULL);
	if (link->port)
		link_drop(link);
	if (link->is_named)
		address_close(&link->address, link->listen_fd);
	else if (link->listen_fd >= 0)
		close(link->listen_fd);
	link->listen_fd = -1;
	link->is_named = false;
}
