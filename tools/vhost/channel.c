/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A message is read in two steps, header and payload: descriptors come with the
 * first byte of the message that they belong to, and a read never goes beyond
 * one, so that none can be taken for another message's.
 */
#include "tools/vhost/channel.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tools/sockets/retry.h"

#define SEND_MS 1000

union channel_control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(VHOST_MAX_FDS * sizeof(int))];
};

static void channel_close_all(struct vhost_message *m)
{
	for (unsigned i = 0; i < m->n_fds; i++)
		if (m->fds[i] >= 0)
			close(m->fds[i]);
	m->n_fds = 0;
}

/* False: they are more than a message may have; all are closed. */
static bool channel_take_fds(struct vhost_message *m, struct msghdr *msg)
{
	bool fits = !(msg->msg_flags & MSG_CTRUNC);

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			if (m->n_fds < VHOST_MAX_FDS) {
				m->fds[m->n_fds++] = fd;
			} else {
				fits = false;
				close(fd);
			}
		}
	}
	if (!fits)
		channel_close_all(m);
	return fits;
}

/* Reads up to `until` bytes of the message. */
static enum vhost_received channel_fill(struct vhost_channel *channel, size_t until,
					const char **why)
{
	struct vhost_message *m = &channel->message;
	size_t have = channel->have;
	uint8_t *at = have < VHOST_HEADER_LEN ? (uint8_t *)&m->header + have
					      : m->payload.bytes + (have - VHOST_HEADER_LEN);
	struct iovec iov = { .iov_base = at, .iov_len = until - have };
	union channel_control control;
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	ssize_t n = TEMP_FAILURE_RETRY(recvmsg(channel->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));

	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return VHOST_NOTHING;
	if (n < 0 || (n == 0 && !msg.msg_controllen))
		return VHOST_END;
	*why = "it has too many descriptors";
	if (!channel_take_fds(m, &msg))
		return VHOST_NO_SENSE;
	channel->have += n;
	return channel->have == until ? VHOST_MESSAGE : VHOST_NOTHING;
}

enum vhost_received vhost_channel_receive(struct vhost_channel *channel, const char **why)
{
	struct vhost_header *header = &channel->message.header;
	enum vhost_received got = VHOST_MESSAGE;

	if (channel->have < VHOST_HEADER_LEN)
		got = channel_fill(channel, VHOST_HEADER_LEN, why);
	if (got != VHOST_MESSAGE)
		return got;
	*why = vhost_header_wrong(header);
	if (*why)
		return VHOST_NO_SENSE;
	while (channel->have < VHOST_HEADER_LEN + header->len && got != VHOST_END) {
		size_t before = channel->have;

		got = channel_fill(channel, VHOST_HEADER_LEN + header->len, why);
		if (channel->have == before)
			return got;
	}
	return got;
}

void vhost_channel_done(struct vhost_channel *channel)
{
	channel_close_all(&channel->message);
	memset(&channel->message, 0, sizeof(channel->message));
	channel->have = 0;
}

int vhost_channel_send(int fd, const struct vhost_message *m, int with_fd)
{
	struct vhost_message copy = *m;
	struct iovec iov[2] = { { &copy.header, VHOST_HEADER_LEN },
				{ copy.payload.bytes, m->header.len } };
	union channel_control control = { 0 };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	struct pollfd writable = { .fd = fd, .events = POLLOUT };
	ssize_t n;

	if (with_fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int));
		control.header = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
						   .cmsg_type = SCM_RIGHTS,
						   .cmsg_len = CMSG_LEN(sizeof(int)) };
		memcpy(CMSG_DATA(&control.header), &with_fd, sizeof(int));
	}
	if (TEMP_FAILURE_RETRY(poll(&writable, 1, SEND_MS)) != 1)
		return -ETIMEDOUT;
	n = TEMP_FAILURE_RETRY(sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT));
	if (n < 0)
		return -errno;
	/* A stream's socket takes so few bytes whole or not at all. */
	return (size_t)n == VHOST_HEADER_LEN + m->header.len ? 0 : -EPIPE;
}
