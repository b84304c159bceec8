/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Packets, and the descriptors that go with them. */
#include "tools/nbd/broker_child.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int broker_send(int fd, const void *bytes, size_t len, const int *fds, size_t n_fds)
{
	struct iovec iov = { .iov_base = (void *)bytes, .iov_len = len };
	union broker_control control = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n_fds) {
		struct cmsghdr *c = &control.header;

		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	while (sendmsg(fd, &msg, MSG_NOSIGNAL) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

ssize_t broker_receive(int fd, void *bytes, size_t cap, int fds[BROKER_FDS])
{
	struct iovec iov = { .iov_base = bytes, .iov_len = cap };
	union broker_control control = { 0 };
	/* CMSG_SPACE() would be room for one more: what is too many the kernel closes. */
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = CMSG_LEN(BROKER_FDS * sizeof(int)) };
	ssize_t n;

	for (unsigned i = 0; i < BROKER_FDS; i++)
		fds[i] = -1;
	do
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			memcpy(fds, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
	return n;
}

void broker_close_all(const int fds[BROKER_FDS])
{
	for (unsigned i = 0; i < BROKER_FDS; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}
