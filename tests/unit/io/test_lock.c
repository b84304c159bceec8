/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The image locks: which bytes, who excludes whom among ourselves, and against
 * the real qemu-io and qemu-storage-daemon in both directions.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/base.h"
#include "io/file.h"
#include "io/file/file_rest.h"
#include "io/file/lock.h"
#include "io/file/opener.h"
#include "tests/support/files/scratch.h"
#include "tests/support/seccomp.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(60);
TestSuite(lock, .init = scratch_make, .fini = scratch_remove, .timeout = TIME_LIMIT_CLOCK(60));

static struct err err;

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

static int lock_open(const char *path, enum file_lock lock, struct file **out)
{
	struct file_opener *opener = file_opener_posix();
	*out = NULL;
	return opener->open(opener,
			    &(struct file_open){ .name = path,
						 .write = lock == FILE_LOCK_OVERLAY,
						 .lock = lock },
			    out, &err);
}

/* Opens and closes again. */
static int lock_try(const char *path, enum file_lock lock)
{
	struct file *file;
	int ret = lock_open(path, lock, &file);
	file_close(file);
	return ret;
}

static const char *image(const char *name)
{
	static char mib[1 << 20];
	return scratch_file(name, mib, sizeof(mib));
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

Test(lock, the_bytes_are_qemus)
{
	const char *path = image("disk");
	struct file *file;

	cr_assert_eq(lock_open(path, FILE_LOCK_OVERLAY, &file), 0, "%s", err.message);
	cr_assert_str_eq(locked_bytes(path), "100 101 102 103 201 203");
	file_close(file);
	cr_assert_str_eq(locked_bytes(path), "");
	cr_assert_eq(lock_open(path, FILE_LOCK_SHARED, &file), 0, "%s", err.message);
	cr_assert_str_eq(locked_bytes(path), "100 201 203");
	file_close(file);
	cr_assert_eq(lock_open(path, FILE_LOCK_NONE, &file), 0, "%s", err.message);
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
	const char *path = image("disk");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct file *file;
		cr_assert_eq(lock_open(path, cases[i].first, &file), 0, "%s", err.message);
		autofree char *before = strdup(locked_bytes(path));
		cr_assert_eq(lock_try(path, cases[i].second), cases[i].want, "case %zu", i);
		cr_assert_str_eq(locked_bytes(path), before, "case %zu", i);
		file_close(file);
		cr_assert_eq(lock_try(path, cases[i].second), 0, "case %zu", i);
	}
}

Test(lock, the_sentence_names_file_and_way_out)
{
	const char *path = image("disk");
	struct file *file;
	cr_assert_eq(lock_open(path, FILE_LOCK_OVERLAY, &file), 0);
	cr_assert_eq(lock_try(path, FILE_LOCK_SHARED), -EBUSY);
	cr_assert(strstr(err.message, path) && strstr(err.message, "write to it") &&
			  err.remedy == ERR_REMEDY_FORCE_SHARE && strstr(err.message, "Stop"),
		  "%s", err.message);
	cr_assert_eq(lock_try(path, FILE_LOCK_OVERLAY), -EBUSY);
	cr_assert_eq(err.remedy, ERR_REMEDY_NONE);
	file_close(file);
}

/* A file that was refused its lock and stays open must not stand in another opener's way. */
Test(lock, a_refused_lock_leaves_no_byte_behind)
{
	const char *path = image("disk");
	struct file *holder, *file;
	bool unsupported = true;
	cr_assert_eq(lock_open(path, FILE_LOCK_SHARED, &holder), 0);
	cr_assert_eq(lock_open(path, FILE_LOCK_NONE, &file), 0);
	cr_assert_eq(file_lock_take(file, FILE_LOCK_OVERLAY, &unsupported, &err), -EBUSY);
	cr_assert_not(unsupported);
	file_close(holder);
	cr_assert_str_eq(locked_bytes(path), "");
	file_close(file);
}

