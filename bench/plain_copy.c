/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The small programs that bench/run.py needs beside its peers.
 *
 *   plain_copy ceiling|ref FROM TO   the copies of copies.h, until durable
 *   plain_copy clone FROM TO         FICLONERANGE of all of it, and fsync
 *   plain_copy touch MIB             dirties that much memory and frees it, so that the host has
 *                                    given it to this machine before a measured run needs it
 *   plain_copy cost FILE COMMAND...  runs the command and writes "wall_ns cpu_ns rss_kib" to FILE;
 *                                    its exit status is the command's
 *
 * cost exists because a child's peak memory, as wait4() tells it, begins with that of the process
 * that started it: 20 MiB under Python, one here.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/rig/copies.h"

static int plain_copy_die(const char *what, int error)
{
	fprintf(stderr, "plain_copy: %s: %s\n", what, strerror(error));
	exit(1);
}

static int plain_copy_clone_file(const char *from_path, const char *to_path)
{
	int from = open(from_path, O_RDONLY | O_CLOEXEC);
	int to = open(to_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct file_clone_range all = { .src_fd = from }; /* length 0: to its end */

	if (from < 0 || to < 0)
		plain_copy_die("open", errno);
	if (ioctl(to, FICLONERANGE, &all))
		plain_copy_die("clone", errno);
	if (fsync(to))
		plain_copy_die("fsync", errno);
	return 0;
}

static int plain_copy_touch(const char *arg)
{
	size_t len = strtoull(arg, NULL, 10) << 20;
	void *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		plain_copy_die("touch", errno);
	memset(mem, 1, len);
	return 0;
}

static uint64_t plain_copy_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static uint64_t plain_copy_ns_of(struct timeval t)
{
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_usec * 1000;
}

static int plain_copy_cost(const char *path, char **command)
{
	uint64_t begin_ns = plain_copy_now_ns();
	struct rusage usage;
	int status;
	pid_t child = fork();
	uint64_t wall_ns;
	FILE *out;

	if (child < 0)
		plain_copy_die("fork", errno);
	if (!child) {
		execvp(command[0], command);
		plain_copy_die(command[0], errno);
	}
	if (wait4(child, &status, 0, &usage) < 0)
		plain_copy_die("wait", errno);
	wall_ns = plain_copy_now_ns() - begin_ns;
	out = fopen(path, "we");
	if (!out ||
	    fprintf(out, "%" PRIu64 " %" PRIu64 " %ld\n", wall_ns,
		    plain_copy_ns_of(usage.ru_utime) + plain_copy_ns_of(usage.ru_stime),
		    usage.ru_maxrss) < 0 ||
	    fclose(out))
		plain_copy_die(path, errno);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
	const char *verb = argc > 2 ? argv[1] : "", *what = NULL;
	struct copies_job job = { .method = COPIES_CEILING };
	int rc;

	if (argc == 3 && !strcmp(verb, "touch"))
		return plain_copy_touch(argv[2]);
	if (argc > 3 && !strcmp(verb, "cost"))
		return plain_copy_cost(argv[2], argv + 3);
	if (argc == 4 && !strcmp(verb, "clone"))
		return plain_copy_clone_file(argv[2], argv[3]);
	if (argc != 4 || (strcmp(verb, "ceiling") && strcmp(verb, "ref"))) {
		fputs("usage: plain_copy ceiling|ref|clone FROM TO, plain_copy touch MIB, or "
		      "plain_copy "
		      "cost FILE COMMAND...\n",
		      stderr);
		return 2;
	}
	if (!strcmp(verb, "ref"))
		job.method = COPIES_REF;
	job.from = argv[2];
	job.to = argv[3];
	rc = copies_run(&job, &what);
	if (rc)
		plain_copy_die(what, -rc);
	return 0;
}
