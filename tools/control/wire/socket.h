/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The listening socket: its name in the file system, and its rights. */
#ifndef TOOLS_CONTROL_SOCKET_H
#define TOOLS_CONTROL_SOCKET_H

#include "engine/blockpull.h"
#include "tools/sockets/address.h"

#define CONTROL_BACKLOG 4 /* connections that may wait to be accepted */

/* Listens at the path: a socket of mode 0600. One at which no process listens any more is
 * replaced. Fills *address, and *fd, for address_close(). 0 or -errno with a sentence. */
int control_socket_listen(const char *path, struct address *address, int *fd,
			  struct bpull_error *error);
/* Whether control_open() would work, as far as that can be known: makes the socket and removes it.
 * Never listens: a client that came meanwhile would be hung up on. */
int control_try(const char *path, struct bpull_error *error);

#endif
