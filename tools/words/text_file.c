/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A new file each time, which takes the old one's name. Two files that change places
 * (RENAME_EXCHANGE) would need no leave to make one inside the sandbox, but a slow reader would see
 * the one it has opened being written anew, and network file systems can't do it.
 */
#include "tools/words/text_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD_CAP 64

int text_file_begins(const char *path, const char *magic)
{
	size_t magic_len = strlen(magic);
	char head[HEAD_CAP];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t len;

	if (fd < 0)
		return -errno;
	len = magic_len <= sizeof(head) ? read(fd, head, magic_len) : -1;
	close(fd);
	return len == 0 || (len == (ssize_t)magic_len && !memcmp(head, magic, magic_len));
}

int text_file_judge(const char *path, const char *magic)
{
	struct stat st;

	if (lstat(path, &st))
		return 0;
	return S_ISREG(st.st_mode) && text_file_begins(path, magic) == 1 ? 1 : -EEXIST;
}

/* Closes fd. 0 or -errno. */
static int fill(int fd, const char *text, size_t len, bool is_durable)
{
	int rc = 0;

	while (!rc && len) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno != EINTR)
			rc = -errno;
		text += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	if (!rc && is_durable && fsync(fd))
		rc = -errno;
	if (close(fd) && !rc)
		rc = -errno;
	return rc;
}

char *text_file_temp(const char *path)
{
	char *temp_path;

	return asprintf(&temp_path, "%s.tmp", path) < 0 ? NULL : temp_path;
}

int text_file_replace(const char *path, const char *temp_path, const char *text, size_t len,
		      bool is_durable)
{
	int fd, rc;

	/* The sandbox knows these flags, and no others (tools/cli/sandbox.c). */
	fd = open(temp_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	rc = fill(fd, text, len, is_durable);
	if (!rc && rename(temp_path, path))
		rc = -errno;
	if (rc)
		unlink(temp_path);
	return rc;
}
