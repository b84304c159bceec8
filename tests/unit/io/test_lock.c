/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The image locks: which bytes, who excludes whom among ourselves, and against
 * the real qemu-io and qemu-storage-daemon in both directions.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/base.h"
#include "io/file.h"
#include "io/file/file_rest.h"
#include "io/file/lock.h"
#include "io/file/opener.h"
#include "io/posix/opener.h"
#include "tests/support/files/scratch.h"
#include "tests/support/seccomp.h"
#include "tests/support/time_limit.h"
#include "tests/unit/io/lock_rig.h"

TIME_LIMIT(60);
TestSuite(lock, .init = scratch_make, .fini = scratch_remove, .timeout = TIME_LIMIT_CLOCK(60));

/* While it is set no file can be measured. */
static int measuring_fails;

int __real_fstat64(int fd, struct stat *st);
int __wrap_fstat64(int fd, struct stat *st);
int __wrap_fstat64(int fd, struct stat *st)
{
	if (!measuring_fails)
		return __real_fstat64(fd, st);
	errno = measuring_fails;
	return -1;
}

/* "100 201 203": what another description finds locked below 300. */
static const char *locked_bytes(const char *path)
{
	static char out[2000];
	int fd = open(path, O_RDWR);
	out[0] = '\0';
	for (int byte = 0; byte < 300; byte++) {
		struct flock lock = { .l_type = F_WRLCK, .l_start = byte, .l_len = 1 };
		cr_assert_eq(fcntl(fd, F_OFD_GETLK, &lock), 0);
		if (lock.l_type == F_UNLCK)
			continue;
		cr_assert_eq(lock.l_type, F_RDLCK);
		snprintf(out + strlen(out), sizeof(out) - strlen(out), "%s%d", out[0] ? " " : "",
			 byte);
	}
	close(fd);
	return out;
}

/* For its locks: descriptor 0. */
static int give(void *path, const struct file_wish *wish)
{
	if (wish->for_locks)
		close(0);
	return open(path, wish->write ? O_RDWR : O_RDONLY);
}

Test(lock, the_bytes_are_qemus)
{
	const char *path = lock_image("disk");
	struct file *file;

	cr_assert_eq(lock_open(path, FILE_LOCK_OVERLAY, &file), 0, "%s", lock_err.message);
	cr_assert_str_eq(locked_bytes(path), "100 101 102 103 201 203");
	file_close(file);
	cr_assert_str_eq(locked_bytes(path), "");
	cr_assert_eq(lock_open(path, FILE_LOCK_SHARED, &file), 0, "%s", lock_err.message);
	cr_assert_str_eq(locked_bytes(path), "100 201 203");
	file_close(file);
	cr_assert_eq(lock_open(path, FILE_LOCK_NONE, &file), 0, "%s", lock_err.message);
	cr_assert_str_eq(locked_bytes(path), "");
	file_close(file);
}

Test(lock, two_of_ours_in_one_process)
{
	static const struct {
		enum file_lock first, second;
		int want;
	} cases[] = {
		{ FILE_LOCK_OVERLAY, FILE_LOCK_OVERLAY, -EBUSY },
		{ FILE_LOCK_OVERLAY, FILE_LOCK_SHARED, -EBUSY },
		{ FILE_LOCK_SHARED, FILE_LOCK_OVERLAY, -EBUSY },
		{ FILE_LOCK_SHARED, FILE_LOCK_SHARED, 0 },
		{ FILE_LOCK_OVERLAY, FILE_LOCK_NONE, 0 },
		{ FILE_LOCK_NONE, FILE_LOCK_OVERLAY, 0 },
	};
	const char *path = lock_image("disk");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct file *file;
		cr_assert_eq(lock_open(path, cases[i].first, &file), 0, "%s", lock_err.message);
		autofree char *before = strdup(locked_bytes(path));
		cr_assert_eq(lock_try(path, cases[i].second), cases[i].want, "case %zu", i);
		cr_assert_str_eq(locked_bytes(path), before, "case %zu", i);
		file_close(file);
		cr_assert_eq(lock_try(path, cases[i].second), 0, "case %zu", i);
	}
}

Test(lock, the_sentence_names_file_and_way_out)
{
	const char *path = lock_image("disk");
	struct file *file;
	cr_assert_eq(lock_open(path, FILE_LOCK_OVERLAY, &file), 0);
	cr_assert_eq(lock_try(path, FILE_LOCK_SHARED), -EBUSY);
	cr_assert(strstr(lock_err.message, path) && strstr(lock_err.message, "write to it") &&
			  lock_err.remedy == ERR_REMEDY_FORCE_SHARE &&
			  strstr(lock_err.message, "Stop"),
		  "%s", lock_err.message);
	cr_assert_eq(lock_try(path, FILE_LOCK_OVERLAY), -EBUSY);
	cr_assert_eq(lock_err.remedy, ERR_REMEDY_NONE);
	file_close(file);
}

