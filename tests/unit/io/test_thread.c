/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Promises of io/thread.h: signals stay the program's, and a fault of the thread reaches the
 * program's handler.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "io/thread.h"

static void *tell_mask(void *arg)
{
	pthread_sigmask(SIG_SETMASK, NULL, arg);
	return NULL;
}

Test(thread, blocks_all_signals_but_its_own_faults)
{
	sigset_t before, after, inside;
	pthread_t thread;

	sigemptyset(&before);
	sigaddset(&before, SIGUSR1);
	sigaddset(&before, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	cr_assert_eq(thread_start(&thread, tell_mask, &inside), 0);
	pthread_join(thread, NULL);
	pthread_sigmask(SIG_SETMASK, NULL, &after);

	for (int number = 1; number < 32; number++) {
		bool is_fault = number == SIGBUS || number == SIGSEGV;

		cr_assert_eq(sigismember(&after, number), sigismember(&before, number), "%d",
			     number);
		if (number != SIGKILL && number != SIGSTOP)
			cr_assert_eq(sigismember(&inside, number), !is_fault, "%d", number);
	}
}

static volatile sig_atomic_t n_faults;

/* Puts memory where the file ended, as a program does whose guest took its memory away. */
static void mend(int number, siginfo_t *info, void *context)
{
	uintptr_t page = (uintptr_t)info->si_addr & ~(uintptr_t)(sysconf(_SC_PAGESIZE) - 1);

	n_faults++;
	mmap((void *)page, sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static void *touch(void *arg)
{
	*(volatile char *)arg = 7;
	return NULL;
}

Test(thread, its_faults_reach_the_programs_handler, .timeout = 60)
{
	struct sigaction action = { .sa_sigaction = mend, .sa_flags = SA_SIGINFO };
	long page_len = sysconf(_SC_PAGESIZE);
	int fd = memfd_create("guest", MFD_CLOEXEC);
	pthread_t thread;
	char *memory;

	cr_assert_eq(sigaction(SIGBUS, &action, NULL), 0);
	cr_assert_eq(ftruncate(fd, page_len), 0);
	memory = mmap(NULL, page_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cr_assert_neq(memory, MAP_FAILED);
	cr_assert_eq(ftruncate(fd, 0), 0);
	cr_assert_eq(thread_start(&thread, touch, memory), 0);
	pthread_join(thread, NULL);
	cr_assert_eq(n_faults, 1);
	cr_assert_eq(*memory, 7);
}
