/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Handlers and a pipe. signalfd() was rejected: it is read by the same loop
 * that may be waiting in a system call for a dead NFS server, and then the
 * second Ctrl-C must still end the process. A handler does that from anywhere,
 * and the image is valid at every moment.
 *
 * One table says what becomes of every signal that would end the process by
 * default. Those of a fault (SIGSEGV, SIGABRT, SIGSYS and the like) are left
 * alone: after one of them the process can't be trusted to tidy up.
 */
#include "tools/cli/stop.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tools/clock/monotonic.h"
#include "tools/words/exit_code.h"

/* timeout(1) signals its child and then the group the child is in; a terminal that goes away and
 * its shell both send SIGHUP. Echoes so close behind the first signal are not a second wish. */
#define STOP_ECHO_NS 100000000

#define STOP_CPU_S 10 /* kept to end in, of what a limit grants */

enum stop_act {
	STOP_IGNORE, /* by all commands: a call that fails tells the same */
	STOP_REPORT, /* a pull says how far it is; other commands go on as if nothing were */
	STOP_GO_ON,  /* a pull that an error stopped goes on */
	STOP_END,    /* a pull ends in order; other commands at once, as by default */
};

enum stop_flag {
	STOP_ALWAYS = 1,  /* also where it was ignored when the process began */
	STOP_REPEATS = 2, /* a timer or a limit sends it again and again: that is no second wish */
	STOP_CORE = 4,    /* the second one is to leave a core dump */
};

/* A shell starts background jobs of scripts with SIGINT ignored; it is caught all the same, as it
 * ends in nothing worse than a clean stop. An ignored SIGHUP stays ignored: that is what nohup is
 * for. The real-time signals, which have no names, are STOP_END as well. */
static const struct stop_rule {
	int number;
	enum stop_act act;
	unsigned flags;
} stop_rules[] = {
	{ SIGPIPE, STOP_IGNORE, STOP_ALWAYS }, /* EPIPE */
	{ SIGXFSZ, STOP_IGNORE, STOP_ALWAYS }, /* EFBIG */
	{ SIGUSR1, STOP_REPORT, STOP_ALWAYS },
	{ SIGCONT, STOP_GO_ON, STOP_ALWAYS },
	{ SIGINT, STOP_END, STOP_ALWAYS },
	{ SIGTERM, STOP_END, STOP_ALWAYS },
	{ SIGHUP, STOP_END, 0 },
	{ SIGQUIT, STOP_END, STOP_CORE },
	{ SIGUSR2, STOP_END, 0 },
	{ SIGXCPU, STOP_END, STOP_REPEATS },
	{ SIGALRM, STOP_END, STOP_REPEATS },
	{ SIGVTALRM, STOP_END, STOP_REPEATS },
	{ SIGPROF, STOP_END, STOP_REPEATS },
	{ SIGIO, STOP_END, STOP_REPEATS },
	{ SIGPWR, STOP_END, 0 },
#ifdef SIGSTKFLT
	{ SIGSTKFLT, STOP_END, 0 },
#endif
};

#define N_RULES (sizeof(stop_rules) / sizeof(stop_rules[0]))

static volatile sig_atomic_t stop_number;
static volatile sig_atomic_t stop_report_wished;
static volatile sig_atomic_t stop_go_on;
static volatile uint64_t stop_ns;
static int stop_pipe[2] = { -1, -1 };

static struct stop_rule stop_rule_of(int number)
{
	for (size_t i = 0; i < N_RULES; i++)
		if (stop_rules[i].number == number)
			return stop_rules[i];
	return (struct stop_rule){ number, STOP_END, 0 };
}

/* The first one is noted; the next is obeyed here and now. */
static void stop_wish_end(const struct stop_rule *rule)
{
	if (!stop_number) {
		stop_ns = monotonic_ns();
		stop_number = rule->number;
	} else if (rule->flags & STOP_REPEATS || monotonic_ns() - stop_ns <= STOP_ECHO_NS) {
		return;
	} else if (rule->flags & STOP_CORE) {
		signal(rule->number, SIG_DFL);
		raise(rule->number); /* comes when the handler returns */
	} else {
		_exit(EXIT_CODE_SIGNAL + rule->number);
	}
}