/* A file that was refused its lock and stays open must not stand in another opener's way. */
Test(lock, a_refused_lock_leaves_no_byte_behind)
{
	const char *path = lock_image("disk");
	struct file *holder, *file;
	bool unsupported = true;
	cr_assert_eq(lock_open(path, FILE_LOCK_SHARED, &holder), 0);
	cr_assert_eq(lock_open(path, FILE_LOCK_NONE, &file), 0);
	cr_assert_eq(file_lock_take(file, FILE_LOCK_OVERLAY, &unsupported, &lock_err), -EBUSY);
	cr_assert_not(unsupported);
	file_close(holder);
	cr_assert_str_eq(locked_bytes(path), "");
	file_close(file);
}

/* A program without stdin may give descriptor 0. */
Test(lock, descriptor_0_is_one_like_others)
{
	const char *path = lock_image("disk");
	struct file_opener *opener = file_opener_posix();
	struct file_open how = { .name = path,
				 .giver = { give, (void *)path },
				 .write = true,
				 .lock = FILE_LOCK_OVERLAY,
				 .outlives = true };
	struct file *file;

	cr_assert_eq(opener->open(opener, &how, &file, &lock_err), 0, "%s", lock_err.message);
	cr_assert_eq(file->lock_fd, 0);
	cr_assert_str_neq(locked_bytes(path), "");
	cr_assert_eq(file_lock_change(file, FILE_LOCK_OVERLAY, FILE_LOCK_SHARED, &lock_err), 0);
	close(file->fd);
	file->fd = -1;
	cr_expect_str_neq(locked_bytes(path), "", "the locks are not on it");
	file_close(file);
	cr_expect(fcntl(0, F_GETFD) < 0);
}

/* Cloud Hypervisor locks the file as a whole, exclusively. */
Test(lock, a_lock_on_the_whole_file_counts)
{
	const char *path = lock_image("disk");
	int fd = open(path, O_RDWR);
	struct flock whole = { .l_type = F_WRLCK };
	cr_assert_eq(fcntl(fd, F_OFD_SETLK, &whole), 0);
	cr_assert_eq(lock_try(path, FILE_LOCK_SHARED), -EBUSY);
	cr_assert_eq(lock_try(path, FILE_LOCK_OVERLAY), -EBUSY);
	close(fd);
	cr_assert_eq(lock_try(path, FILE_LOCK_OVERLAY), 0);
}

/* Whatever still refers to the description, closing lets go of the bytes. */
Test(lock, closing_releases_even_a_shared_description)
{
	const char *path = lock_image("disk");
	struct file *file;
	cr_assert_eq(lock_open(path, FILE_LOCK_OVERLAY, &file), 0);
	int twin = dup(file->fd);
	file_close(file);
	cr_assert_str_eq(locked_bytes(path), "");
	close(twin);
}

Test(lock, done_without_where_there_are_none)
{
	static const int codes[] = { EINVAL, ENOLCK, ENOSYS, EOPNOTSUPP };
	const char *path = lock_image("disk");
	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		pid_t pid = fork();
		if (!pid) {
			struct file *file;
			bool unsupported = false;
			if (lock_open(path, FILE_LOCK_NONE, &file))
				_exit(1);
			if (seccomp_deny(SYS_fcntl, F_OFD_SETLK, codes[i]))
				_exit(77);
			if (file_lock_take(file, FILE_LOCK_SHARED, &unsupported, &lock_err))
				_exit(2);
			if (!unsupported)
				_exit(3);
			_exit(lock_try(path, FILE_LOCK_SHARED) ? 4 : 0);
		}
		int status;
		cr_assert_eq(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
			scratch_skip("no seccomp filters here");
		cr_assert(WIFEXITED(status) && !WEXITSTATUS(status), "%s: step %d",
			  strerror(codes[i]), WEXITSTATUS(status));
	}
}

/* ---- a file that changes sides ---- */

