/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * wait4() tells what one child cost. getrusage() around a function in this
 * process was rejected: peak memory only ever rises, so that the second method
 * measured would be charged for the first.
 */
#include "bench/rig/timed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/rig/complain.h"
#include "tools/words/exit_code.h"

uint64_t timed_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void *timed_shared(size_t len)
{
	void *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED) {
		complain_system("memory");
		return NULL;
	}
	return mem;
}

static int timed_compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

uint64_t timed_median(uint64_t *values, uint64_t n)
{
	qsort(values, n, sizeof(values[0]), timed_compare);
	return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

struct timed_summary timed_summarize(const struct timed_cost *costs, uint64_t n)
{
	uint64_t values[TIMED_MAX_ROUNDS];
	struct timed_summary s = { 0 };

	for (uint64_t i = 0; i < n; i++) {
		values[i] = costs[i].cpu_ns;
		if (costs[i].rss_len > s.rss_len)
			s.rss_len = costs[i].rss_len;
	}
	s.cpu_ns = timed_median(values, n);
	for (uint64_t i = 0; i < n; i++)
		values[i] = costs[i].wall_ns;
	s.median_ns = timed_median(values, n);
	s.min_ns = values[0];
	s.max_ns = values[n - 1];
	return s;
}

static uint64_t timed_ns_of(struct timeval t)
{
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_usec * 1000;
}

static int timed_sync_made(const char *made)
{
	int fd = made ? open(made, O_RDONLY | O_CLOEXEC) : -1;
	int code = made && (fd < 0 || fsync(fd)) ? complain_system(made) : 0;

	if (fd >= 0)
		close(fd);
	return code;
}

int timed_run(int (*work)(void *opaque), void *opaque, const char *made, struct timed_cost *cost)
{
	uint64_t begin_ns = timed_now_ns();
	struct rusage usage;
	int status;
	int code;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (child < 0)
		return complain_system("fork");
	if (!child) {
		code = work(opaque);

		fflush(NULL);
		_exit(code);
	}
	while (wait4(child, &status, 0, &usage) < 0)
		if (errno != EINTR)
			return complain_system("wait");
	code = timed_sync_made(made);
	*cost = (struct timed_cost){
		.wall_ns = timed_now_ns() - begin_ns,
		.cpu_ns = timed_ns_of(usage.ru_utime) + timed_ns_of(usage.ru_stime),
		.rss_len = (uint64_t)usage.ru_maxrss * 1024,
	};
	if (WIFSIGNALED(status))
		return complain(EXIT_CODE_FAILED, "a measured run was ended by signal %d",
				WTERMSIG(status));
	return WEXITSTATUS(status) ? WEXITSTATUS(status) : code;
}
