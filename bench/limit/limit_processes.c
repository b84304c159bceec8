/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Several processes under one budget of the host, as commands have it that were given the same
 * --host-budget. Each leaves its samples in shared memory, with the times of the one clock that all
 * have; they are added up afterwards. So a killed one leaves what it had done.
 */
#include "bench/limit/limit.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/rig/complain.h"
#include "bench/rig/timed.h"
#include "tools/budget/budget.h"
#include "tools/words/exit_code.h"

#define BUDGET_NAME "budget"
#define LOOK_NS     1000000

/* Shared. */
struct limit_start {
	atomic_uint n_ready;
	atomic_bool may_begin, ended_early;
};

static void limit_processes_nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = LOOK_NS }, NULL);
}

static void limit_processes_wait_for_all(void *opaque)
{
	struct limit_start *start = opaque;

	atomic_fetch_add(&start->n_ready, 1);
	while (!atomic_load(&start->may_begin))
		limit_processes_nap();
}

/* In its own process: the exit code. */
static int limit_processes_one(const struct limit_run *run, unsigned i, struct limit_start *start)
{
	char why[BUDGET_WHY_CAP];
	struct limit_run own;
	struct budget *budget;
	int code = limit_run_init(&own, 1);

	if (code)
		return code;
	if (budget_open(BUDGET_NAME, &run->rate, &budget, why))
		return complain(EXIT_CODE_FAILED, "--processes: %s", why);
	own.seconds = run->seconds;
	own.first = i;
	own.series[0] = run->series[1 + i];
	own.budget = budget_ask;
	own.budget_opaque = budget;
	own.ready = limit_processes_wait_for_all;
	own.opaque = start;
	code = limit_measure(&own);
	if (own.ended_early)
		atomic_store(&start->ended_early, true);
	budget_close(budget);
	return code;
}

/* Any one of them. Its exit code; nothing is wrong with the one that was killed. */
static int limit_processes_reap(pid_t killed)
{
	int status = 0;
	pid_t child;

	while ((child = wait(&status)) < 0)
		if (errno != EINTR)
			return complain_system("wait");
	if (child == killed && WIFSIGNALED(status))
		return 0;
	if (WIFSIGNALED(status))
		return complain(EXIT_CODE_FAILED, "a measured run was ended by signal %d",
				WTERMSIG(status));
	return WEXITSTATUS(status);
}

/* All are open, or one has ended before, which has said why; then the others are let go, too. */
static void limit_processes_begin(const struct limit_run *run, struct limit_start *start)
{
	siginfo_t info = { 0 };

	while (atomic_load(&start->n_ready) < run->n_jobs) {
		limit_processes_nap();
		if (!waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) && info.si_pid)
			break;
	}
	atomic_store(&start->may_begin, true);
}

static uint64_t limit_processes_kill(const struct limit_run *run, pid_t child)
{
	uint64_t begin_ns = timed_now_ns(), half_ns = run->seconds * 500000000;

	while (timed_now_ns() < begin_ns + half_ns)
		limit_processes_nap();
	kill(child, SIGKILL);
	return timed_now_ns() - begin_ns;
}

int limit_measure_processes(struct limit_run *run, uint64_t *killed_ns)
{
	struct limit_start *start = timed_shared(sizeof(*start));
	pid_t children[LIMIT_MAX_JOBS] = { 0 };
	unsigned n = 0;
	int code = start ? 0 : EXIT_CODE_FAILED;

	unlink(BUDGET_NAME);
	for (; n < run->n_jobs && !code; n++) {
		series_begin(run->series[1 + n], timed_now_ns());
		children[n] = fork();
		if (children[n] < 0) {
			code = complain_system("fork");
			break;
		}
		if (!children[n])
			_exit(limit_processes_one(run, n, start));
	}
	if (!code) {
		limit_processes_begin(run, start);
		if (killed_ns)
			*killed_ns = limit_processes_kill(run, children[0]);
	} else if (start) {
		atomic_store(&start->may_begin, true);
	}
	while (n--) {
		int other = limit_processes_reap(killed_ns ? children[0] : 0);

		code = code ? code : other;
	}
	run->ended_early = start && atomic_load(&start->ended_early);
	series_sum(run->series[0], run->series + 1, run->n_jobs);
	return code;
}
