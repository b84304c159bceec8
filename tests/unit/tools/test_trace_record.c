/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Recording what is touched first; traces as files; what a job is given of one. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/files/scratch.h"
#include "tools/trace/file.h"
#include "tools/trace/first.h"
#include "tools/trace/record.h"
#include "tools/trace/recorder.h"

#define KIB UINT64_C(1024)

TestSuite(trace_record, .init = scratch_make, .fini = scratch_remove, .timeout = 60);

static struct trace taken(struct recorder *recorder)
{
	struct trace trace;

	recorder_take(recorder, &trace);
	recorder_free(recorder);
	return trace;
}

static void expect(struct trace *trace, const uint64_t (*want)[2], size_t n)
{
	cr_assert_eq(trace->n, n, "%zu ranges", trace->n);
	for (size_t i = 0; i < n; i++)
		cr_assert(trace->ranges[i].off == want[i][0] && trace->ranges[i].len == want[i][1],
			  "%zu: %ju %ju", i, (uintmax_t)trace->ranges[i].off,
			  (uintmax_t)trace->ranges[i].len);
	trace_free(trace);
}

Test(trace_record, each_block_comes_once_in_the_order_of_first_touches)
{
	static const uint64_t want[][2] = { { 640 * KIB, 128 * KIB },
					    { 0, 64 * KIB },
					    { 960 * KIB, 40 * KIB },
					    { 576 * KIB, 64 * KIB } };
	struct recorder *r = recorder_new(1000 * KIB);
	struct trace trace;

	recorder_read(r, 700 * KIB, 512);
	recorder_read(r, 10, 4096);
	recorder_read(r, 704 * KIB, 65536); /* goes on with the first one */
	recorder_read(r, 0, 1);
	recorder_read(r, 999 * KIB, KIB);
	recorder_read(r, 576 * KIB, 128 * KIB); /* one that is known behind one that is not */
	recorder_read(r, 1000 * KIB, 1);        /* behind the end, and across it */
	recorder_read(r, 999 * KIB, KIB + 1);
	recorder_read(r, UINT64_MAX, UINT64_MAX);
	recorder_read(r, 0, 0);
	recorder_read(NULL, 0, 1);
	trace = taken(r);
	expect(&trace, want, 4);
}

Test(trace_record, a_write_wants_what_it_does_not_replace)
{
	static const uint64_t want[][2] = { { 0, 64 * KIB },
					    { 192 * KIB, 64 * KIB },
					    { 320 * KIB, 64 * KIB } };
	struct recorder *r = recorder_new(1000 * KIB);
	struct trace trace;

	recorder_write(r, 512 * KIB, 128 * KIB); /* all of two blocks */
	recorder_write(r, 1, 64 * KIB - 1);
	recorder_write(r, 192 * KIB + 512, 192 * KIB - 512 - 4096);
	trace = taken(r);
	expect(&trace, want, 3);
}

Test(trace_record, long_disks_have_longer_blocks)
{
	struct recorder *r = recorder_new(INT64_MAX);
	struct trace trace;

	cr_assert_not_null(r);
	recorder_read(r, 0, 1);
	recorder_read(r, INT64_MAX - 1, 1);
	trace = taken(r);
	cr_assert_eq(trace.n, 2);
	cr_assert_eq(trace.ranges[1].off + trace.ranges[1].len, INT64_MAX);
	trace_free(&trace);
}

Test(trace_record, ends_where_it_is_full)
{
	struct recorder *r = recorder_new(UINT64_C(1) << 40);
	struct trace trace;

	for (uint64_t i = 0; i < TRACE_MAX + 5; i++)
		recorder_read(r, i * 128 * KIB, 1);
	trace = taken(r);
	cr_assert_eq(trace.n, TRACE_MAX);
	cr_assert(trace.is_full);
	trace_free(&trace);
}

static void *touch_all(void *opaque)
{
	for (uint64_t i = 0; i < 4000; i++)
		recorder_read(opaque, i * 7919 % 4000 * 64 * KIB, 512);
	return NULL;
}

Test(trace_record, threads_touch_each_block_once)
{
	struct recorder *r = recorder_new(4000 * 64 * KIB);
	pthread_t threads[4];
	struct trace trace;

	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, touch_all, r), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	trace = taken(r);
	cr_assert_eq(trace_len(&trace), 4000 * 64 * KIB);
	trace_free(&trace);
}

