/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Where the name of a unix socket really leads, and a way to it that can't be changed since. */
#ifndef TOOLS_NBD_NAMES_SOCKET_H
#define TOOLS_NBD_NAMES_SOCKET_H

#include <stddef.h>

#include "engine/blockpull.h"

#define NBD_SOCKET_WAY_CAP 32

/* Resolves a socket's name. 0: *real (free with free()) is absolute and without links, and *fd is
 * a descriptor of the socket itself (O_PATH, close on exec, the caller's), to which
 * nbd_socket_way() leads however long the name is, and though links were changed since. -ENOENT:
 * there is no such file now; *real is where it would be, or NULL where its directory is not there
 * either; *fd is -1. Else -errno, nothing is left behind: -ENOTSOCK, -EACCES, -ELOOP, ... The
 * sentence is in *error. Does not block. */
int nbd_socket_open(const char *path, char **real, int *fd, struct bpull_error *error);
/* A short name of the socket behind the descriptor, for connect(), while it is open. */
const char *nbd_socket_way(int fd, char way[NBD_SOCKET_WAY_CAP]);

#endif
