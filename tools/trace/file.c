/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tools/trace/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/words/text_file.h"

static int trace_file_complain(const char *path, int rc, const char *what, char *why)
{
	snprintf(why, TRACE_WHY_CAP, "%.400s: %s%s%s", path, what, rc == -EINVAL ? "" : ": ",
		 rc == -EINVAL ? "" : strerror(-rc));
	return rc;
}

/* Up to one byte more than a trace may have. -errno, or how many were read. */
static ssize_t trace_read_all(int fd, char *text)
{
	size_t len = 0;

	while (len < TRACE_MAX_TEXT + 1) {
		ssize_t n = read(fd, text + len, TRACE_MAX_TEXT + 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : (ssize_t)len;
		len += (size_t)n;
	}
	return (ssize_t)len;
}

int trace_load(const char *path, struct trace *trace, char why[TRACE_WHY_CAP])
{
	char *text = malloc(TRACE_MAX_TEXT + 1);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t len = fd < 0 ? -errno : text ? trace_read_all(fd, text) : -ENOMEM;
	int rc = len < 0 ? trace_file_complain(path, (int)len, "it can't be read", why)
			 : trace_parse(trace, path, text, (size_t)len, why);

	if (fd >= 0)
		close(fd);
	free(text);
	return rc;
}

/* The name that the trace has before it takes its own. A trace there is what a kill left. */
static int trace_file_check_temp(const char *path, const char *temp, char *why)
{
	int rc = text_file_judge(temp, TRACE_MAGIC);

	if (!rc)
		return 0; /* what is wrong with its directory is said of the trace */
	if (rc > 0)
		return unlink(temp) ? trace_file_complain(temp, -errno, "it can't be removed", why)
				    : 0;
	snprintf(
		why, TRACE_WHY_CAP,
		"%.200s: it is written as %.200s first, and that holds something else than a trace",
		path, temp);
	return -EINVAL;
}

/* A trace by its first line, or nothing yet. */
static int trace_file_check(const char *path, char *why)
{
	struct stat st;
	int rc;

	if (lstat(path, &st))
		return errno == ENOENT ? 0
				       : trace_file_complain(path, -errno, "it can't be made", why);
	if (!S_ISREG(st.st_mode))
		return trace_file_complain(
			path, -EINVAL, "it is no regular file, and would be replaced by one", why);
	rc = text_file_begins(path, TRACE_MAGIC);
	if (rc < 0)
		return trace_file_complain(path, rc, "it can't be read", why);
	if (!rc)
		return trace_file_complain(
			path, -EINVAL,
			"it holds something else than a trace, and would be replaced", why);
	return 0;
}

int trace_file_open(struct trace_file *file, const char *path, char why[TRACE_WHY_CAP])
{
	char *copy = strdup(path);
	int rc;

	*file = (struct trace_file){ .path = strdup(path), .dir_fd = -1 };
	file->temp = text_file_temp(path);
	if (!copy || !file->path || !file->temp)
		rc = trace_file_complain(path, -ENOMEM, "it can't be made", why);
	else if (!*path)
		rc = trace_file_complain("trace", -EINVAL, "the name of a file is missing", why);
	else
		rc = trace_file_check(path, why);
	if (!rc)
		rc = trace_file_check_temp(path, file->temp, why);
	if (!rc) {
		const char *dir = dirname(copy);

		file->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (file->dir_fd < 0 || access(dir, W_OK | X_OK))
			rc = trace_file_complain(path, -errno, "it can't be made", why);
	}
	free(copy);
	if (rc)
		trace_file_close(file);
	return rc;
}

int trace_file_save(struct trace_file *file, const struct trace *trace)
{
	size_t len;
	char *text = trace_print(trace, &len);
	int rc;

	if (!text)
		return -ENOMEM;
	rc = text_file_replace(file->path, file->temp, text, len, true);
	/* Some file systems can't sync a directory. */
	if (!rc && fsync(file->dir_fd) && errno != EINVAL)
		rc = -errno;
	free(text);
	return rc;
}

void trace_file_close(struct trace_file *file)
{
	if (file->dir_fd >= 0)
		close(file->dir_fd);
	free(file->path);
	free(file->temp);
	*file = (struct trace_file){ .dir_fd = -1 };
}
