/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The socket, and the one frontend that is connected. */
#ifndef TOOLS_SERVE_LINK_H
#define TOOLS_SERVE_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/blockpull.h"
#include "tools/serve/port.h"
#include "tools/sockets/address.h"
#include "tools/vhost/channel.h"

struct link {
	struct port *port;
	int epoll_fd;
	int listen_fd; /* -1: the only connection was given to us */
	bool is_named; /* we made the socket: `address` is its name */
	struct address address;
	bool is_over;                 /* there will be no further connection */
	struct vhost_channel channel; /* fd -1: no frontend */
	uint64_t told_refusals;       /* a bit a message's number, from 63 on the last one */
};

/* Whose descriptor it is that epoll reports. */
enum serve_tag {
	TAG_WORK = 0, /* the engine's, or a kick: rings and engine are looked at anyway */
	TAG_STOP = 1,
	TAG_FRONTEND = 2,
	TAG_CONTROL = 4,
	TAG_SERVERS = 8,
};

/* Makes a socket at the path and listens; one at which no process listens any more is replaced. Or
 * takes a socket that was given (path NULL): one that listens, or is connected. 0 or -errno with a
 * sentence. */
int link_open(struct link *link, struct port *port, int epoll_fd, const char *path, int fd,
	      struct bpull_error *error);
/* Takes a frontend, or what it says. Never blocks but in port_drain(). */
void link_process(struct link *link);
/* Ends the connection; what is in flight is waited for first. */
void link_drop(struct link *link);
/* The same at our own end: the guest is given what has ended. */
void link_close(struct link *link);

#endif
