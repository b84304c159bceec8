/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A path that was resolved once may lead elsewhere a moment later, so a socket is opened first,
 * and then the kernel is asked for the name of what is open. A connection is made through the
 * descriptor. Links of /proc are not followed: they would be descriptors of this process.
 */
#include "tools/nbd/names/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tools/nbd/names/refusal.h"

static int open_path(const char *path)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_MAGICLINKS };
	long fd = syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));

	/* A kernel before 5.6. What a link of /proc leads to has no name that a policy allows. */
	if (fd < 0 && errno == ENOSYS)
		fd = open(path, O_PATH | O_CLOEXEC);
	return fd < 0 ? -errno : (int)fd;
}

const char *nbd_socket_way(int fd, char way[NBD_SOCKET_WAY_CAP])
{
	snprintf(way, NBD_SOCKET_WAY_CAP, "/proc/self/fd/%d", fd);
	return way;
}

/* The kernel's name of what is open. */
static int name_of(int fd, char **real)
{
	char way[NBD_SOCKET_WAY_CAP], name[PATH_MAX + 1];
	struct stat st;
	ssize_t len;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	if (!st.st_nlink)
		return -ENOENT;
	len = readlink(nbd_socket_way(fd, way), name, sizeof(name));
	if (len < 0)
		return -ENOTSUP; /* /proc is not mounted */
	if (len == sizeof(name))
		return -ENAMETOOLONG;
	*real = strndup(name, (size_t)len);
	return *real ? 0 : -ENOMEM;
}

/* Where a file would be that does not exist; NULL where its directory does not. */
static char *would_be(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	char *real_dir = dir ? realpath(dir, NULL) : NULL;
	char *real = NULL;

	if (real_dir &&
	    asprintf(&real, "%s/%s", real_dir[1] ? real_dir : "", slash ? slash + 1 : path) < 0)
		real = NULL;
	free(real_dir);
	free(dir);
	return real;
}

static int refuse_socket(const char *path, int code, struct bpull_error *error)
{
	char shown[REFUSAL_NAME_CAP];

	nbd_show(path, shown);
	if (code == -ENOTSOCK)
		return nbd_refuse(error, code, "'%s' is no socket", shown);
	if (code == -ENOENT)
		return nbd_refuse(error, code, "'%s' does not exist: its server is not there",
				  shown);
	return nbd_refuse(error, code, "the socket '%s' can't be opened: %s", shown,
			  strerror(-code));
}

int nbd_socket_open(const char *path, char **real, int *fd, struct bpull_error *error)
{
	int rc;

	*real = NULL;
	*fd = open_path(path);
	rc = *fd < 0 ? *fd : name_of(*fd, real);
	if (!rc)
		return 0;
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	if (rc == -ENOENT)
		*real = would_be(path);
	return refuse_socket(path, rc, error);
}
