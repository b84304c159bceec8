/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The signal's handler may run on any thread that touches guest memory, also on
 * those of the library that store zeros or decoded data there. It reads a table
 * that only one thread changes, in which an entry's length is set last and taken
 * away first. Checking each access (siglongjmp) was rejected: the library's own
 * accesses could not be left.
 */
#include "tools/vhost/guard.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

#define MAX_WATCHED 96

static struct {
	_Atomic uintptr_t at, page_len;
	atomic_bool is_quiet;
	_Atomic size_t len; /* 0: free */
} guard_watched[MAX_WATCHED];

static atomic_bool guard_hit;

static bool guard_mend(uintptr_t at)
{
	for (unsigned i = 0; i < MAX_WATCHED; i++) {
		size_t len = atomic_load(&guard_watched[i].len);
		uintptr_t start = atomic_load(&guard_watched[i].at);
		uintptr_t page_len = atomic_load(&guard_watched[i].page_len);

		if (at < start || at - start >= len)
			continue;
		if (!atomic_load(&guard_watched[i].is_quiet))
			atomic_store(&guard_hit, true);
		return mmap((void *)(at & ~(page_len - 1)), page_len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
			    0) != MAP_FAILED;
	}
	return false;
}

static void guard_handle(int number, siginfo_t *info, void *context)
{
	int saved_errno = errno;

	(void)context;
	/* Not ours: it comes again when the access is tried again, and ends the process. */
	if (!guard_mend((uintptr_t)info->si_addr))
		signal(number, SIG_DFL);
	errno = saved_errno;
}

int guard_install(void)
{
	struct sigaction action = { .sa_sigaction = guard_handle, .sa_flags = SA_SIGINFO };

	sigemptyset(&action.sa_mask);
	return sigaction(SIGBUS, &action, NULL) ? -errno : 0;
}

static bool guard_add(void *map, size_t map_len, size_t page_len, bool is_quiet)
{
	for (unsigned i = 0; i < MAX_WATCHED; i++) {
		if (atomic_load(&guard_watched[i].len))
			continue;
		atomic_store(&guard_watched[i].at, (uintptr_t)map);
		atomic_store(&guard_watched[i].page_len, page_len);
		atomic_store(&guard_watched[i].is_quiet, is_quiet);
		atomic_store(&guard_watched[i].len, map_len);
		return true;
	}
	return false;
}

bool guard_watch(void *map, size_t map_len, size_t page_len)
{
	return guard_add(map, map_len, page_len, false);
}

bool guard_watch_quietly(void *map, size_t map_len, size_t page_len)
{
	return guard_add(map, map_len, page_len, true);
}

void guard_forget(void *map)
{
	for (unsigned i = 0; i < MAX_WATCHED; i++)
		if (atomic_load(&guard_watched[i].len) &&
		    atomic_load(&guard_watched[i].at) == (uintptr_t)map)
			atomic_store(&guard_watched[i].len, 0);
}

bool guard_take_hit(void)
{
	return atomic_exchange(&guard_hit, false);
}
