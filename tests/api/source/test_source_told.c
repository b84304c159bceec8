/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What is told of a source that fails: the place in it, also where it was asked for zeros; and when
 * a program that polls is told that it is back.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/api/source/source_rig.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(60);
TestSuite(source_told, .init = source_rig_set_up, .fini = source_rig_end,
	  .timeout = TIME_LIMIT_CLOCK(60));

#define GiB UINT64_C(0x40000000)

/* Zeros, of which it tells up to here, and is away behind it. */
#define AWAY_FROM (2 * GiB)

static atomic_bool is_away; /* all of it */

static void read_zeros(void *source, void *buf, size_t len, uint64_t offset,
		       enum bpull_source_asker asker, struct bpull_source_ask *ask)
{
	memset(buf, 0, len);
	bpull_source_read_done(ask, is_away ? -EHOSTUNREACH : 0);
}

static void tell_zeros(void *source, uint64_t offset, uint64_t len, enum bpull_source_asker asker,
		       struct bpull_source_ask *ask)
{
	struct bpull_source_extent zeros = { .length = len, .is_zero = 1 };

	if (offset < AWAY_FROM && !is_away)
		bpull_source_extents_done(ask, 0, &zeros, 1);
	else
		bpull_source_extents_done(ask, -EHOSTUNREACH, NULL, 0);
}

static int find_zeros(void *opaque, const struct bpull_open_request *request,
		      struct bpull_base *base, struct bpull_error *why)
{
	static const struct bpull_source_ops ops = { .size = sizeof(ops),
						     .read = read_zeros,
						     .extents = tell_zeros };

	if (!request->recorded)
		return 1;
	base->source = (struct bpull_source){ .size = sizeof(base->source),
					      .ops = &ops,
					      .length = 4 * GiB };
	return 0;
}

/* The next event, by the engine's descriptor alone. */
static struct bpull_event poll_event(void)
{
	struct pollfd polled = { .fd = bpull_engine_fd(engine), .events = POLLIN };
	struct bpull_event event;
	int n = bpull_engine_process(engine, &event, 1);

	while (n == 0) {
		cr_assert_eq(poll(&polled, 1, TIME_LIMIT_CLOCK(20) * 1000), 1, "nothing calls");
		n = bpull_engine_process(engine, &event, 1);
	}
	cr_assert_eq(n, 1);
	return event;
}

/* Until the engine's timer calls, s; -1: it is not set. There is one in this process. */
static int timer_s(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int s = 0, ns = 0, found = 0;
	struct dirent *entry;
	char line[128], to[64];

	while ((entry = readdir(dir))) {
		FILE *info;

		memset(to, 0, sizeof(to));
		if (readlinkat(dirfd(dir), entry->d_name, to, sizeof(to) - 1) < 0 ||
		    strcmp(to, "anon_inode:[timerfd]") != 0)
			continue;
		found++;
		snprintf(line, sizeof(line), "/proc/self/fdinfo/%.16s", entry->d_name);
		info = fopen(line, "r");
		while (fgets(line, sizeof(line), info))
			sscanf(line, "it_value: (%d, %d)", &s, &ns);
		fclose(info);
	}
	closedir(dir);
	cr_assert_eq(found, 1, "%d timers", found);
	return s || ns ? s : -1;
}

/* A job that stops commits first. */
static void expect_timer(void)
{
	struct pollfd polled = { .fd = bpull_engine_fd(engine), .events = POLLIN };
	struct bpull_event event;

	while (timer_s() < 0) {
		cr_assert_eq(poll(&polled, 1, TIME_LIMIT_CLOCK(20) * 1000), 1, "no timer is set");
		cr_assert_eq(bpull_engine_process(engine, &event, 1), 0);
	}
}

/* A commit that falls due calls it, too, some seconds later: so the timer is looked at. */
Test(source_told, a_program_that_polls_is_called_for_the_next_try)
{
	struct bpull_disk_options o = { .size = sizeof(o), .find_base = find_zeros };
	struct bpull_disk *disk;

	source_rig_make_top("top", NAME, BPULL_FORMAT_RAW, GiB);
	cr_assert_eq(bpull_disk_open(engine, scratch("top"), &o, &disk, &error), 0, "%s",
		     error.message);
	is_away = true;
	source_rig_start(disk, (struct bpull_job_options){ 0 });
	cr_assert_eq(poll_event().type, BPULL_EVENT_JOB_STOPPED);
	expect_timer();
	cr_expect(timer_s() == 0 || timer_s() == 1, "the next try is in %d s", timer_s());
	is_away = false;
	cr_assert_eq(poll_event().type, BPULL_EVENT_JOB_RESUMED);
	cr_assert_eq(poll_event().status, BPULL_JOB_COMPLETED);
	bpull_disk_close(disk);
}

Test(source_told, a_question_for_zeros_that_fails_names_the_place_in_the_source)
{
	struct bpull_disk_options o = { .size = sizeof(o), .find_base = find_zeros };
	struct bpull_job_info info = { .size = sizeof(info) };
	struct bpull_event event;
	struct bpull_disk *disk;
	char place[40];

	source_rig_make_top("top", NAME, BPULL_FORMAT_RAW, 4 * GiB);
	cr_assert_eq(bpull_disk_open(engine, scratch("top"), &o, &disk, &error), 0, "%s",
		     error.message);
	source_rig_start(disk, (struct bpull_job_options){ 0 });
	event = source_rig_next_event();
	cr_assert_eq(event.type, BPULL_EVENT_JOB_STOPPED);
	snprintf(place, sizeof(place), "offset %#" PRIx64 ":", AWAY_FROM);
	cr_expect(strstr(event.message, place), "%s", event.message);
	cr_assert(bpull_job_get_info(disk, &info));
	cr_expect_eq(info.stop_offset, AWAY_FROM, "%#" PRIx64, info.stop_offset);
	bpull_disk_close(disk);
}
