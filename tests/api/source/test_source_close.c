/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The end of a source that was given to the library: it is closed once, whatever is refused; its
 * close() may wait for others of the program; and a child of fork() leaves it.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/api/source/source_rig.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(60);
TestSuite(source_close, .init = source_rig_set_up, .fini = source_rig_end,
	  .timeout = TIME_LIMIT_CLOCK(60));

/* A source of zeros, and what find_base answers with it. */
static struct {
	struct bpull_base base;
	struct {
		struct bpull_source_ops ops;
		uint64_t of_a_later_version;
	} table;
	unsigned n_closed, n_left;
	struct bpull_disk *looked_at; /* close() waits for a thread that asks for its size */
} zeros;

static void read_zeros(void *source, void *buf, size_t len, uint64_t offset,
		       enum bpull_source_asker asker, struct bpull_source_ask *ask)
{
	memset(buf, 0, len);
	bpull_source_read_done(ask, 0);
}

static void *look_at_disk(void *disk)
{
	cr_expect_eq(bpull_disk_size(disk), MiB);
	return NULL;
}

static void close_zeros(void *source)
{
	pthread_t thread;

	zeros.n_closed++;
	if (!zeros.looked_at)
		return;
	cr_assert_eq(pthread_create(&thread, NULL, look_at_disk, zeros.looked_at), 0);
	pthread_join(thread, NULL);
}

static void leave_zeros(void *source)
{
	zeros.n_left++;
}

static int find_zeros(void *opaque, const struct bpull_open_request *request,
		      struct bpull_base *base, struct bpull_error *why)
{
	if (!request->recorded || strcmp(request->recorded, NAME) != 0)
		return 1;
	base->format = zeros.base.format;
	base->source = zeros.base.source;
	return 0;
}

static void make_zeros(void)
{
	memset(&zeros, 0, sizeof(zeros));
	zeros.table.ops = (struct bpull_source_ops){ .size = sizeof(zeros.table.ops),
						     .read = read_zeros,
						     .close = close_zeros,
						     .leave = leave_zeros };
	zeros.base.source = (struct bpull_source){ .size = sizeof(zeros.base.source),
						   .ops = &zeros.table.ops,
						   .source = &zeros,
						   .length = LEN };
	if (access(scratch("top"), F_OK))
		source_rig_make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
}

static int open_over_zeros(struct bpull_engine *e, struct bpull_disk **disk)
{
	struct bpull_disk_options o = { .size = sizeof(o), .find_base = find_zeros };

	memset(&error, 0, sizeof(error));
	return bpull_disk_open(e, scratch("top"), &o, disk, &error);
}

static void expect_refused(const char *what)
{
	struct bpull_disk *disk;

	cr_expect_eq(open_over_zeros(engine, &disk), -EINVAL, "%s: %s", what, error.message);
	cr_expect_eq(zeros.n_closed, 1, "%s: closed %u times", what, zeros.n_closed);
}

Test(source_close, structs_that_are_not_known_are_refused_and_their_source_closed)
{
	make_zeros();
	zeros.table.ops.size = sizeof(zeros.table);
	zeros.table.of_a_later_version = 1;
	expect_refused("more calls");
	make_zeros();
	zeros.base.source.size = 0;
	expect_refused("no size of the source");
	make_zeros();
	zeros.base.source.size = sizeof(zeros.base.source) + 4096;
	expect_refused("a size that no version has");
	make_zeros();
	zeros.base.format = 77;
	expect_refused("an unknown format");
}

/* Where its calls can't be told, none is called. */
Test(source_close, a_table_that_ends_before_its_close_is_not_called)
{
	struct bpull_disk *disk;

	make_zeros();
	zeros.table.ops.size = sizeof(size_t) - 1;
	cr_expect_eq(open_over_zeros(engine, &disk), -EINVAL);
	cr_expect_eq(zeros.n_closed, 0);
	make_zeros();
	zeros.table.ops.size = 1 << 20;
	cr_expect_eq(open_over_zeros(engine, &disk), -EINVAL);
	cr_expect_eq(zeros.n_closed, 0);
}

/* An engine with a thread, whose lock is not held then: by a call that closes a disk, by one that
 * refuses a source, and at the end of a job that drops one. */
Test(source_close, close_may_wait_for_a_thread_that_calls)
{
	struct bpull_engine_options e = { .size = sizeof(e), .flags = BPULL_ENGINE_THREAD };
	struct bpull_disk_options o = { .size = sizeof(o) };
	struct bpull_job_options job = { .size = sizeof(job) };
	struct bpull_disk *disk, *other;
	struct bpull_engine *threaded;

	cr_assert_eq(bpull_engine_open(&e, &threaded, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_disk_open(threaded, source_rig_any_image(BPULL_FORMAT_QCOW2), &o, &other,
				     &error),
		     0, "%s", error.message);
	make_zeros();
	zeros.looked_at = other;
	cr_assert_eq(open_over_zeros(threaded, &disk), 0, "%s", error.message);
	bpull_disk_close(disk);
	cr_expect_eq(zeros.n_closed, 1);

	zeros.base.source.block_size = 3;
	cr_expect_eq(open_over_zeros(threaded, &disk), -EINVAL);
	cr_expect_eq(zeros.n_closed, 2);

	zeros.base.source.block_size = 0;
	cr_assert_eq(open_over_zeros(threaded, &disk), 0, "%s", error.message);
	cr_assert_eq(bpull_job_start(disk, &job, &error), 0, "%s", error.message);
	cr_expect_eq(bpull_job_wait(disk, -1), 0);
	cr_expect_eq(zeros.n_closed, 3, "dropped with the link");
	bpull_disk_close(disk);
	bpull_engine_close(threaded);
	cr_expect_eq(zeros.n_closed, 3);
}

static int leave_all(struct bpull_disk *disk)
{
	bpull_disk_close(disk);
	if (zeros.n_left)
		return 1;
	bpull_engine_close(engine);
	return zeros.n_left == 1 && !zeros.n_closed ? 0 : 2;
}

Test(source_close, a_child_of_fork_leaves_it)
{
	struct bpull_disk *disk;
	int status;
	pid_t pid;

	make_zeros();
	cr_assert_eq(open_over_zeros(engine, &disk), 0, "%s", error.message);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (!pid) {
		alarm(TIME_LIMIT_CLOCK(5));
		_exit(leave_all(disk));
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect(WIFEXITED(status) && !WEXITSTATUS(status), "%#x", status);
	cr_expect_eq(zeros.n_left + zeros.n_closed, 0);
	source_rig_pull(disk);
	cr_expect_eq(zeros.n_closed, 1);
	bpull_disk_close(disk);
}
