/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A new file each time, which takes the old one's name: a reader has one or the
 * other. Two files that change places (RENAME_EXCHANGE) would need no leave to
 * make one inside the sandbox, but a slow reader would see the one it has
 * opened being written anew, and network file systems can't do it. Nothing is
 * made durable: after a power cut these numbers are of no use.
 *
 * rename() puts the file in the place of whatever is there, also of a device or
 * an image that was named by mistake. So what is there is looked at first.
 */
#include "tools/pull/metrics_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/cli/say.h"

static bool metrics_file_is_ours(const char *path)
{
	char head[sizeof(METRICS_FILE_MAGIC)];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t len;

	if (fd < 0)
		return false;
	len = read(fd, head, sizeof(METRICS_FILE_MAGIC) - 1);
	close(fd);
	return len == 0 || (len == (ssize_t)sizeof(METRICS_FILE_MAGIC) - 1 &&
			    !memcmp(head, METRICS_FILE_MAGIC, len));
}

int metrics_file_check(const char *path)
{
	struct stat st;

	if (!*path)
		return say_usage("pull", "--metrics-file: a name is missing");
	if (lstat(path, &st))
		return 0;
	if (!S_ISREG(st.st_mode))
		return say_usage("pull",
				 "--metrics-file: '%s' is no regular file, and would be "
				 "replaced by one",
				 path);
	if (!metrics_file_is_ours(path))
		return say_usage("pull",
				 "--metrics-file: '%s' holds something else than metrics "
				 "of blockpull, and would be replaced",
				 path);
	return 0;
}

/* Closes fd. 0 or -errno. */
static int metrics_file_fill(int fd, const char *text, size_t len)
{
	int rc = 0;

	while (!rc && len) {
		ssize_t n = write(fd, text, len);
		if (n < 0 && errno != EINTR)
			rc = -errno;
		text += n > 0 ? n : 0;
		len -= n > 0 ? n : 0;
	}
	if (close(fd) && !rc)
		rc = -errno;
	return rc;
}

int metrics_file_replace(const char *path, const char *temp_path, const char *text, size_t len)
{
	int fd, rc;

	/* What a killed pull left. */
	unlink(temp_path);
	/* The sandbox knows these flags, and no others (tools/cli/sandbox.c). */
	fd = open(temp_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	rc = metrics_file_fill(fd, text, len);
	if (!rc && rename(temp_path, path))
		rc = -errno;
	if (rc)
		unlink(temp_path);
	return rc;
}
