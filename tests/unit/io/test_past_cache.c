/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Which files get a description for reads past the page cache, and what was seen of them, on a
 * real file system: only cold ones of some length that are not written to.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "io/base.h"
#include "io/file.h"
#include "io/file/cached.h"
#include "io/file/opener.h"
#include "io/posix/opener.h"
#include "tests/support/files/scratch.h"

#define LEN (24 * MiB)

TestSuite(past_cache, .init = scratch_make, .fini = scratch_remove, .timeout = 60);

static void cool(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	cr_assert(fd >= 0 && !fsync(fd) && !posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	close(fd);
}

static void warm(const char *path, uint64_t off, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	autofree char *bytes = malloc(len);

	cr_assert(fd >= 0 && !posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM));
	cr_assert_eq(pread(fd, bytes, len, (off_t)off), (ssize_t)len);
	close(fd);
}

/* A cold file. */
static const char *make(uint64_t len)
{
	const char *path = scratch_filled("base", 0x5a, len);

	cool(path);
	return path;
}

static struct file *open_how(const struct file_open *how)
{
	struct file_opener *opener = file_opener_posix();
	struct file *file;
	struct err err;

	cr_assert_eq(opener->open(opener, how, &file, &err), 0, "%s", err.message);
	return file;
}

static struct file *open_base(const char *path)
{
	return open_how(&(struct file_open){ .name = path, .past_cache = true });
}

static bool can_pass(const char *path)
{
	struct file *file = open_base(path);
	bool can = file->past_cache.align;

	cr_expect_eq(can, file->past_cache.fd >= 0);
	cr_expect_eq(can, file->past_cache.seen != NULL);
	file_close(file);
	return can;
}

/* Or there is nothing to be tested here. */
static const char *make_passable(void)
{
	const char *path = make(LEN);

	if (!can_pass(path))
		scratch_skip("no direct I/O on this file system, or its cache is not told of");
	return path;
}

static unsigned n_cached(const struct file *file)
{
	unsigned n = 0;

	for (uint64_t off = 0; off < LEN; off += 128 * KiB)
		n += file_cached_has(file->past_cache.seen, off, 1);
	return n;
}

Test(past_cache, a_cold_file_can_be_read_so)
{
	struct file *file = open_base(make_passable());
	char *block;

	cr_expect(is_power_of_2(file->past_cache.align));
	cr_expect(fcntl(file->past_cache.fd, F_GETFL) & O_DIRECT);
	cr_expect_not(fcntl(file->fd, F_GETFL) & O_DIRECT);
	cr_expect(fcntl(file->past_cache.fd, F_GETFD) & FD_CLOEXEC);
	cr_expect_eq(n_cached(file), 0);
	block = aligned_alloc(64 * KiB, 64 * KiB);
	cr_expect_eq(pread(file->past_cache.fd, block, 64 * KiB, MiB), 64 * KiB);
	cr_expect(block[0] == 0x5a && !memcmp(block, block + 1, 64 * KiB - 1));
	free(block);
	file_close(file);
	cr_expect(can_pass(scratch("base")), "looking, or reading so, filled the cache");
}

Test(past_cache, what_is_cached_is_seen)
{
	const char *path = make_passable();
	struct file *file;

	warm(path, 4 * MiB, 2 * MiB);
	file = open_base(path);
	cr_assert(file->past_cache.align);
	cr_expect_eq(n_cached(file), 16);
	cr_expect(file_cached_has(file->past_cache.seen, 4 * MiB, 2 * MiB));
	cr_expect_not(file_cached_has(file->past_cache.seen, 6 * MiB, MiB));
	file_close(file);
}

/* The last page is the mark that one was here before. */
Test(past_cache, a_file_whose_last_page_is_cached_is_not_read_so)
{
	const char *path = make_passable();

	warm(path, LEN - 4096, 4096);
	cr_expect_not(can_pass(path));
	cool(path);
	cr_expect(can_pass(path));
	warm(path, 0, LEN - 4096);
	cr_expect(can_pass(path));
}

Test(past_cache, others_are_not_read_so)
{
	const char *path = make_passable();
	struct file *file = open_how(&(struct file_open){ .name = path });

	cr_expect_eq(file->past_cache.align, 0, "it was not asked for");
	file_close(file);
	file = open_how(&(struct file_open){ .name = path, .past_cache = true, .write = true });
	cr_expect_eq(file->past_cache.align, 0, "it is written to");
	file_close(file);
	file = open_how(&(struct file_open){ .name = path, .past_cache = true, .direct = true });
	cr_expect_eq(file->past_cache.align, 0, "it is direct as it is");
	file_close(file);
	cr_expect_not(can_pass(make(16 * MiB - 1)), "it is short");
	cr_expect(can_pass(make(16 * MiB)));
}

static bool can_pass_with(rlim_t limit, const char *path)
{
	struct rlimit before, now;
	bool can;

	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	now = before;
	now.rlim_cur = limit;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &now), 0);
	can = can_pass(path);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	return can;
}

/* What files need is left to them: no open fails for a description that is a hint. */
Test(past_cache, most_descriptors_are_left_alone)
{
	const char *path = make_passable();
	int lowest = dup(0), next = lowest + 1;

	close(lowest);
	cr_expect_not(can_pass_with(8 * (rlim_t)next, path), "%d", next);
	cr_expect(can_pass_with(8 * (rlim_t)(next + 8), path));
}

/* A program without stdin, of which another thread has just given descriptor 0 back. */
Test(past_cache, descriptor_0_is_closed_as_well)
{
	struct file *file = open_base(make_passable());

	cr_assert(file->past_cache.align);
	cr_assert_eq(dup2(file->past_cache.fd, 0), 0);
	close(file->past_cache.fd);
	file->past_cache.fd = 0;
	file_close(file);
	cr_expect(fcntl(0, F_GETFD) < 0);
}

Test(past_cache, nothing_is_left_open)
{
	const char *path = make_passable();
	int before = dup(0), after;

	close(before);
	file_close(open_base(path));
	after = dup(0);
	close(after);
	cr_expect_eq(before, after);
}
