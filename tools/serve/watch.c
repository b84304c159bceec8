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

/* Nothing is taken out: epoll itself forgets a client's end that is closed, and each other one is
 * in the list. By now the number of a closed one may be a kick's, or another thread's. */
static void watch_replace(struct watch *watch, const struct pollfd *fds, int n)
{
	for (int i = 0; i < n; i++) {
		struct epoll_event event = { .data.u64 = TAG_CONTROL };

		if (fds[i].events & POLLIN)
			event.events |= EPOLLIN;
		if (fds[i].events & POLLOUT)
			event.events |= EPOLLOUT;
		if (epoll_ctl(watch->epoll_fd, EPOLL_CTL_ADD, fds[i].fd, &event) != 0)
			epoll_ctl(watch->epoll_fd, EPOLL_CTL_MOD, fds[i].fd, &event);
	}
	memcpy(watch->fds, fds, n * sizeof(*fds));
	watch->n = n;
}

void watch_update(struct watch *watch, const struct control *control)
{
	struct pollfd fds[CONTROL_MAX_FDS];
	int n = control_poll_fds(control, fds);
	unsigned long n_taken = control_n_taken(control);

	if (n == watch->n && n_taken == watch->n_taken &&
	    !memcmp(fds, watch->fds, n * sizeof(*fds)))
		return;
	watch_replace(watch, fds, n);
	watch->n_taken = n_taken;
}
