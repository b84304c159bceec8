/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The list of system calls in docs/embedding.md is enough: a child allows those alone
 * when its files are open, and pulls, serves a guest, and closes. Any other call
 * kills it.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

#define MiB      (1u << 20)
#define BASE_LEN (24u * MiB)
#define SKIPPED  77

TIME_LIMIT(120);
TestSuite(syscalls, .init = scratch_make, .fini = scratch_remove, .timeout = TIME_LIMIT_CLOCK(120));

static scmp_filter_ctx filter;
static unsigned n_listed;

/* What stands between backquotes in the marked part. `left_out`: not that one. */
static void read_list(const char *left_out)
{
	FILE *guide = fopen(EMBEDDING_GUIDE, "r");
	char line[1024];
	bool inside = false;

	cr_assert_not_null(guide, "%s", EMBEDDING_GUIDE);
	filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
	cr_assert_not_null(filter);
	while (fgets(line, sizeof(line), guide)) {
		char *at = line, *end;

		if (!strncmp(line, "<!--", 4))
			inside = strstr(line, "syscalls") != NULL;
		while (inside && (at = strchr(at, '`')) && (end = strchr(at + 1, '`'))) {
			int call;

			*end = '\0';
			call = seccomp_syscall_resolve_name(at + 1);
			cr_assert_neq(call, __NR_SCMP_ERROR, "there is no call %s", at + 1);
			if (!left_out || strcmp(left_out, at + 1))
				cr_assert_eq(seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0), 0);
			n_listed++;
			at = end + 1;
		}
	}
	fclose(guide);
	/* The child's own end. */
	cr_assert_eq(seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(exit_group), 0), 0);
	cr_assert_eq(seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1), 0);
	cr_assert_gt(n_listed, 20);
}

static void confine(void *opaque)
{
	if (seccomp_load(filter))
		_exit(SKIPPED);
	*(bool *)opaque = true;
}

static void make_chain(void)
{
	char *bytes = malloc(BASE_LEN);

	memset(bytes, 0x5a, BASE_LEN);
	memset(bytes + 4 * MiB, 0, MiB);
	scratch_file("base.raw", bytes, BASE_LEN);
	free(bytes);
	unlink(scratch("top.qcow2"));
	make_overlay("top.qcow2", BPULL_FORMAT_QCOW2, "base.raw");
}

static struct bpull_engine *engine;
static struct bpull_disk *disk;

/* Requests of each kind, and then the job's end. 0 or the step that failed. */
static int serve(bool has_thread)
{
	static char put[70000], got[70000];
	struct iovec w = { put, sizeof(put) }, r = { got, sizeof(got) };
	unsigned n_left = 6 * 20;
	bool over = false;

	memset(put, 0x21, sizeof(put));
	for (unsigned i = 0; i < 20; i++) {
		bpull_write(disk, &w, 1, i * UINT64_C(1000000), i % 4 ? 0 : BPULL_IO_FUA, NULL);
		bpull_read(disk, &r, 1, i * UINT64_C(900000), NULL);
		bpull_write_zeroes(disk, i * UINT64_C(800000), 200000, BPULL_IO_UNMAP, NULL);
		bpull_discard(disk, i * UINT64_C(700000), 200000, NULL);
		bpull_flush(disk, NULL);
		bpull_read(disk, &r, 1, i * UINT64_C(1000), NULL);
	}
	bpull_job_set_speed(disk, 48 * MiB, 0);
	while (n_left || !over) {
		struct bpull_event event;

		if (bpull_engine_wait(engine, &event, 1, 30000) != 1)
			return 11;
		if (event.type == BPULL_EVENT_IO && event.error)
			return 12;
		n_left -= event.type == BPULL_EVENT_IO;
		over |= event.type == BPULL_EVENT_JOB;
		if (event.type == BPULL_EVENT_JOB && event.status != BPULL_JOB_COMPLETED)
			return 13;
	}
	if (has_thread && (bpull_pwrite(disk, put, 512, 5000, 0) || bpull_pflush(disk) ||
			   bpull_pread(disk, got, 512, 5000) || got[0] != 0x21))
		return 14;
	return 0;
}

/* Serves a guest beside a pull of the disk that was opened, and closes all. */
static int pull_serving(bool is_thread)
{
	struct bpull_job_options job = { .size = sizeof(job), .flags = BPULL_JOB_VERIFY };
	int rc;

	if (bpull_job_start(disk, &job, NULL))
		return 3;
	rc = serve(is_thread);
	bpull_disk_close(disk);
	bpull_engine_close(engine);
	return rc;
}