static void stop_handle(int number)
{
	const struct stop_rule rule = stop_rule_of(number);
	int saved_errno = errno;
	ssize_t written;

	if (rule.act == STOP_REPORT)
		stop_report_wished = 1;
	else if (rule.act == STOP_GO_ON)
		stop_go_on = 1;
	else
		stop_wish_end(&rule);
	/* A full pipe is as readable as it has to be. */
	written = write(stop_pipe[1], "", 1);
	(void)written;
	errno = saved_errno;
}

/* The default would leave a core dump and no word. */
static void stop_out_of_time(int number)
{
	static const char text[] = "blockpull: the limit on processor time was used up\n"
				   "hint: raise it (ulimit -t), then run the same command again\n";
	ssize_t written = write(STDERR_FILENO, text, sizeof(text) - 1);
	(void)written;
	_exit(EXIT_CODE_SIGNAL + number);
}

/* It is to stay as it is: ignored, or with the handler of a profiler or the like. */
static bool stop_is_kept(const struct stop_rule *rule)
{
	struct sigaction old;

	return !(rule->flags & STOP_ALWAYS) && !sigaction(rule->number, NULL, &old) &&
	       old.sa_handler != SIG_DFL && old.sa_handler != stop_out_of_time;
}

void stop_prepare(void)
{
	const struct stop_rule out_of_time = stop_rule_of(SIGXCPU);

	for (size_t i = 0; i < N_RULES; i++)
		if (stop_rules[i].act == STOP_IGNORE || stop_rules[i].act == STOP_REPORT)
			signal(stop_rules[i].number, SIG_IGN);
	if (!stop_is_kept(&out_of_time))
		signal(SIGXCPU, stop_out_of_time);
}

/* 0 or -errno. */
static int stop_catch(const struct stop_rule *rule)
{
	struct sigaction action = { .sa_handler = stop_handle, .sa_flags = SA_RESTART };

	/* One handler at a time: else an echo could come between its two stores. */
	sigfillset(&action.sa_mask);
	if (stop_is_kept(rule))
		return 0;
	return sigaction(rule->number, &action, NULL) ? -errno : 0;
}

/* Where the soft limit on processor time is the hard one (ulimit -t sets both), the kernel sends
 * SIGKILL instead of SIGXCPU. To end in order takes seconds where what is in flight is
 * compressed. */
static void stop_keep_seconds(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_CPU, &limit) || limit.rlim_max == RLIM_INFINITY ||
	    limit.rlim_max < 2 || limit.rlim_cur < limit.rlim_max)
		return;
	limit.rlim_cur = limit.rlim_max -
			 (limit.rlim_max / 2 < STOP_CPU_S ? limit.rlim_max / 2 : STOP_CPU_S);
	setrlimit(RLIMIT_CPU, &limit);
}

int stop_install(void)
{
	int rc = 0;

	if (pipe2(stop_pipe, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	stop_keep_seconds();
	for (size_t i = 0; !rc && i < N_RULES; i++)
		if (stop_rules[i].act != STOP_IGNORE)
			rc = stop_catch(&stop_rules[i]);
	for (int number = SIGRTMIN; !rc && number <= SIGRTMAX; number++)
		rc = stop_catch(&(struct stop_rule){ number, STOP_END, 0 });
	return rc ? rc : stop_pipe[0];
}

void stop_ends(sigset_t *ends)
{
	sigemptyset(ends);
	for (size_t i = 0; i < N_RULES; i++)
		if (stop_rules[i].act == STOP_END && !stop_is_kept(&stop_rules[i]))
			sigaddset(ends, stop_rules[i].number);
	for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
		sigaddset(ends, number);
}

void stop_hold(bool hold)
{
	sigset_t ends;

	stop_ends(&ends);
	sigprocmask(hold ? SIG_BLOCK : SIG_UNBLOCK, &ends, NULL);
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
