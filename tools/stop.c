/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Handlers and a pipe. signalfd() was rejected: it is read by the same loop
 * that may be waiting in a system call for a dead NFS server, and then the
 * second Ctrl-C must still end the process. A handler does that from anywhere,
 * and the image is valid at every moment.
 *
 * A shell starts background jobs of scripts with SIGINT ignored; it is caught
 * all the same, as it ends in nothing worse than a clean stop. An ignored
 * SIGHUP stays ignored: that is what nohup is for.
 */
#include "tools/stop.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include "tools/exit_code.h"

/* timeout(1) signals its child and then the group the child is in; a terminal that goes away and
 * its shell both send SIGHUP. Echoes so close behind the first signal are not a second wish. */
#define STOP_ECHO_NS 100000000

static volatile sig_atomic_t stop_number;
static volatile sig_atomic_t stop_report_wished;
static volatile sig_atomic_t stop_go_on;
static volatile int64_t stop_ns;
static int stop_pipe[2] = { -1, -1 };

static int64_t stop_now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void stop_handle(int number)
{
	int saved_errno = errno;
	if (number == SIGUSR1) {
		stop_report_wished = 1;
	} else if (number == SIGCONT) {
		stop_go_on = 1;
	} else if (!stop_number) {
		stop_ns = stop_now_ns();
		stop_number = number;
	} else if (stop_now_ns() - stop_ns > STOP_ECHO_NS) {
		_exit(EXIT_CODE_SIGNAL + number);
	}
	/* A full pipe is as readable as it has to be. */
	ssize_t written = write(stop_pipe[1], "", 1);
	(void)written;
	errno = saved_errno;
}

int stop_install(void)
{
	static const int numbers[] = { SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGCONT };
	struct sigaction action = { .sa_handler = stop_handle, .sa_flags = SA_RESTART };

	if (pipe2(stop_pipe, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	/* One handler at a time: else an echo could come between its two stores. */
	sigfillset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		struct sigaction old;
		if (sigaction(numbers[i], NULL, &old))
			return -errno;
		if (numbers[i] == SIGHUP && old.sa_handler == SIG_IGN)
			continue;
		if (sigaction(numbers[i], &action, NULL))
			return -errno;
	}
	return stop_pipe[0];
}

void stop_drain(void)
{
	char bytes[64];
	while (read(stop_pipe[0], bytes, sizeof(bytes)) > 0)
		;
}

int stop_signal(void)
{
	return stop_number;
}

bool stop_take_go_on(void)
{
	bool go_on = stop_go_on;
	stop_go_on = 0;
	return go_on;
}

bool stop_take_report_wish(void)
{
	bool wished = stop_report_wished;
	stop_report_wished = 0;
	return wished;
}