static int confined(enum bpull_io io, uint32_t flags)
{
	struct bpull_engine_options eo = { .size = sizeof(eo), .io = io, .flags = flags };
	bool is_confined = false;
	struct bpull_disk_options o = { .size = sizeof(o),
					.flags = BPULL_DISK_GUEST_IO | BPULL_DISK_COPY_ON_READ,
					.user_data = &is_confined,
					.opened = confine };
	int rc;

	alarm(TIME_LIMIT_CLOCK(10));
	mallopt(M_ARENA_MAX, 1);
	rc = bpull_engine_open(&eo, &engine, NULL);
	if (rc)
		return rc == -ENOTSUP ? SKIPPED : 1;
	if (bpull_disk_open(engine, scratch("top.qcow2"), &o, &disk, NULL) || !is_confined)
		return 2;
	return pull_serving(flags & BPULL_ENGINE_THREAD);
}

/* What a child that runs it exits with; below 0: the signal that ended it. */
static int outcome(int (*run)(enum bpull_io io, uint32_t how), enum bpull_io io, uint32_t how)
{
	int status;
	pid_t pid;

	make_chain();
	pid = fork();
	cr_assert_geq(pid, 0);
	if (!pid)
		_exit(run(io, how));
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

Test(syscalls, the_list_is_enough)
{
	read_list(NULL);
	for (int io = BPULL_IO_URING; io <= BPULL_IO_THREADS; io++)
		for (uint32_t flags = 0; flags <= BPULL_ENGINE_THREAD; flags++) {
			int got = outcome(confined, io, flags);

			if (got == SKIPPED)
				continue;
			cr_expect_eq(got, 0, "io %d, flags %u: %d", io, flags, got);
			cr_expect_eq(
				scratch_run("qemu-img", "check", "-q", scratch("top.qcow2"), NULL),
				0);
		}
}

/* ---- a process without names ---- */

/* Whatever looks at a name; those that take a directory's descriptor with a name may be glibc's
 * fstat(), so they are allowed on descriptors. */
static void refuse_names(void)
{
	static const int names[] = { SCMP_SYS(open),
				     SCMP_SYS(openat),
				     SCMP_SYS(openat2),
				     SCMP_SYS(creat),
				     SCMP_SYS(stat),
				     SCMP_SYS(lstat),
				     SCMP_SYS(access),
				     SCMP_SYS(faccessat),
				     SCMP_SYS(readlink),
				     SCMP_SYS(readlinkat),
				     SCMP_SYS(statfs),
				     SCMP_SYS(getcwd),
				     SCMP_SYS(inotify_add_watch) };
	static const int at[] = { SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(faccessat2) };

	filter = seccomp_init(SCMP_ACT_ALLOW);
	cr_assert_not_null(filter);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		cr_assert_eq(seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, names[i], 0), 0);
	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++)
		cr_assert_eq(seccomp_rule_add(
				     filter, SCMP_ACT_KILL_PROCESS, at[i], 1,
				     SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, (uint32_t)AT_FDCWD)),
			     0);
	cr_assert_eq(seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1), 0);
}

static int given[2]; /* top, base */

static int give_file(void *opaque, const struct bpull_open_request *request)
{
	int *fd = &given[!strcmp(request->name, "base.raw")];
	int rc = request->need == BPULL_OPEN_LOCK ? -ENOENT : *fd;

	if (rc >= 0)
		*fd = -ENOENT;
	return rc;
}

static int jailed(enum bpull_io io, uint32_t by_name)
{
	struct bpull_engine_options eo = { .size = sizeof(eo), .io = io };
	struct bpull_disk_options o = { .size = sizeof(o),
					.flags = BPULL_DISK_GUEST_IO,
					.open_file = by_name ? NULL : give_file };
	int rc;

	alarm(TIME_LIMIT_CLOCK(10));
	mallopt(M_ARENA_MAX, 1);
	given[0] = open(scratch("top.qcow2"), O_RDWR);
	given[1] = open(scratch("base.raw"), O_RDONLY);
	rc = bpull_engine_open(&eo, &engine, NULL);
	if (rc)
		return rc == -ENOTSUP ? SKIPPED : 1;
	if (seccomp_load(filter))
		return SKIPPED;
	if (bpull_disk_open(engine, by_name ? scratch("top.qcow2") : "top.qcow2", &o, &disk, NULL))
		return 2;
	return pull_serving(false);
}

Test(syscalls, open_file_needs_no_name)
{
	refuse_names();
	cr_expect_eq(outcome(jailed, BPULL_IO_THREADS, true), -SIGSYS, "the filter proves nothing");
	for (int io = BPULL_IO_URING; io <= BPULL_IO_THREADS; io++) {
		int got = outcome(jailed, io, false);

		if (got == SKIPPED)
			continue;
		cr_expect_eq(got, 0, "io %d: %d", io, got);
		cr_expect_eq(scratch_run("qemu-img", "check", "-q", scratch("top.qcow2"), NULL), 0);
	}
}

/* Or the filter would prove nothing. */
Test(syscalls, what_is_not_listed_kills)
{
	read_list("fdatasync");
	cr_expect_eq(outcome(confined, BPULL_IO_THREADS, 0), -SIGSYS);
}
