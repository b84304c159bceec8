/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A Unix socket's name in the file system. */
#ifndef TOOLS_SOCKETS_ADDRESS_H
#define TOOLS_SOCKETS_ADDRESS_H

#include <sys/types.h>
#include <sys/un.h>

/* The longest name, in bytes. */
#define ADDRESS_MAX_LEN (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)

/* A name, and the file that it led to when it was given. */
struct address {
	struct sockaddr_un name;
	dev_t device;
	ino_t inode;
};

/* Makes a stream socket of this name, which does not listen: no client can connect yet. The
 * descriptor is closed on exec and non-blocking; address_close() closes it. A
 * socket at which no process listens any more is replaced. Never waits. Fills *address. The
 * descriptor, or -ENAMETOOLONG: the name is empty or too long; -EEXIST: a file that is no socket is
 * there; -EBUSY: a process listens there; else the kernel's -errno. */
int address_bind(const char *path, struct address *address);
/* Takes the name away, if it is still this socket's, and closes the socket. In this order: another
 * process takes no name at which one listens. */
void address_close(const struct address *address, int fd);
/* What such an error means, behind the socket's name. In memory that is not the caller's, as
 * strerror() has it. */
const char *address_error(int code);

#endif
