/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The control socket's descriptors, which change with its clients, in the server's epoll. */
#ifndef TOOLS_SERVE_WATCH_H
#define TOOLS_SERVE_WATCH_H

#include "tools/control/control.h"

struct watch {
	int epoll_fd;
	struct pollfd fds[CONTROL_MAX_FDS];
	int n;
	unsigned long n_taken; /* control_n_taken() of that list */
};

/* Brings the epoll up to date with what the control socket wants to know. */
void watch_update(struct watch *watch, const struct control *control);

#endif
