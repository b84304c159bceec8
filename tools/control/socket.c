/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The socket's name and rights. A program that may open the socket may
 * steer the job, so the socket is its owner's alone (0600), made so before a client can connect.
 */
#include "tools/control/socket.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

__attribute__((format(printf, 3, 4))) static int socket_fail(struct bpull_error *error, int code,
							     const char *format, ...)
{
	va_list args;

	va_start(args, format);
	error->code = code;
	vsnprintf(error->message, sizeof(error->message), format, args);
	va_end(args);
	return code;
}

/* A socket at which no process listens is what a killed process left. 0: there is none any more. */
static int socket_remove_stale(const struct sockaddr_un *address, struct bpull_error *error)
{
	struct stat st;
	int fd, rc;

	if (lstat(address->sun_path, &st))
		return errno == ENOENT ? 0
				       : socket_fail(error, -errno, "control socket %s: %s",
						     address->sun_path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return socket_fail(error, -EEXIST,
				   "control socket %s: a file that is no socket is there",
				   address->sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return socket_fail(error, -errno, "control socket: %s", strerror(errno));
	rc = connect(fd, (const struct sockaddr *)address, sizeof(*address));
	close(fd);
	if (!rc)
		return socket_fail(error, -EBUSY,
				   "control socket %s: another process listens there",
				   address->sun_path);
	if (errno != ECONNREFUSED)
		return socket_fail(error, -errno, "control socket %s: %s", address->sun_path,
				   strerror(errno));
	return unlink(address->sun_path) ? socket_fail(error, -errno, "control socket %s: %s",
						       address->sun_path, strerror(errno))
					 : 0;
}

static int socket_failed(const struct sockaddr_un *address, int code, struct bpull_error *error)
{
	return socket_fail(error, code, "control socket %s: %s", address->sun_path,
			   strerror(-code));
}

/* A socket with its name that does not listen: no client can connect yet. */
static int socket_make(const char *path, struct sockaddr_un *address, int *out,
		       struct bpull_error *error)
{
	int fd, rc;

	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (!*path || strlen(path) >= sizeof(address->sun_path))
		return socket_fail(error, -ENAMETOOLONG, "control socket: a name of 1 to %zu bytes",
				   sizeof(address->sun_path) - 1);
	memcpy(address->sun_path, path, strlen(path) + 1);
	rc = socket_remove_stale(address, error);
	if (rc)
		return rc;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return socket_fail(error, -errno, "control socket: %s", strerror(errno));
	rc = bind(fd, (const struct sockaddr *)address, sizeof(*address)) ? -errno : 0;
	if (!rc && chmod(address->sun_path, 0600))
		rc = -errno;
	if (rc) {
		close(fd);
		return socket_failed(address, rc, error);
	}
	*out = fd;
	return 0;
}

int control_socket_listen(const char *path, struct sockaddr_un *address, int *out,
			  struct bpull_error *error)
{
	int fd, rc = socket_make(path, address, &fd, error);

	if (rc)
		return rc;
	if (listen(fd, CONTROL_BACKLOG)) {
		rc = socket_failed(address, -errno, error);
		close(fd);
		unlink(path);
		return rc;
	}
	*out = fd;
	return 0;
}

int control_try(const char *path, struct bpull_error *error)
{
	struct sockaddr_un address;
	int fd, rc = socket_make(path, &address, &fd, error);

	if (rc)
		return rc;
	close(fd);
	unlink(address.sun_path);
	return 0;
}
