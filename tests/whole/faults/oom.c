/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * See oom.h. Pausing wraps the three tables through which the code under test
 * enters the simulator: backend, opener and file. Telling callers apart by
 * return address was rejected: it breaks with the first inlined function.
 */
#include "tests/whole/faults/oom.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>

#include "io/file/dir.h"
#include "io/source/source.h"
#include "tests/support/effort.h"
#include "tests/support/leaks.h"

#define MAX_NTH 100000

/* Workers allocate, too. */
static _Atomic uint64_t left; /* until one fails; 0: not armed */
static bool is_forever;
static _Atomic uint64_t n_failed;
static atomic_uint n_paused; /* other threads look at it */

void oom_arm(uint64_t nth, bool forever)
{
	is_forever = forever;
	n_failed = 0;
	left = nth;
}

uint64_t oom_disarm(void)
{
	left = 0;
	return n_failed;
}

uint64_t oom_try_all(const struct sim_chain_how *hows, uint64_t n_hows, uint64_t n, bool forever,
		     bool (*try)(const struct sim_chain *chain, uint64_t nth, bool forever))
{
	uint64_t n_runs = 0;

	for (uint64_t i = 0; i < n; i++) {
		struct sim_chain_how how = hows[i % n_hows];
		struct sim_chain chain;
		uint64_t nth = EFFORT_FIRST(i + forever);

		how.seed = i + 1;
		sim_chain_draw(&chain, &how);
		while (nth < MAX_NTH && try(&chain, nth, forever))
			nth += EFFORT_STEP;
		cr_assert_lt(nth, MAX_NTH);
		n_runs += nth;
		sim_chain_free(&chain);
		leaks_assert_none("a failing allocation");
	}
	fprintf(stderr, "%" PRIu64 " runs\n", n_runs);
	return n_runs;
}

void oom_pause(void)
{
	n_paused++;
}

void oom_resume(void)
{
	n_paused--;
}

static bool fails(void)
{
	uint64_t now = atomic_load(&left);

	if (n_paused)
		return false;
	while (now && !atomic_compare_exchange_weak(&left, &now, now > 1 ? now - 1 : is_forever))
		;
	if (now != 1)
		return false;
	atomic_fetch_add(&n_failed, 1);
	errno = ENOMEM;
	return true;
}

/* ---- allocations ---- */

void *__real_malloc(size_t len);
void *__real_calloc(size_t n, size_t len);
void *__real_realloc(void *p, size_t len);
void *__real_reallocarray(void *p, size_t n, size_t len);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t len);
void *__wrap_malloc(size_t len);
void *__wrap_calloc(size_t n, size_t len);
void *__wrap_realloc(void *p, size_t len);
void *__wrap_reallocarray(void *p, size_t n, size_t len);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t len);
int __wrap_asprintf(char **out, const char *format, ...) __attribute__((format(printf, 2, 3)));

void *__wrap_malloc(size_t len)
{
	return fails() ? NULL : __real_malloc(len);
}

void *__wrap_calloc(size_t n, size_t len)
{
	return fails() ? NULL : __real_calloc(n, len);
}

void *__wrap_realloc(void *p, size_t len)
{
	return fails() ? NULL : __real_realloc(p, len);
}

void *__wrap_reallocarray(void *p, size_t n, size_t len)
{
	return fails() ? NULL : __real_reallocarray(p, n, len);
}

char *__wrap_strdup(const char *s)
{
	return fails() ? NULL : __real_strdup(s);
}

char *__wrap_strndup(const char *s, size_t len)
{
	return fails() ? NULL : __real_strndup(s, len);
}

int __wrap_asprintf(char **out, const char *format, ...)
{
	va_list args;
	int n;

	if (fails())
		return -1;
	va_start(args, format);
	n = vasprintf(out, format, args);
	va_end(args);
	return n;
}

int __real_posix_memalign(void **p, size_t align, size_t len);
char *__real_realpath(const char *path, char *out);
void *__real_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
			  void *arg);
int __wrap_posix_memalign(void **p, size_t align, size_t len);
char *__wrap_realpath(const char *path, char *out);
void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
			  void *arg);

int __wrap_posix_memalign(void **p, size_t align, size_t len)
{
	return fails() ? ENOMEM : __real_posix_memalign(p, align, len);
}

char *__wrap_realpath(const char *path, char *out)
{
	return fails() ? NULL : __real_realpath(path, out);
}

void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
	return fails() ? MAP_FAILED : __real_mmap(at, len, prot, flags, fd, off);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
			  void *arg)
{
	return fails() ? EAGAIN : __real_pthread_create(thread, attr, run, arg);
}