Test(lock, a_file_that_turns_keeps_its_number_and_its_locks)
{
	const char *path = lock_image("disk");
	char byte = 'x', back = 0;
	struct file *file;
	int fd;

	cr_assert_eq(lock_open(path, FILE_LOCK_SHARED, &file), 0, "%s", lock_err.message);
	fd = file->fd;
	cr_assert_lt(pwrite(fd, &byte, 1, 0), 0, "it is open for reading");

	cr_assert_eq(file_turn(file, true, &lock_err), 0, "%s", lock_err.message);
	cr_assert_str_eq(locked_bytes(path), "100 101 102 103 201 203");
	cr_assert_eq(file->fd, fd);
	cr_assert_eq(file_write(file, &byte, 1, 7), 0);
	cr_assert_eq(lock_try(path, FILE_LOCK_SHARED), -EBUSY);

	cr_assert_eq(file_turn(file, false, &lock_err), 0, "%s", lock_err.message);
	cr_assert_str_eq(locked_bytes(path), "100 201 203");
	cr_assert_eq(lock_try(path, FILE_LOCK_SHARED), 0);
	cr_assert_eq(lock_try(path, FILE_LOCK_OVERLAY), -EBUSY);
	cr_assert_eq(file_read(file, &back, 1, 7), 0);
	cr_assert_eq(back, 'x');
	cr_assert_eq(file_look(file), FILE_SAME, "what we wrote ourselves is no change");
	file_close(file);
	cr_assert_str_eq(locked_bytes(path), "");
}

/* A worker turns it, and threads that read it meanwhile look at these: it has no lock of theirs. */
Test(lock, who_reads_a_file_sees_no_turn_before_it_is_told)
{
	const char *path = lock_image("disk");
	struct file *file;
	uint64_t len;

	cr_assert_eq(lock_open(path, FILE_LOCK_SHARED, &file), 0, "%s", lock_err.message);
	len = file->len;
	for (int write = 1; write >= 0; write--) {
		cr_assert_eq(truncate(path, len + 512), 0);
		cr_assert_eq(file_turn_begin(file, write, &lock_err), 0, "%s", lock_err.message);
		cr_expect_eq(file->writable, !write);
		cr_expect_eq(file->len, len);
		cr_assert_str_eq(locked_bytes(path),
				 write ? "100 101 102 103 201 203" : "100 201 203");
		file_turn_end(file, write);
		len += 512;
		cr_expect_eq(file->writable, write);
		cr_expect_eq(file->len, len);
	}
	cr_expect_eq(file_look(file), FILE_SAME);
	/* One that failed is not told. */
	measuring_fails = ESTALE;
	cr_assert_eq(file_turn_begin(file, true, &lock_err), -ESTALE);
	measuring_fails = 0;
	file_turn_end(file, true);
	cr_expect_eq(file->writable, false);
	file_close(file);
}

Test(lock, a_file_that_another_reads_does_not_turn)
{
	const char *path = lock_image("disk");
	struct file *file, *other;

	cr_assert_eq(lock_open(path, FILE_LOCK_SHARED, &file), 0);
	cr_assert_eq(lock_open(path, FILE_LOCK_SHARED, &other), 0);
	cr_assert_eq(file_turn(file, true, &lock_err), -EBUSY);
	cr_assert(strstr(lock_err.message, path) && strstr(lock_err.message, "in use"), "%s",
		  lock_err.message);
	cr_assert_eq(file->writable, false);
	file_close(other);
	cr_assert_str_eq(locked_bytes(path), "100 201 203", "it has what it had");
	cr_assert_eq(file_turn(file, true, &lock_err), 0, "%s", lock_err.message);
	file_close(file);
}

/* Of network file systems and devices that are gone. */
Test(lock, a_file_that_can_not_be_measured_keeps_its_side)
{
	const char *path = lock_image("disk");
	struct file *file;

	cr_assert_eq(lock_open(path, FILE_LOCK_SHARED, &file), 0);
	measuring_fails = ESTALE;
	cr_assert_eq(file_turn(file, true, &lock_err), -ESTALE);
	cr_assert(strstr(lock_err.message, path), "%s", lock_err.message);
	cr_assert_eq(file->writable, false);
	cr_assert_str_eq(locked_bytes(path), "100 201 203", "it has what it had");
	measuring_fails = 0;
	cr_assert_eq(file_turn(file, true, &lock_err), 0, "%s", lock_err.message);
	measuring_fails = ESTALE;
	cr_assert_eq(file_turn(file, false, &lock_err), -ESTALE);
	cr_assert_eq(file->writable, true);
	cr_assert_str_eq(locked_bytes(path), "100 101 102 103 201 203", "it has what it had");
	measuring_fails = 0;
	cr_assert_eq(file_turn(file, false, &lock_err), 0, "%s", lock_err.message);
	cr_assert_str_eq(locked_bytes(path), "100 201 203");
	file_close(file);
}

Test(lock, a_file_that_may_not_be_written_does_not_turn)
{
	const char *path = lock_image("disk");
	struct file *file;

	cr_assert_eq(lock_open(path, FILE_LOCK_SHARED, &file), 0);
	cr_assert_eq(chmod(path, 0444), 0);
	if (!geteuid())
		cr_skip_test("root may write to anything");
	cr_assert_eq(file_turn(file, true, &lock_err), -EACCES);
	cr_assert_str_eq(locked_bytes(path), "100 201 203");
	file_close(file);
}
