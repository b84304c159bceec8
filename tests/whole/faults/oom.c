/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * See oom.h. Pausing wraps the three tables through which the code under test
 * enters the simulator: backend, opener and file. Telling callers apart by
 * return address was rejected: it breaks with the first inlined function.
 */
#include "tests/whole/faults/oom.h"

#include <assert.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "io/file/dir.h"
#include "io/file/file_holes.h"
#include "io/file/opener.h"
#include "io/source/source.h"
#include "tests/support/effort.h"
#include "tests/support/leaks.h"

#define MAX_NTH 100000

/* Workers allocate, too. */
static _Atomic uint64_t left; /* until one fails; 0: not armed */
static bool is_forever;
static _Atomic uint64_t n_failed;
static unsigned n_paused;

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

/* ---- files ---- */

static const struct file_ops *real_file;

static ssize_t file_read_at(struct file *file, void *buf, size_t len, uint64_t off)
{
	ssize_t rc;

	oom_pause();
	rc = real_file->read_at(file, buf, len, off);
	oom_resume();
	return rc;
}

static int file_write_at(struct file *file, const void *buf, size_t len, uint64_t off)
{
	int rc;

	oom_pause();
	rc = real_file->write_at(file, buf, len, off);
	oom_resume();
	return rc;
}

static int file_sync_it(struct file *file)
{
	int rc;

	oom_pause();
	rc = real_file->sync(file);
	oom_resume();
	return rc;
}

static int file_truncate_it(struct file *file, uint64_t len)
{
	int rc;

	oom_pause();
	rc = real_file->truncate(file, len);
	oom_resume();
	return rc;
}

static int file_status_at(struct file *file, uint64_t off, struct file_status *out)
{
	return real_file->status(file, off, out);
}

static void file_close_it(struct file *file)
{
	real_file->close(file);
}

static const struct file_ops paused_file = {
	.read_at = file_read_at,
	.write_at = file_write_at,
	.sync = file_sync_it,
	.truncate = file_truncate_it,
	.status = file_status_at,
	.close = file_close_it,
};

static void wrap_file(struct file *file)
{
	real_file = file->ops;
	file->ops = &paused_file;
}

/* ---- directories ---- */

static const struct dir_ops *real_dir;

static int dir_create_in(struct dir *dir, const char *name, const struct file *like,
			 struct file **out, struct err *err)
{
	int rc;

	oom_pause();
	rc = real_dir->create(dir, name, like, out, err);
	oom_resume();
	if (!rc)
		wrap_file(*out);
	return rc;
}

static void dir_give_mode_to(struct dir *dir, const struct file *file)
{
	real_dir->give_mode(dir, file);
}

static bool dir_has_name(const struct dir *dir, const char *name)
{
	bool has;

	oom_pause();
	has = real_dir->has(dir, name);
	oom_resume();
	return has;
}

static int dir_rename_in(struct dir *dir, const struct file *file, const char *from, const char *to)
{
	int rc;

	oom_pause();
	rc = real_dir->rename(dir, file, from, to);
	oom_resume();
	return rc;
}

static int dir_remove_from(struct dir *dir, const char *name)
{
	int rc;

	oom_pause();
	rc = real_dir->remove(dir, name);
	oom_resume();
	return rc;
}

static int dir_sync_it(const struct dir *dir, const struct file *file)
{
	int rc;

	oom_pause();
	rc = real_dir->sync(dir, file);
	oom_resume();
	return rc;
}

static void dir_close_it(struct dir *dir)
{
	real_dir->close(dir);
}

static const struct dir_ops paused_dir = {
	.create = dir_create_in,
	.give_mode = dir_give_mode_to,
	.has = dir_has_name,
	.rename = dir_rename_in,
	.remove = dir_remove_from,
	.sync = dir_sync_it,
	.close = dir_close_it,
};

/* ---- the opener ---- */

static struct file_opener *real_opener;

static int opener_open_dir(struct file_opener *opener, const char *path, struct dir **out,
			   struct err *err)
{
	int rc;

	oom_pause();
	rc = real_opener->open_dir(real_opener, path, out, err);
	oom_resume();
	if (rc)
		return rc;
	real_dir = (*out)->ops;
	(*out)->ops = &paused_dir;
	return 0;
}

static int opener_open(struct file_opener *opener, const struct file_open *how, struct file **out,
		       struct err *err)
{
	int rc;

	if (how->source) /* the product's own, and its memory counts */
		return source_open(how->source, how->name, how->holes != FILE_HOLES_READ, out, err);
	oom_pause();
	rc = real_opener->open(real_opener, how, out, err);
	oom_resume();
	if (rc)
		return rc;
	wrap_file(*out);
	return 0;
}

struct file_opener *oom_opener(struct file_opener *inner)
{
	static struct file_opener opener = { .open = opener_open, .open_dir = opener_open_dir };

	real_opener = inner;
	return &opener;
}

/* ---- the backend ---- */

static struct io *real_io;

static void io_submit_it(struct io *io, struct io_req *req)
{
	oom_pause();
	io_submit(real_io, req);
	oom_resume();
}

static void io_kick_it(struct io *io)
{
	oom_pause();
	io_kick(real_io);
	oom_resume();
}

static unsigned io_reap_some(struct io *io, struct io_req **out, unsigned max)
{
	unsigned n;

	oom_pause();
	n = io_reap(real_io, out, max);
	oom_resume();
	return n;
}

static int io_fd_of(const struct io *io)
{
	return io_fd(real_io);
}

static void io_destroy_it(struct io *io)
{
	io_close(real_io);
}

struct io *oom_io(struct io *inner)
{
	static const struct io_ops ops = {
		.name = "oom",
		.submit = io_submit_it,
		.kick = io_kick_it,
		.reap = io_reap_some,
		.fd = io_fd_of,
		.destroy = io_destroy_it,
	};
	static struct io io;

	real_io = inner;
	io = (struct io){ .ops = &ops };
	return &io;
}