/* Cloud Hypervisor locks the file as a whole, exclusively. */
Test(lock, a_lock_on_the_whole_file_counts)
{
	const char *path = image("disk");
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
	const char *path = image("disk");
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
	const char *path = image("disk");
	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		pid_t pid = fork();
		if (!pid) {
			struct file *file;
			bool unsupported = false;
			if (lock_open(path, FILE_LOCK_NONE, &file))
				_exit(1);
			if (seccomp_deny(SYS_fcntl, F_OFD_SETLK, codes[i]))
				_exit(77);
			if (file_lock_take(file, FILE_LOCK_SHARED, &unsupported, &err))
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

/* A qcow2 image: a raw one QEMU opens with nothing unshared, and would read beside any writer. */
static const char *qemu_image(const char *program)
{
	const char *path = scratch("disk.qcow2");
	if (scratch_run(program, "--version", NULL) || scratch_run("qemu-img", "--version", NULL))
		scratch_skip("%s or qemu-img is not installed", program);
	cr_assert_eq(scratch_run("qemu-img", "create", "-f", "qcow2", path, "1M", NULL), 0);
	return path;
}

static int qemu_write(const char *path)
{
	return scratch_run("qemu-io", "-f", "qcow2", "-c", "write 0 512", path, NULL);
}

static int qemu_read(const char *path)
{
	return scratch_run("qemu-io", "-r", "-f", "qcow2", "-c", "read 0 512", path, NULL);
}

Test(lock, qemu_keeps_off_our_overlay)
{
	const char *path = qemu_image("qemu-io");
	struct file *file;
	cr_assert_eq(qemu_write(path), 0);
	cr_assert_eq(lock_open(path, FILE_LOCK_OVERLAY, &file), 0);
	cr_assert_gt(qemu_write(path), 0);
	cr_assert_gt(qemu_read(path), 0);
	cr_assert_gt(scratch_run("qemu-img", "info", path, NULL), 0);
	cr_assert_eq(scratch_run("qemu-img", "info", "-U", path, NULL), 0);
	file_close(file);
	cr_assert_eq(qemu_write(path), 0);
}

Test(lock, qemu_may_read_our_backing_file_but_not_write_it)
{
	const char *path = qemu_image("qemu-io");
	struct file *file;
	cr_assert_eq(lock_open(path, FILE_LOCK_SHARED, &file), 0);
	cr_assert_gt(qemu_write(path), 0);
	cr_assert_eq(qemu_read(path), 0);
	cr_assert_eq(scratch_run("qemu-img", "info", path, NULL), 0);
	file_close(file);
	cr_assert_eq(qemu_write(path), 0);
}

/* qemu-io with the image open, waiting for commands on a pipe. */
struct holder {
	pid_t pid;
	FILE *in, *out;
};

static struct holder hold(const char *mode, const char *path)
{
	int in[2], out[2];
	char line[512];
	cr_assert_eq(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC), 0);
	struct holder holder = { .pid = fork() };
	if (!holder.pid) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		execlp("qemu-io", "qemu-io", mode, "-f", "qcow2", path, NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	holder.in = fdopen(in[1], "w");
	holder.out = fdopen(out[0], "r");
	fputs("read 0 512\n", holder.in);
	fflush(holder.in);
	do
		cr_assert(fgets(line, sizeof(line), holder.out), "qemu-io did not open the image");
	while (!strstr(line, "read 512/512"));
	return holder;
}

static void let_go(struct holder *holder)
{
	fclose(holder->in);
	while (fgetc(holder->out) != EOF)
		;
	fclose(holder->out);
	waitpid(holder->pid, NULL, 0);
}

Test(lock, we_keep_off_what_qemu_writes)
{
	const char *path = qemu_image("qemu-io");
	struct holder holder = hold("-n", path);
	cr_assert_eq(lock_try(path, FILE_LOCK_OVERLAY), -EBUSY);
	cr_assert_eq(lock_try(path, FILE_LOCK_SHARED), -EBUSY);
	cr_assert_eq(err.remedy, ERR_REMEDY_FORCE_SHARE);
	cr_assert_eq(lock_try(path, FILE_LOCK_NONE), 0);
	let_go(&holder);
	cr_assert_eq(lock_try(path, FILE_LOCK_OVERLAY), 0, "%s", err.message);
}

Test(lock, we_may_read_what_qemu_reads_but_not_write_it)
{
	const char *path = qemu_image("qemu-io");
	struct holder holder = hold("-r", path);
	cr_assert_eq(lock_try(path, FILE_LOCK_SHARED), 0, "%s", err.message);
	cr_assert_eq(lock_try(path, FILE_LOCK_OVERLAY), -EBUSY);
	let_go(&holder);
	cr_assert_eq(lock_try(path, FILE_LOCK_OVERLAY), 0, "%s", err.message);
}

/* qemu-storage-daemon exporting the image; returns when its socket is there. */
static pid_t export(const char *path, const char *writable)
{
	char node[1200], server[1200], what[200];
	const char *socket = scratch("nbd"), *pid_file = scratch("pid");
	unlink(socket);
	snprintf(node, sizeof(node),
		 "driver=qcow2,node-name=f,file.driver=file,file.filename=%s,read-only=%s", path,
		 strcmp(writable, "on") ? "on" : "off");
	snprintf(server, sizeof(server), "addr.type=unix,addr.path=%s", socket);
	snprintf(what, sizeof(what), "type=nbd,id=e,node-name=f,writable=%s", writable);
	pid_t pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* also where an assertion ends the test */
		execlp("qemu-storage-daemon", "qemu-storage-daemon", "--blockdev", node,
		       "--nbd-server", server, "--export", what, "--pidfile", pid_file, NULL);
		_exit(127);
	}
	/* The pid file is written when everything is set up. */
	while (access(pid_file, F_OK)) {
		cr_assert_eq(waitpid(pid, NULL, WNOHANG), 0, "qemu-storage-daemon ended");
		usleep(10000);
	}
	return pid;
}

Test(lock, a_storage_daemon_and_we)
{
	const char *path = qemu_image("qemu-storage-daemon");

	pid_t pid = export(path, "on");
	cr_assert_eq(lock_try(path, FILE_LOCK_OVERLAY), -EBUSY);
	cr_assert_eq(lock_try(path, FILE_LOCK_SHARED), -EBUSY);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	unlink(scratch("pid"));
	cr_assert_eq(lock_try(path, FILE_LOCK_OVERLAY), 0, "%s", err.message);

	pid = export(path, "off");
	cr_assert_eq(lock_try(path, FILE_LOCK_SHARED), 0, "%s", err.message);
	cr_assert_eq(lock_try(path, FILE_LOCK_OVERLAY), -EBUSY);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	cr_assert_eq(lock_try(path, FILE_LOCK_OVERLAY), 0, "%s", err.message);
}

/* ---- a file that changes sides ---- */

Test(lock, a_file_that_turns_keeps_its_number_and_its_locks)
{
	const char *path = image("disk");
	char byte = 'x', back = 0;
	struct file *file;
	int fd;

	cr_assert_eq(lock_open(path, FILE_LOCK_SHARED, &file), 0, "%s", err.message);
	fd = file->fd;
	cr_assert_lt(pwrite(fd, &byte, 1, 0), 0, "it is open for reading");

	cr_assert_eq(file_turn(file, true, &err), 0, "%s", err.message);
	cr_assert_str_eq(locked_bytes(path), "100 101 102 103 201 203");
	cr_assert_eq(file->fd, fd);
	cr_assert_eq(file_write(file, &byte, 1, 7), 0);
	cr_assert_eq(lock_try(path, FILE_LOCK_SHARED), -EBUSY);

	cr_assert_eq(file_turn(file, false, &err), 0, "%s", err.message);
	cr_assert_str_eq(locked_bytes(path), "100 201 203");
	cr_assert_eq(lock_try(path, FILE_LOCK_SHARED), 0);
	cr_assert_eq(lock_try(path, FILE_LOCK_OVERLAY), -EBUSY);
	cr_assert_eq(file_read(file, &back, 1, 7), 0);
	cr_assert_eq(back, 'x');
	cr_assert_eq(file_look(file), FILE_SAME, "what we wrote ourselves is no change");
	file_close(file);
	cr_assert_str_eq(locked_bytes(path), "");
}

Test(lock, a_file_that_another_reads_does_not_turn)
{
	const char *path = image("disk");
	struct file *file, *other;

	cr_assert_eq(lock_open(path, FILE_LOCK_SHARED, &file), 0);
	cr_assert_eq(lock_open(path, FILE_LOCK_SHARED, &other), 0);
	cr_assert_eq(file_turn(file, true, &err), -EBUSY);
	cr_assert(strstr(err.message, path) && strstr(err.message, "in use"), "%s", err.message);
	cr_assert_eq(file->writable, false);
	file_close(other);
	cr_assert_str_eq(locked_bytes(path), "100 201 203", "it has what it had");
	cr_assert_eq(file_turn(file, true, &err), 0, "%s", err.message);
	file_close(file);
}

/* Of network file systems and devices that are gone. */
Test(lock, a_file_that_can_not_be_measured_keeps_its_side)
{
	const char *path = image("disk");
	struct file *file;

	cr_assert_eq(lock_open(path, FILE_LOCK_SHARED, &file), 0);
	measuring_fails = ESTALE;
	cr_assert_eq(file_turn(file, true, &err), -ESTALE);
	cr_assert(strstr(err.message, path), "%s", err.message);
	cr_assert_eq(file->writable, false);
	cr_assert_str_eq(locked_bytes(path), "100 201 203", "it has what it had");
	measuring_fails = 0;
	cr_assert_eq(file_turn(file, true, &err), 0, "%s", err.message);
	measuring_fails = ESTALE;
	cr_assert_eq(file_turn(file, false, &err), -ESTALE);
	cr_assert_eq(file->writable, true);
	cr_assert_str_eq(locked_bytes(path), "100 101 102 103 201 203", "it has what it had");
	measuring_fails = 0;
	cr_assert_eq(file_turn(file, false, &err), 0, "%s", err.message);
	cr_assert_str_eq(locked_bytes(path), "100 201 203");
	file_close(file);
}

Test(lock, a_file_that_may_not_be_written_does_not_turn)
{
	const char *path = image("disk");
	struct file *file;

	cr_assert_eq(lock_open(path, FILE_LOCK_SHARED, &file), 0);
	cr_assert_eq(chmod(path, 0444), 0);
	if (!geteuid())
		cr_skip_test("root may write to anything");
	cr_assert_eq(file_turn(file, true, &err), -EACCES);
	cr_assert_str_eq(locked_bytes(path), "100 201 203");
	file_close(file);
}
