/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * control.h speaks of poll(), whose cost grows with what it is given; a server
 * waits too often for that. Lists are short and change seldom: they are
 * compared.
 */
#include "tools/serve/watch.h"

#include <string.h>
#include <sys/epoll.h>

#include "tools/serve/link.h"

/* A client's descriptor may have been closed, and its number used again: what is gone is no
 * error. */
static void watch_replace(struct watch *watch, const struct pollfd *fds, int n)
{
	for (int i = 0; i < watch->n; i++)
		epoll_ctl(watch->epoll_fd, EPOLL_CTL_DEL, watch->fds[i].fd, NULL);
	for (int i = 0; i < n; i++) {
		struct epoll_event event = { .data.u64 = TAG_CONTROL };

		if (fds[i].events & POLLIN)
			event.events |= EPOLLIN;
		if (fds[i].events & POLLOUT)
			event.events |= EPOLLOUT;
		epoll_ctl(watch->epoll_fd, EPOLL_CTL_ADD, fds[i].fd, &event);
	}
	memcpy(watch->fds, fds, n * sizeof(*fds));
	watch->n = n;
}

void watch_update(struct watch *watch, const struct control *control)
{
	struct pollfd fds[CONTROL_MAX_FDS];
	int n = control_poll_fds(control, fds);

	if (n == watch->n && !memcmp(fds, watch->fds, n * sizeof(*fds)))
		return;
	watch_replace(watch, fds, n);
}
