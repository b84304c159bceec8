/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The name outlives the process that made it: so one that is there already has to be tried before
 * it is replaced. A lock file beside it was rejected: it would be left over just as well.
 */
#include "tools/sockets/address.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int address_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? -errno : fd;
}

/* A socket at which no process listens is what a killed process left. 0: there is none any more. */
static int address_remove_stale(const struct sockaddr_un *address)
{
	struct stat st;
	int fd, rc;

	if (lstat(address->sun_path, &st))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = address_socket();
	if (fd < 0)
		return fd;
	rc = connect(fd, (const struct sockaddr *)address, sizeof(*address)) ? -errno : -EBUSY;
	close(fd);
	if (rc == -EAGAIN)
		return -EBUSY; /* its queue is full */
	if (rc != -ECONNREFUSED)
		return rc;
	return unlink(address->sun_path) ? -errno : 0;
}

int address_bind(const char *path, struct address *address)
{
	struct sockaddr_un *name = &address->name;
	struct stat st;
	int fd, rc;

	*address = (struct address){ .name.sun_family = AF_UNIX };
	if (!*path || strlen(path) > ADDRESS_MAX_LEN)
		return -ENAMETOOLONG;
	memcpy(name->sun_path, path, strlen(path) + 1);
	rc = address_remove_stale(name);
	if (rc)
		return rc;
	fd = address_socket();
	if (fd < 0)
		return fd;
	if (bind(fd, (const struct sockaddr *)name, sizeof(*name)) || lstat(path, &st)) {
		rc = errno == EADDRINUSE ? -EBUSY : -errno;
		close(fd);
		return rc;
	}
	address->device = st.st_dev;
	address->inode = st.st_ino;
	return fd;
}

void address_close(const struct address *address, int fd)
{
	struct stat st;

	if (!lstat(address->name.sun_path, &st) && st.st_dev == address->device &&
	    st.st_ino == address->inode)
		unlink(address->name.sun_path);
	close(fd);
}

const char *address_error(int code)
{
	switch (code) {
	case -EEXIST: return "a file that is no socket is there";
	case -EBUSY: return "another process listens there";
	case -ENOENT: return "the directory that it would lie in does not exist";
	default: return strerror(-code);
	}
}
