/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Criterion's tests without Criterion's processes: those map memory where the
 * thread sanitizer allows none, and abort. Linked into each test program of such
 * a build, this takes the place of Criterion's main function and of what the
 * assertions call. A test runs in a child made by fork(), so that the sanitizer's
 * exit code and a signal fail one test alone.
 *
 *   PROGRAM --tap [--filter PATTERN]   the pattern is matched against "suite/name"
 */
#include <criterion/criterion.h>
#include <criterion/internal/test.h>
#include <criterion/logging.h>
#include <fnmatch.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SKIPPED 77
#define NAP_NS  5000000

extern struct criterion_test *__start_cr_tst[], *__stop_cr_tst[];
/* A program may have no suite. */
extern struct criterion_suite *__start_cr_sts[] __attribute__((weak));
extern struct criterion_suite *__stop_cr_sts[] __attribute__((weak));

/* The child's. */
static const struct criterion_test *test;
static const struct criterion_test_extra_data *suite; /* NULL: it was not declared */
static int reason_fd;
static pthread_t test_thread;
static jmp_buf end_of_test;
static atomic_uint n_failed;

/* ---- what the assertions call ---- */

void criterion_send_assert(struct criterion_assert_stats *stats)
{
	if (stats->passed)
		return;
	n_failed++;
	fprintf(stderr, "%s:%u: %s\n", stats->file, stats->line, stats->message);
}

void cri_asserts_passed_incr(void)
{
}

void criterion_continue_test(void)
{
}

void criterion_abort_test(void)
{
	if (!pthread_equal(pthread_self(), test_thread))
		exit(1);
	longjmp(end_of_test, 1);
}

void criterion_skip_test(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vdprintf(reason_fd, format, args);
	va_end(args);
	exit(n_failed ? 1 : SKIPPED);
}

/* Criterion's own would send it to a process that is not there. */
void cr_log(enum criterion_severity severity, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

void criterion_internal_test_setup(void)
{
	if (suite && suite->init)
		suite->init();
	if (test->data->init)
		test->data->init();
}

void criterion_internal_test_main(void (*fn)(void))
{
	if (!setjmp(end_of_test))
		fn();
}

void criterion_internal_test_teardown(void)
{
	if (test->data->fini)
		test->data->fini();
	if (suite && suite->fini)
		suite->fini();
}

/* ---- one test ---- */

static const struct criterion_test_extra_data *suite_of(const struct criterion_test *t)
{
	for (struct criterion_suite **s = __start_cr_sts; s < __stop_cr_sts; s++)
		if (*s && !strcmp((*s)->name, t->category))
			return (*s)->data;
	return NULL;
}

static void run_in_child(void)
{
	test_thread = pthread_self();
	test->test();
	exit(n_failed ? 1 : test->data->exit_code);
}

/* The status of the child, which is killed when its time is over. */
static int wait_for(pid_t pid, double timeout_s)
{
	const struct timespec nap = { .tv_nsec = NAP_NS };
	int status;

	for (double waited_s = 0; !waitpid(pid, &status, WNOHANG); waited_s += NAP_NS / 1e9) {
		if (timeout_s > 0 && waited_s > timeout_s) {
			fprintf(stderr, "%s::%s took more than %.0f s\n", test->category,
				test->name, timeout_s);
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			break;
		}
		nanosleep(&nap, NULL);
	}
	return status;
}

static bool as_expected(int status)
{
	if (test->data->signal)
		return WIFSIGNALED(status) && WTERMSIG(status) == test->data->signal;
	return WIFEXITED(status) && WEXITSTATUS(status) == test->data->exit_code;
}

static bool run(void)
{
	double timeout_s = test->data->timeout;
	char reason[256] = "";
	int fds[2], status;
	pid_t pid;

	suite = suite_of(test);
	if (!timeout_s && suite)
		timeout_s = suite->timeout;
	if (pipe(fds) || (pid = fork()) < 0) {
		perror("thread_runner");
		exit(1);
	}
	if (!pid) {
		close(fds[0]);
		reason_fd = fds[1];
		run_in_child();
	}
	close(fds[1]);
	status = wait_for(pid, timeout_s);
	if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED) {
		(void)!read(fds[0], reason, sizeof(reason) - 1);
		printf("ok - %s::%s # SKIP %s\n", test->category, test->name, reason);
		close(fds[0]);
		return true;
	}
	close(fds[0]);
	printf("%sok - %s::%s\n", as_expected(status) ? "" : "not ", test->category, test->name);
	if (!as_expected(status))
		printf("# exit status %d, signal %d\n", WEXITSTATUS(status), WTERMSIG(status));
	return as_expected(status);
}

static bool is_wanted(const struct criterion_test *t, const char *pattern)
{
	char name[256];

	snprintf(name, sizeof(name), "%s/%s", t->category, t->name);
	return !t->data->disabled && !fnmatch(pattern, name, 0);
}

int main(int argc, char **argv)
{
	const char *pattern = "*";
	unsigned n = 0;
	bool good = true;

	if (argc == 4 && !strcmp(argv[2], "--filter"))
		pattern = argv[3];
	else if (argc != 2 || strcmp(argv[1], "--tap")) {
		fprintf(stderr, "usage: %s --tap [--filter PATTERN]\n", argv[0]);
		return 2;
	}
	setvbuf(stdout, NULL, _IONBF, 0); /* nothing is left for the children to print again */
	for (struct criterion_test **t = __start_cr_tst; t < __stop_cr_tst; t++)
		n += *t && is_wanted(*t, pattern);
	printf("1..%u\n", n);
	for (struct criterion_test **t = __start_cr_tst; t < __stop_cr_tst; t++) {
		test = *t;
		if (test && is_wanted(test, pattern))
			good &= run();
	}
	return good && n ? 0 : 1;
}
