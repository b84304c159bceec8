/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Files by the block: holes, O_DIRECT behind calls of any size, and devices.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "io/base.h"
#include "io/file.h"
#include "io/file/file_holes.h"
#include "io/file/opener.h"
#include "io/posix/opener.h"
#include "tests/support/files/scratch.h"

TestSuite(file_blocks, .init = scratch_make, .fini = scratch_remove);

static struct file *must_open(const struct file_open *how)
{
	struct file_opener *opener = file_opener_posix();
	struct err err = { 0 };
	struct file *file;
	cr_assert_eq(opener->open(opener, how, &file, &err), 0, "%s", err.message);
	return file;
}

/* A file of `n` MiB, data in those whose bit is set. */
static const char *striped(const char *name, unsigned n, uint64_t mask)
{
	static char mib[1 << 20];
	int fd = open(scratch(name), O_CREAT | O_RDWR | O_TRUNC, 0666);
	memset(mib, 'd', sizeof(mib));
	for (unsigned i = 0; i < n; i++)
		if (mask >> i & 1)
			cr_assert_eq(pwrite(fd, mib, MiB, (off_t)(i * MiB)), (ssize_t)MiB);
	cr_assert_eq(ftruncate(fd, (off_t)(n * MiB)), 0);
	close(fd);
	return scratch(name);
}

/* Every byte has a status, no status says more than is true, none is empty. */
static uint64_t walk(struct file *file, uint64_t mask, uint64_t *n_calls)
{
	uint64_t holes = 0;
	for (uint64_t off = 0; off < file->len;) {
		struct file_status status;
		cr_assert_eq(file_status(file, off, &status), 0);
		cr_assert_gt(status.len, 0);
		cr_assert_leq(status.len, file->len - off);
		for (uint64_t at = off; status.is_hole && at < off + status.len; at += 4096)
			cr_assert_not(mask >> (at / MiB) & 1, "data at %" PRIu64 " called a hole",
				      at);
		holes += status.is_hole ? status.len : 0;
		off += status.len;
		++*n_calls;
	}
	return holes;
}

static bool tells_holes(void)
{
	int fd = open(striped("probe", 2, 1), O_RDONLY);
	off_t hole = lseek(fd, 0, SEEK_HOLE);
	close(fd);
	return hole == (off_t)MiB;
}

Test(file_blocks, holes_are_found_and_data_is_never_one)
{
	uint64_t n;
	if (!tells_holes())
		scratch_skip("the file system here does not tell its holes");
	for (uint64_t mask = 0; mask < 64; mask++) {
		const char *path = striped("disk", 6, mask);
		struct file *file = must_open(&(struct file_open){ .name = path });
		uint64_t data = (uint64_t)__builtin_popcountll(mask) * MiB;
		n = 0;
		cr_assert_eq(walk(file, mask, &n), 6 * MiB - data, "mask %" PRIx64, mask);
		cr_assert_leq(n, 6);
		file_close(file);
	}
}

Test(file_blocks, status_in_the_middle_of_a_run)
{
	struct file_status status;
	struct file *file = must_open(&(struct file_open){ .name = striped("disk", 4, 0x9) });
	if (!tells_holes())
		scratch_skip("the file system here does not tell its holes");
	cr_assert_eq(file_status(file, MiB + 12345, &status), 0);
	cr_assert(status.is_hole);
	cr_assert_eq(status.len, 2 * MiB - 12345);
	cr_assert_eq(file_status(file, MiB - 1, &status), 0);
	cr_assert_not(status.is_hole);
	cr_assert_eq(status.len, 1);
	cr_assert_eq(file_status(file, 4 * MiB - 1, &status), 0);
	cr_assert_not(status.is_hole);
	cr_assert_eq(status.len, 1);
	cr_assert_eq(file_status(file, 4 * MiB, &status), 0);
	cr_assert_eq(status.len, 0);
	file_close(file);
}

