/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The socket's name and rights. A program that may open the socket may
 * steer the job, so the socket is its owner's alone (0600), made so before a client can connect.
 */
#include "tools/control/wire/socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/words/text.h"

static int socket_failed(const char *path, int code, struct bpull_error *error)
{
	return text_error(error, code, "control socket %s: %s", path, address_error(code));
}

/* A socket with its name that does not listen: no client can connect yet. */
static int socket_make(const char *path, struct address *address, int *out,
		       struct bpull_error *error)
{
	int rc, fd = address_bind(path, address);

	if (fd == -ENAMETOOLONG)
		return text_error(error, fd,
				  "control socket '%.40s%s': its name must have 1 to %zu bytes: "
				  "choose a directory with a shorter one",
				  path, strlen(path) > 40 ? "..." : "", ADDRESS_MAX_LEN);
	if (fd < 0)
		return socket_failed(path, fd, error);
	if (chmod(path, 0600)) {
		rc = socket_failed(path, -errno, error);
		address_close(address, fd);
		return rc;
	}
	*out = fd;
	return 0;
}

int control_socket_listen(const char *path, struct address *address, int *out,
			  struct bpull_error *error)
{
	int fd, rc = socket_make(path, address, &fd, error);

	if (rc)
		return rc;
	if (listen(fd, CONTROL_BACKLOG)) {
		rc = socket_failed(path, -errno, error);
		address_close(address, fd);
		return rc;
	}
	*out = fd;
	return 0;
}

int control_try(const char *path, struct bpull_error *error)
{
	struct address address;
	int fd, rc = socket_make(path, &address, &fd, error);

	if (rc)
		return rc;
	address_close(&address, fd);
	return 0;
}
