/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How much of a source is asked for at once: a third of the memory that the program gives. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/api/source/source_rig.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(60);
TestSuite(source_window, .init = source_rig_set_up, .fini = source_rig_end,
	  .timeout = TIME_LIMIT_CLOCK(60));

#define WINDOW_LEN (96u * MiB)

/* A source that answers nothing while it is held, and else all at once. */
static struct {
	bool holds;
	uint64_t len; /* bytes that are asked for */
	unsigned n;
	struct {
		void *buf;
		size_t len;
		struct bpull_source_ask *ask;
	} asked[4096];
} held;

static void answer(unsigned i)
{
	memset(held.asked[i].buf, 1, held.asked[i].len);
	bpull_source_read_done(held.asked[i].ask, 0);
}

static void read_held(void *source, void *buf, size_t len, uint64_t offset,
		      enum bpull_source_asker asker, struct bpull_source_ask *ask)
{
	cr_assert_lt(held.n, 4096);
	held.asked[held.n].buf = buf;
	held.asked[held.n].len = len;
	held.asked[held.n].ask = ask;
	held.len += len;
	if (!held.holds)
		answer(held.n);
	held.n++;
}

static int find_held(void *opaque, const struct bpull_open_request *request,
		     struct bpull_base *base, struct bpull_error *why)
{
	static const struct bpull_source_ops ops = { .size = sizeof(ops), .read = read_held };

	if (!request->recorded)
		return 1;
	base->source = (struct bpull_source){ .size = sizeof(base->source),
					      .ops = &ops,
					      .length = WINDOW_LEN };
	return 0;
}

/* Bytes that a pull has asked for when it has come to rest, or `enough` of them. */
static uint64_t count_asked(uint64_t memory, uint64_t enough)
{
	struct bpull_engine_options e = { .size = sizeof(e), .memory = memory };
	struct bpull_disk_options o = { .size = sizeof(o), .find_base = find_held };
	struct bpull_job_options job = { .size = sizeof(job) };
	struct bpull_event event = { 0 };
	struct bpull_engine *own;
	struct bpull_disk *disk;
	uint64_t asked;

	memset(&held, 0, sizeof(held));
	source_rig_make_top("top", NAME, BPULL_FORMAT_RAW, WINDOW_LEN);
	cr_assert_eq(bpull_engine_open(&e, &own, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_disk_open(own, scratch("top"), &o, &disk, &error), 0, "%s",
		     error.message);
	held.holds = true;
	cr_assert_eq(bpull_job_start(disk, &job, &error), 0, "%s", error.message);
	for (int i = 0; i < 2000 && held.len < enough; i++) {
		cr_assert_eq(bpull_engine_process(own, &event, 1), 0);
		usleep(1000);
	}
	asked = held.len;
	held.holds = false;
	for (unsigned i = 0, n = held.n; i < n; i++)
		answer(i);
	while (event.type != BPULL_EVENT_JOB)
		cr_assert_eq(bpull_engine_wait(own, &event, 1, TIME_LIMIT_CLOCK(30) * 1000), 1);
	cr_assert_eq(event.status, BPULL_JOB_COMPLETED, "%s", event.message);
	bpull_disk_close(disk);
	bpull_engine_close(own);
	unlink(scratch("top"));
	return asked;
}

/* 10 Gbit/s over a round trip of 20 ms are 25 MB. */
Test(source_window, it_grows_with_the_memory_that_is_given)
{
	uint64_t by_default = count_asked(0, UINT64_MAX), asked = count_asked(128 * MiB, 40 * MiB);

	cr_expect(by_default > 8 * MiB && by_default <= 16 * MiB, "%llu bytes",
		  (unsigned long long)by_default);
	cr_expect(asked >= 40 * MiB && asked <= 128 * MiB / 3, "%llu bytes",
		  (unsigned long long)asked);
}