Test(file_blocks, read_holes_means_all_is_data)
{
	uint64_t n = 0;
	struct file *file = must_open(
		&(struct file_open){ .name = striped("disk", 4, 0x5), .holes = FILE_HOLES_READ });
	cr_assert_not(file->trust_holes);
	cr_assert_eq(walk(file, 0x5, &n), 0);
	cr_assert_eq(n, 1);
	file_close(file);
}

/* sysfs is none of the file systems that are vouched for. */
Test(file_blocks, only_a_known_file_system_is_believed_unless_told_to)
{
	struct file_open how = { .name = "/sys/kernel/mm/transparent_hugepage/enabled" };
	struct file *file;

	if (access(how.name, R_OK))
		scratch_skip("no sysfs here");
	file = must_open(&how);
	cr_expect_not(file->trust_holes);
	cr_expect_not(file->holes_known);
	file_close(file);
	how.holes = FILE_HOLES_TRUST;
	file = must_open(&how);
	cr_expect(file->trust_holes);
	cr_expect_not(file->holes_known);
	cr_expect_eq(file_known_hole(file, 0), 0);
	file_doubt_holes(file);
	cr_expect_not(file->trust_holes);
	file_close(file);
}

/* What is gone must be missed by a read, not taken for zeros. */
Test(file_blocks, a_file_that_shrank_has_no_holes_there)
{
	struct file_status status;
	const char *path = striped("disk", 4, 0x1);
	struct file *file = must_open(&(struct file_open){ .name = path });
	cr_assert_eq(truncate(path, (off_t)MiB), 0);
	cr_assert_eq(file_status(file, 2 * MiB, &status), 0);
	cr_assert_not(status.is_hole);
	cr_assert_eq(status.len, 2 * MiB);
	char byte;
	cr_assert_eq(file_read(file, &byte, 1, 2 * MiB), -EUCLEAN);
	file_close(file);
}

/* The remembered extent must not outlive a write. */
Test(file_blocks, a_hole_that_was_written_is_data)
{
	struct file_status status;
	struct file *file =
		must_open(&(struct file_open){ .name = striped("disk", 4, 0), .write = true });
	if (!tells_holes())
		scratch_skip("the file system here does not tell its holes");
	cr_assert_eq(file_status(file, 0, &status), 0);
	cr_assert(status.is_hole);
	cr_assert_eq(file_write(file, "x", 1, MiB), 0);
	cr_assert_eq(file_status(file, MiB, &status), 0);
	cr_assert_not(status.is_hole);
	cr_assert_eq(file_status(file, 0, &status), 0);
	cr_assert_leq(status.len, MiB);
	file_close(file);
}

static uint64_t rng;
static uint64_t below(uint64_t n)
{
	rng = rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (rng >> 33) % n;
}

/* Reads and writes of any size and place, against an array. */
static void compare_with_array(struct file *file, uint64_t seed)
{
	static char want[1 << 20], buf[1 << 20];
	uint64_t len = file->len;
	rng = seed;
	memset(want, 0, sizeof(want));
	cr_assert_eq(file_read(file, want, (size_t)len, 0), 0);
	for (unsigned i = 0; i < 60; i++) {
		/* Further and further out, so that it keeps growing. */
		uint64_t off = below((i + 1) * 12 * KiB), n = 1 + below(i % 2 ? 300 * KiB : 5000);
		if (below(2)) {
			for (uint64_t j = 0; j < n; j++)
				want[off + j] = buf[j] = (char)below(256);
			cr_assert_eq(file_write(file, buf, (size_t)n, off), 0);
			len = MAX(len, off + n);
		} else {
			memset(buf, 'x', (size_t)n);
			cr_assert_eq(file_read_padded(file, buf, (size_t)n, off), 0);
			cr_assert_eq(memcmp(buf, want + off, (size_t)n), 0,
				     "seed %" PRIu64 " step %u", seed, i);
		}
		struct stat st;
		cr_assert_eq(fstat(file->fd, &st), 0);
		cr_assert_eq(file->len, len, "seed %" PRIu64 " step %u", seed, i);
		cr_assert_eq((uint64_t)st.st_size, len, "seed %" PRIu64 " step %u", seed, i);
	}
	cr_assert_eq(file_read(file, buf, (size_t)len, 0), 0);
	cr_assert_eq(memcmp(buf, want, (size_t)len), 0, "seed %" PRIu64, seed);
}

