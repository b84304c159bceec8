/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Ends a play that hangs, with its seed, by SIGALRM. */
#include <signal.h>
#include <time.h>

#include "tests/whole/plays/play.h"

/* A play hangs if it takes so many seconds of the processor (MODEL_HANG=n for more or less), or if
 * it hardly works for so many of the clock: a disk that can't be closed waits for ever. On a busy
 * machine the clock alone says nothing. */
#define HANG_CPU_S   300
#define SLEEP_S      60
#define SLEEP_MAX_NS (SLEEP_S * UINT64_C(1000000)) /* a thousandth */

/* Of the play under way, for the signal. */
static volatile uint64_t playing, hang_ns, looked_ns; /* its seed; of the processor */

static uint64_t cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void look_for_hang(int signal)
{
	uint64_t now = cpu_ns();
	bool sleeps = now - looked_ns < SLEEP_MAX_NS;
	char text[64];
	int n;

	(void)signal;
	looked_ns = now;
	alarm(SLEEP_S);
	if (!sleeps && now < hang_ns)
		return;
	n = snprintf(text, sizeof(text), "MODEL_SEED=%llu: it hangs%s\n",
		     (unsigned long long)playing, sleeps ? " and sleeps" : "");
	(void)!write(STDERR_FILENO, text, (size_t)n);
	_exit(1);
}

void play_hang_watch(uint64_t seed)
{
	playing = seed;
	looked_ns = cpu_ns();
	hang_ns = looked_ns + sim_pull_env("MODEL_HANG", HANG_CPU_S) * 1000000000;
	signal(SIGALRM, look_for_hang);
	alarm(SLEEP_S);
}

void play_hang_end(void)
{
	alarm(0);
}