/* ---- files ---- */

static struct trace one_range(uint64_t off)
{
	struct trace trace = { 0 };

	cr_assert_eq(trace_add(&trace, &(struct trace_range){ off, 7, 1 }), 0);
	return trace;
}

Test(trace_record, a_file_is_replaced_by_a_whole_one)
{
	struct trace first = one_range(5), second = one_range(9), read;
	struct trace_file file;
	char why[TRACE_WHY_CAP];

	scratch_file("t.tmp", "blockpull trace 1\n0 5", 21); /* left by a kill */
	cr_assert_eq(trace_file_open(&file, scratch("t"), why), 0, "%s", why);
	cr_assert_eq(trace_file_save(&file, &first), 0);
	cr_assert_eq(trace_file_save(&file, &second), 0);
	trace_file_close(&file);
	cr_assert_eq(trace_load(scratch("t"), &read, why), 0, "%s", why);
	cr_assert(read.n == 1 && read.ranges[0].off == 9);
	cr_assert_neq(access(scratch("t.tmp"), F_OK), 0);
	trace_free(&read);
	trace_free(&first);
	trace_free(&second);
}

Test(trace_record, what_is_no_trace_is_not_replaced)
{
	struct trace_file file;
	char why[TRACE_WHY_CAP];

	scratch_file("image", "QFI\xfb and more than a line of it", 30);
	cr_assert_eq(trace_file_open(&file, scratch("image"), why), -EINVAL);
	cr_assert(strstr(why, "something else"), "%s", why);
	cr_assert_eq(trace_file_open(&file, scratch_dir(), why), -EINVAL);
	cr_assert_eq(symlink("image", scratch("link")), 0);
	cr_assert_eq(trace_file_open(&file, scratch("link"), why), -EINVAL);
	cr_assert_eq(trace_file_open(&file, "/no/such/directory/t", why), -ENOENT);
	cr_assert_eq(trace_file_open(&file, "", why), -EINVAL);
	scratch_file("empty", "", 0);
	cr_assert_eq(trace_file_open(&file, scratch("empty"), why), 0, "%s", why);
	trace_file_close(&file);
}

Test(trace_record, what_has_the_name_that_it_has_first_stays)
{
	struct trace_file file;
	char why[TRACE_WHY_CAP];

	scratch_file("t.tmp", "QFI\xfb and more than a line of it", 30);
	cr_assert_eq(trace_file_open(&file, scratch("t"), why), -EINVAL);
	cr_assert(strstr(why, "t.tmp"), "%s", why);
	cr_assert_eq(access(scratch("t.tmp"), F_OK), 0);
	scratch_file("t.tmp", "", 0);
	cr_assert_eq(trace_file_open(&file, scratch("t"), why), 0, "%s", why);
	trace_file_close(&file);
}

/* A server without a machine leaves the trace of the one before. */
Test(trace_record, nothing_touched_leaves_the_file)
{
	struct trace old = one_range(5), read;
	struct record record;
	char why[TRACE_WHY_CAP];

	cr_assert_eq(record_open(&record, scratch("t"), why), 0, "%s", why);
	cr_assert_eq(trace_file_save(&record.file, &old), 0);
	cr_assert_eq(record_begin(&record, 1 << 20, RECORD_KEEP_NS), 0);
	cr_assert_eq(record_end(&record, why), 0);
	cr_assert_eq(trace_load(scratch("t"), &read, why), 0, "%s", why);
	cr_assert_eq(read.ranges[0].off, 5);
	trace_free(&read);
	trace_free(&old);
}

/* The trace in the file, when it has n ranges. */
static void wait_for_ranges(size_t n)
{
	char why[TRACE_WHY_CAP];
	struct trace read;

	for (unsigned i = 0; i < 2000; i++) {
		if (!trace_load(scratch("t"), &read, why)) {
			bool is_there = read.n == n;

			trace_free(&read);
			if (is_there)
				return;
		}
		usleep(10000);
	}
	cr_assert_fail("the trace never has %zu ranges: %s", n, why);
}