Test(file_blocks, direct_calls_of_any_size_do_as_an_array)
{
	uint64_t seed = (uint64_t)time(NULL);
	for (int direct = 0; direct < 2; direct++) {
		const char *path = scratch_file("disk", "0123456789", 10);
		struct file *file = must_open(
			&(struct file_open){ .name = path, .write = true, .direct = direct });
		bool is_direct = fcntl(file->fd, F_GETFL) & O_DIRECT;
		cr_assert_eq(is_direct, file->io_align > 1);
		cr_log_info("direct %d: grid %u", direct, file->io_align);
		for (unsigned i = 0; i < 8; i++) {
			compare_with_array(file, seed + i);
			cr_assert_eq(file_truncate(file, 100 * i), 0);
		}
		file_close(file);
	}
}

/* sysfs files refuse O_DIRECT; asked for, it is done without. */
Test(file_blocks, direct_is_done_without_where_refused)
{
	const char *path = "/sys/kernel/mm/transparent_hugepage/enabled";
	if (access(path, R_OK))
		scratch_skip("no file here that refuses O_DIRECT");
	struct file *file = must_open(&(struct file_open){ .name = path, .direct = true });
	cr_assert_eq(file->io_align, 1);
	cr_assert_not(fcntl(file->fd, F_GETFL) & O_DIRECT);
	char buf[4];
	cr_assert_eq(file_read(file, buf, 4, 1), 0);
	file_close(file);
}

/* A loop device over the file; false where there can be none. */
static bool loop_device(const char *path, char *dev, size_t cap)
{
	char command[1200];
	snprintf(command, sizeof(command), "losetup --find --show '%s' 2>/dev/null", path);
	FILE *pipe = popen(command, "r");
	bool ok = pipe && fgets(dev, (int)cap, pipe);
	if (pipe)
		pclose(pipe);
	if (ok)
		dev[strcspn(dev, "\n")] = '\0';
	return ok;
}

Test(file_blocks, a_block_device_has_its_size_and_cannot_grow)
{
	char dev[64];
	if (!loop_device(striped("disk", 4, 0x3), dev, sizeof(dev)))
		scratch_skip("needs loop devices");
	for (int direct = 0; direct < 2; direct++) {
		struct file *file = must_open(
			&(struct file_open){ .name = dev, .write = true, .direct = direct });
		struct file_status status;
		char buf[1000];
		cr_expect(file->is_block);
		cr_expect_eq(file->len, 4 * MiB);
		cr_expect_not(file->trust_holes);
		cr_expect_eq(file_status(file, 0, &status), 0);
		cr_expect(!status.is_hole && status.len == 4 * MiB);
		cr_expect_eq(file_write(file, "abc", 3, MiB - 1), 0);
		cr_expect_eq(file_read(file, buf, sizeof(buf), MiB - 2), 0);
		cr_expect_eq(memcmp(buf, "dabcd", 5), 0);
		cr_expect_eq(file_write(file, "abc", 3, 4 * MiB - 2), -ENOSPC);
		cr_expect_eq(file_truncate(file, 5 * MiB), -ENOSPC);
		cr_expect_eq(file_cut(file, MiB), 0); /* and ends */
		cr_expect_eq(file->len, 4 * MiB);
		cr_expect_eq(file_read(file, buf, 3, 4 * MiB - 2), -EUCLEAN);
		cr_expect_eq(file_sync(file), 0);
		file_close(file);
	}
	cr_assert_eq(scratch_run("losetup", "-d", dev, NULL), 0);
}
