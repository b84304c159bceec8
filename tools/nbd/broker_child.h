/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The broker's process, and what both sides send. */
#ifndef TOOLS_NBD_BROKER_CHILD_H
#define TOOLS_NBD_BROKER_CHILD_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "tools/nbd/dial.h"
#include "tools/nbd/names/policy.h"

#define BROKER_FDS      3     /* of one message: a socket, and a pair */
#define BROKER_TEXT_CAP 16384 /* of the strings of a place */

struct broker_place {
	uint8_t tls, is_unix, is_operators, reserved;
	uint16_t port;
	char text[BROKER_TEXT_CAP]; /* host, socket's path, export: each ends with a NUL */
};

struct broker_request {
	uint64_t n, ns; /* a number of its own; how long it may take */
};

struct broker_reply {
	uint64_t n;
	int32_t rc;
	char why[DIAL_WHY_CAP];
};

union broker_control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(BROKER_FDS * sizeof(int))];
};

/* 0 or -errno. */
int broker_send(int fd, const void *bytes, size_t len, const int *fds, size_t n_fds);
/* Bytes; 0: the other side is closed; -errno. Waits. */
ssize_t broker_receive(int fd, void *bytes, size_t cap, int fds[BROKER_FDS]);
/* Of those that came: -1 is none. */
void broker_close_all(const int fds[BROKER_FDS]);
/* Serves until fd and all channels are closed by the other side; ends the process. */
void broker_child_main(int fd, const struct nbd_policy *policy) __attribute__((noreturn));

#endif