/* No end comes: as where the server is killed. */
Test(trace_record, what_is_new_is_written_now_and_then)
{
	struct record record;
	char why[TRACE_WHY_CAP];
	struct stat before, after;

	cr_assert_eq(record_open(&record, scratch("t"), why), 0, "%s", why);
	cr_assert_eq(record_begin(&record, 1 << 20, 1000000), 0);
	recorder_read(record.recorder, 0, 512);
	wait_for_ranges(1);
	recorder_read(record.recorder, 512 * KIB, 512);
	wait_for_ranges(2);
	cr_assert_eq(stat(scratch("t"), &before), 0);
	recorder_read(record.recorder, 0, 512);
	usleep(50000);
	cr_assert_eq(stat(scratch("t"), &after), 0);
	cr_assert_eq(before.st_ino, after.st_ino, "nothing is new, and it is written again");
	cr_assert_not(record_take_complaint(&record, why));
	cr_assert_eq(record_end(&record, why), 0);
	wait_for_ranges(2);
}

Test(trace_record, what_is_new_is_written_when_a_client_goes)
{
	struct record record;
	char why[TRACE_WHY_CAP];

	cr_assert_eq(record_open(&record, scratch("t"), why), 0, "%s", why);
	cr_assert_eq(record_begin(&record, 1 << 20, 360 * RECORD_KEEP_NS), 0);
	recorder_read(record.recorder, 0, 512);
	record_keep(&record);
	wait_for_ranges(1);
	cr_assert_eq(record_end(&record, why), 0);
}

Test(trace_record, what_could_not_be_written_is_told_once_and_tried_again)
{
	struct record record;
	char why[TRACE_WHY_CAP];
	unsigned i = 0;

	/* No file can be made under that name. */
	cr_assert_eq(record_open(&record, scratch("t"), why), 0, "%s", why);
	cr_assert_eq(mkdir(scratch("t.tmp"), 0700), 0);
	cr_assert_eq(record_begin(&record, 1 << 20, 1000000), 0);
	recorder_read(record.recorder, 0, 512);
	while (!record_take_complaint(&record, why) && i++ < 2000)
		usleep(10000);
	cr_assert(strstr(why, "could not be written"), "%s", why);
	usleep(30000);
	cr_assert_not(record_take_complaint(&record, why), "it is told again");
	cr_assert_eq(rmdir(scratch("t.tmp")), 0);
	wait_for_ranges(1);
	cr_assert_eq(record_end(&record, why), 0);
}

/* ---- FILE[:SIZE] ---- */

static void take(struct first *first, const char *name, const char *size)
{
	char text[512], why[TRACE_WHY_CAP];

	snprintf(text, sizeof(text), "%s%s", scratch(name), size);
	cr_assert_eq(first_take(first, text, why), 0, "%s", why);
}

Test(trace_record, a_size_cuts_what_comes_first)
{
	static const char text[] = TRACE_MAGIC "900 100 0\n0 300 1\n5000 1 2\n";
	struct first first = { 0 };
	struct bpull_job_options job = { .size = sizeof(job) };
	char note[FIRST_NOTE_CAP], why[TRACE_WHY_CAP];

	scratch_file("t", text, sizeof(text) - 1);
	scratch_file("t:1K", text, sizeof(text) - 1);
	take(&first, "t", "");
	cr_assert_eq(first.n, 3);
	cr_assert_eq(first_take(&first, scratch("t"), why), -EINVAL);
	cr_assert(strstr(why, "twice"), "%s", why);
	take(&first, "t:1K", ":0");
	cr_assert_eq(first.n, 3);
	first_free(&first);
	take(&first, "t", ":150");
	cr_assert_eq(first.n, 2);
	cr_assert(first.ranges[0].offset == 900 && first.ranges[0].length == 100);
	cr_assert(first.ranges[1].offset == 0 && first.ranges[1].length == 50);
	first_apply(&first, &job);
	cr_assert_not(first_note(&job, 1000, note));
	cr_assert(first_note(&job, 999, note));
	cr_assert(strstr(note, "1 of 2"), "%s", note);
	first_free(&first);
}

Test(trace_record, errors_name_the_file)
{
	struct first first = { 0 };
	char why[TRACE_WHY_CAP];

	cr_assert_eq(first_take(&first, "/no/such:1M", why), -ENOENT);
	cr_assert(strstr(why, "/no/such:") == why, "%s", why);
	scratch_file("bad", TRACE_MAGIC "1 2\n", sizeof(TRACE_MAGIC) - 1 + 4);
	cr_assert_eq(first_take(&first, scratch("bad"), why), -EINVAL);
	cr_assert(strstr(why, "bad: line 2"), "%s", why);
	cr_assert_eq(first_take(&first, scratch_dir(), why), -EISDIR);
}
