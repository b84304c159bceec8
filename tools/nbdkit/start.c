/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A pipe across nbdkit's fork. The handlers of pthread_atfork() are the only
 * place where a plugin is asked in the process that nbdkit leaves; there it
 * waits for one byte, and for a sentence if that byte means a failure. Trying
 * everything before the fork instead was rejected as the only means: the audit
 * of a large image would be done twice, and nbdkit becomes another user between
 * the two. A copy of stderr for the child was rejected: the exit code was said.
 *
 * Other forks before .after_fork (none is known, a filter's might be) end in an
 * exec, which closes the pipe: then the wait ends, and the next fork is watched.
 */
#define NBDKIT_API_VERSION 2

#include "tools/nbdkit/start.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <nbdkit-plugin.h>

#define GOOD 'y'
#define BAD  'n'

static bool is_armed;
static int ends[2] = { -1, -1 }; /* of the pipe of the fork that is under way */
static int start_report = -1;    /* in the child: where to tell */

static void start_before_fork(void)
{
	ends[0] = ends[1] = -1;
	if (is_armed && pipe2(ends, O_CLOEXEC))
		ends[0] = ends[1] = -1; /* without it, nbdkit goes on as it does by itself */
}

static void start_in_child(void)
{
	if (ends[0] < 0)
		return;
	close(ends[0]);
	if (start_report >= 0)
		close(start_report);
	start_report = ends[1];
}

/* Whether a child has ended by itself: nbdkit has no other children yet. It may take a moment from
 * the closing of its files until it can be waited for. It is left to be waited for. */
static bool start_child_is_dead(void)
{
	for (int i = 0; i < 20; i++) {
		siginfo_t info = { 0 };

		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT))
			return false;
		if (info.si_pid)
			return true;
		nanosleep(&(struct timespec){ .tv_nsec = 10 * 1000 * 1000 }, NULL);
	}
	return false;
}

/* Not exit(): the fork's handlers run still, and what nbdkit has to write it has written. */
__attribute__((noreturn)) static void start_end_badly(const char *message)
{
	dprintf(STDERR_FILENO, "nbdkit: blockpull: error: %s\n", message);
	_exit(EXIT_FAILURE);
}

static void start_in_parent(void)
{
	char text[2048];
	size_t len = 0;
	ssize_t n;

	if (ends[0] < 0)
		return;
	close(ends[1]);
	while (len < sizeof(text) - 1 &&
	       ((n = read(ends[0], text + len, sizeof(text) - 1 - len)) > 0 ||
		(n < 0 && errno == EINTR)))
		len += n > 0 ? n : 0;
	close(ends[0]);
	text[len] = 0;
	if (len && text[0] == BAD)
		start_end_badly(text + 1);
	if (len)
		is_armed = false;
	else if (start_child_is_dead())
		start_end_badly("the server ended while it was starting");
}

int start_watch(void)
{
	is_armed = true;
	return -pthread_atfork(start_before_fork, start_in_parent, start_in_child);
}

void start_tell(const char *message)
{
	char text[2048];
	bool is_told;

	snprintf(text, sizeof(text), "%c%s", message ? BAD : GOOD, message ? message : "");
	is_told = start_report >= 0 &&
		  write(start_report, text, strlen(text)) == (ssize_t)strlen(text);
	is_armed = false;
	if (start_report >= 0)
		close(start_report);
	start_report = -1;
	if (message && !is_told)
		nbdkit_error("%s", message);
}
