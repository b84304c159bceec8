/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* QEMU's locks as QEMU sees them: its tools keep off what we have, and we off what they have. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/base.h"
#include "io/file.h"
#include "io/file/lock.h"
#include "io/file/opener.h"
#include "tests/support/files/scratch.h"
#include "tests/support/seccomp.h"
#include "tests/unit/io/lock_rig.h"

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
	cr_assert_eq(lock_err.remedy, ERR_REMEDY_FORCE_SHARE);
	cr_assert_eq(lock_try(path, FILE_LOCK_NONE), 0);
	let_go(&holder);
	cr_assert_eq(lock_try(path, FILE_LOCK_OVERLAY), 0, "%s", lock_err.message);
}

Test(lock, we_may_read_what_qemu_reads_but_not_write_it)
{
	const char *path = qemu_image("qemu-io");
	struct holder holder = hold("-r", path);
	cr_assert_eq(lock_try(path, FILE_LOCK_SHARED), 0, "%s", lock_err.message);
	cr_assert_eq(lock_try(path, FILE_LOCK_OVERLAY), -EBUSY);
	let_go(&holder);
	cr_assert_eq(lock_try(path, FILE_LOCK_OVERLAY), 0, "%s", lock_err.message);
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

Test(lock, a_storage_daemon_and_we_keep_off_each_other)
{
	const char *path = qemu_image("qemu-storage-daemon");

	pid_t pid = export(path, "on");
	cr_assert_eq(lock_try(path, FILE_LOCK_OVERLAY), -EBUSY);
	cr_assert_eq(lock_try(path, FILE_LOCK_SHARED), -EBUSY);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	unlink(scratch("pid"));
	cr_assert_eq(lock_try(path, FILE_LOCK_OVERLAY), 0, "%s", lock_err.message);

	pid = export(path, "off");
	cr_assert_eq(lock_try(path, FILE_LOCK_SHARED), 0, "%s", lock_err.message);
	cr_assert_eq(lock_try(path, FILE_LOCK_OVERLAY), -EBUSY);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	cr_assert_eq(lock_try(path, FILE_LOCK_OVERLAY), 0, "%s", lock_err.message);
}
