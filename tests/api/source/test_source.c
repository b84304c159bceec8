/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Bases that the program supplies: what a pull and a guest ask of a source is judged by
 * mem_source.c; what the image holds afterwards is compared with the source's bytes.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tests/api/source/source_rig.h"
#include "tests/support/files/scratch.h"
#include "tests/support/random.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(120);

TestSuite(source, .init = source_rig_set_up, .fini = source_rig_end,
	  .timeout = TIME_LIMIT_CLOCK(120));
/* These begin and end by themselves. */
TestSuite(source_plays, .timeout = TIME_LIMIT_CLOCK(120));

/* "top" over such a source of LEN bytes. */
static struct bpull_disk *open_over(struct mem_source_how how)
{
	source_rig_add_source(how);
	source_rig_make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	return source_rig_open_top(0);
}

/* A pull of each seed's source, by both backends. */
Test(source_plays, a_drawn_source_is_pulled_whole)
{
	for (uint64_t seed = source_rig_first_seed(); seed < source_rig_first_seed() + N_PLAYS;
	     seed++) {
		struct mem_source_how how = source_rig_draw(seed);

		fprintf(stderr, "# seed %llu\n", (unsigned long long)seed);
		source_rig_fill(seed, how.len);
		source_rig_begin(seed % 2 ? BPULL_IO_AUTO : BPULL_IO_THREADS);
		source_rig_add_source(how);
		source_rig_make_top("top", NAME, BPULL_FORMAT_RAW, how.len);
		struct bpull_disk *disk = source_rig_open_top(0);
		source_rig_pull(disk);
		bpull_disk_close(disk);
		source_rig_expect_alone("top", how.len);
		source_rig_end();
	}
}

Test(source, zeros_that_it_tells_of_are_not_read)
{
	memset(bytes + MiB, 0, 7 * MiB);
	struct bpull_disk *disk =
		open_over((struct mem_source_how){ .has_extents = true, .seed = 3 });
	source_rig_pull(disk);
	bpull_disk_close(disk);
	cr_expect_lt(mem_source_bytes_read(sources.of[0]), 4 * MiB);
	source_rig_expect_alone("top", LEN);
}

Test(source, all_is_read_where_its_extents_cannot_be_had)
{
	struct bpull_disk *disk;

	memset(bytes + MiB, 0, 4 * MiB);
	source_rig_add_source((struct mem_source_how){ .has_extents = true });
	source_rig_make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	mem_source_fail_extents(sources.of[0], -EIO);
	disk = source_rig_open_top(0);
	source_rig_pull(disk);
	bpull_disk_close(disk);
	cr_expect_geq(mem_source_bytes_read(sources.of[0]), LEN);
	source_rig_expect_alone("top", LEN);
}

Test(source, zeros_are_read_where_a_job_verifies)
{
	struct bpull_event event;
	struct bpull_disk *disk;

	memset(bytes, 0, LEN);
	disk = open_over((struct mem_source_how){ .has_extents = true, .tells_all = true });
	source_rig_start(disk, (struct bpull_job_options){ .flags = BPULL_JOB_VERIFY });
	event = source_rig_next_event();
	cr_assert_eq(event.status, BPULL_JOB_COMPLETED, "%s", event.message);
	bpull_disk_close(disk);
	cr_expect_geq(mem_source_bytes_read(sources.of[0]), LEN);
}

Test(source, zeros_are_read_where_its_word_is_not_taken)
{
	memset(bytes, 0, LEN);
	source_rig_add_source((struct mem_source_how){ .has_extents = true });
	source_rig_make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	struct bpull_disk *disk = source_rig_open_top(BPULL_DISK_READ_HOLES);
	source_rig_pull(disk);
	bpull_disk_close(disk);
	cr_expect_geq(mem_source_bytes_read(sources.of[0]), LEN);
}

Test(source, one_that_is_away_pauses_the_job_which_goes_on_by_itself)
{
	struct bpull_event event;

	struct bpull_disk *disk = open_over((struct mem_source_how){ .max_size = 65536 });
	mem_source_fail_from(sources.of[0], 20, -EHOSTUNREACH);
	source_rig_start(disk, (struct bpull_job_options){ .bandwidth = 64 * MiB });
	event = source_rig_next_event();
	cr_assert_eq(event.type, BPULL_EVENT_JOB_STOPPED);
	cr_expect_eq(event.error, -EHOSTUNREACH);
	cr_expect(strstr(event.message, NAME) && strstr(event.message, "goes on"), "%s",
		  event.message);
	/* It tries again meanwhile, and does not tell. */
	cr_expect_eq(bpull_engine_wait(engine, &event, 1, 2500), 0);
	mem_source_fail(sources.of[0], 0);
	event = source_rig_next_event();
	cr_assert_eq(event.type, BPULL_EVENT_JOB_RESUMED);
	event = source_rig_next_event();
	cr_assert_eq(event.type, BPULL_EVENT_JOB);
	cr_assert_eq(event.status, BPULL_JOB_COMPLETED, "%s", event.message);
	bpull_disk_close(disk);
	source_rig_expect_alone("top", LEN);
}

/* A disk whose job has stopped as its source is away. */
static struct bpull_disk *open_stopped(struct bpull_job_options options)
{
	struct bpull_disk *disk = open_over((struct mem_source_how){ .max_size = 65536 });

	mem_source_fail(sources.of[0], -EHOSTUNREACH);
	source_rig_start(disk, options);
	cr_assert_eq(source_rig_next_event().type, BPULL_EVENT_JOB_STOPPED);
	return disk;
}

/* Nothing else wakes the engine, and what can't be reached is not left out. */
Test(source, one_that_is_back_at_once_is_asked_by_a_timer)
{
	struct bpull_disk *disk =
		open_stopped((struct bpull_job_options){ .on_error = BPULL_ON_ERROR_IGNORE });

	mem_source_fail(sources.of[0], 0);
	cr_assert_eq(source_rig_next_event().type, BPULL_EVENT_JOB_RESUMED);
	cr_assert_eq(source_rig_next_event().status, BPULL_JOB_COMPLETED);
	bpull_disk_close(disk);
	source_rig_expect_alone("top", LEN);
}

Test(source, a_job_that_the_program_paused_meanwhile_stays_paused)
{
	struct bpull_disk *disk = open_stopped((struct bpull_job_options){ 0 });
	struct bpull_event event;

	bpull_job_pause(disk);
	mem_source_fail(sources.of[0], 0);
	cr_expect_eq(bpull_engine_wait(engine, &event, 1, 2500), 0);
	bpull_job_resume(disk);
	cr_assert_eq(source_rig_next_event().type, BPULL_EVENT_JOB_RESUMED);
	cr_assert_eq(source_rig_next_event().status, BPULL_JOB_COMPLETED);
	bpull_disk_close(disk);
	source_rig_expect_alone("top", LEN);
}

Test(source, one_that_is_away_can_be_given_up)
{
	struct bpull_disk *disk = open_stopped((struct bpull_job_options){ 0 });
	struct bpull_event event;

	bpull_job_abort(disk);
	event = source_rig_next_event();
	cr_assert_eq(event.type, BPULL_EVENT_JOB);
	cr_assert_eq(event.status, BPULL_JOB_CANCELED);
	bpull_disk_close(disk);
}

/* The moment at which the job would have tried again comes and goes. */
Test(source, a_job_that_was_given_up_keeps_nothing_awake)
{
	struct pollfd ready = { .events = POLLIN };
	struct bpull_disk *disk = open_stopped((struct bpull_job_options){ 0 });
	struct bpull_event event;

	bpull_job_abort(disk);
	cr_assert_eq(source_rig_next_event().status, BPULL_JOB_CANCELED);
	cr_expect_eq(bpull_engine_wait(engine, &event, 1, 2500), 0);
	ready.fd = bpull_engine_fd(engine);
	for (unsigned i = 0; i < 10; i++)
		bpull_engine_process(engine, &event, 1);
	cr_expect_eq(poll(&ready, 1, 0), 0, "the engine wants to be called for ever");
	bpull_disk_close(disk);
}

/* The program has resumed the job before it would have tried again, and it failed of something
 * else: that is the program's to mend. */
Test(source, a_job_that_another_error_stops_meanwhile_stays_stopped)
{
	struct bpull_event event;

	struct bpull_disk *disk = open_over((struct mem_source_how){ .max_size = 65536 });
	mem_source_fail(sources.of[0], -EHOSTUNREACH);
	source_rig_start(disk, (struct bpull_job_options){ .on_error = BPULL_ON_ERROR_STOP });
	cr_assert_eq(source_rig_next_event().error, -EHOSTUNREACH);
	mem_source_fail(sources.of[0], -EIO);
	bpull_job_resume(disk);
	event = source_rig_next_event();
	cr_assert_eq(event.type, BPULL_EVENT_JOB_STOPPED);
	cr_assert_eq(event.error, -EIO);
	mem_source_fail(sources.of[0], 0);
	cr_expect_eq(bpull_engine_wait(engine, &event, 1, 2500), 0);
	bpull_disk_close(disk);
}

Test(source, another_one_in_its_place_fails_the_job_and_marks_the_image)
{
	struct bpull_job_options again = { .size = sizeof(again) };
	struct bpull_event event;

	struct bpull_disk *disk = open_over((struct mem_source_how){ .max_size = 65536 });
	mem_source_fail_from(sources.of[0], 100, -ESTALE);
	source_rig_start(disk, (struct bpull_job_options){ .on_error = BPULL_ON_ERROR_STOP,
							   .bandwidth = 16 * MiB });
	event = source_rig_next_event();
	cr_assert_eq(event.type, BPULL_EVENT_JOB);
	cr_assert_eq(event.status, BPULL_JOB_FAILED);
	cr_expect_eq(event.error, -ESTALE, "%d: %s", event.error, event.message);
	cr_expect(strstr(event.message, NAME), "%s", event.message);
	bpull_disk_close(disk);
	mem_source_fail(sources.of[0], 0);
	disk = source_rig_open_top(0);
	cr_expect_eq(bpull_job_start(disk, &again, &error), -EPERM);
	cr_expect(strstr(error.message, "marked"), "%s", error.message);
	bpull_disk_close(disk);
}

static void fail_a_job(int rc)
{
	struct bpull_event event;

	struct bpull_disk *disk = open_over((struct mem_source_how){ .max_size = 65536 });
	mem_source_fail_from(sources.of[0], 40, rc);
	source_rig_start(disk, (struct bpull_job_options){ 0 });
	event = source_rig_next_event();
	cr_assert_eq(event.status, BPULL_JOB_FAILED);
	cr_expect_eq(event.error, rc);
	cr_expect(strstr(event.message, NAME), "%s", event.message);
	bpull_disk_close(disk);
}

Test(source, an_error_of_it_is_the_jobs)
{
	fail_a_job(-EIO);
}

/* The engine calls its own copies off with this code, and begins them again. */
Test(source, a_read_that_it_cancels_is_an_error_too)
{
	fail_a_job(-ECANCELED);
}

Test(source_plays, a_guest_reads_and_writes_through_it)
{
	struct bpull_engine_options e = { .size = sizeof(e), .flags = BPULL_ENGINE_THREAD };
	static uint8_t buf[140000], want[LEN];
	uint64_t random = 99;

	source_rig_fill(5, LEN);
	memcpy(want, bytes, LEN);
	scratch_make();
	memset(&sources, 0, sizeof(sources));
	cr_assert_eq(bpull_engine_open(&e, &engine, &error), 0);
	source_rig_add_source((struct mem_source_how){ .has_extents = true, .seed = 8 });
	source_rig_make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	struct bpull_disk *disk = source_rig_open_top(BPULL_DISK_GUEST_IO);
	source_rig_start(disk, (struct bpull_job_options){ .bandwidth = 8 * MiB });
	for (unsigned i = 0; i < 300; i++) {
		uint64_t len = 1 + random_below(&random, 70000),
			 off = random_below(&random, LEN - len);

		if (i % 3) {
			/* Apart in memory. */
			uint64_t n = len / 3;
			struct iovec iov[2] = { { buf + 70000, n }, { buf, len - n } };

			cr_assert_eq(bpull_preadv(disk, iov, 2, off), 0);
			cr_assert_eq(memcmp(buf + 70000, want + off, n), 0, "request %u", i);
			cr_assert_eq(memcmp(buf, want + off + n, len - n), 0, "request %u", i);
			continue;
		}
		/* The source has what it had: the overlay must win. */
		memset(buf, (int)i, len);
		cr_assert_eq(bpull_pwrite(disk, buf, len, off, 0), 0);
		memset(want + off, (int)i, len);
	}
	cr_expect_gt(mem_source_n_guest(sources.of[0]), 0);
	cr_expect_eq(mem_source_n_job(sources.of[0]), 0, "a guest may wait for a job's copies");
	mem_source_fail(sources.of[0], -EHOSTUNREACH);
	bpull_job_abort(disk);
	bpull_job_wait(disk, -1);
	for (uint64_t off = 0; off + 4096 < LEN; off += 65536) {
		int rc = bpull_pread(disk, buf, 4096, off);

		cr_expect(rc == 0 || rc == -EIO, "%d", rc);
	}
	bpull_disk_close(disk);
	source_rig_end();
}

/* A name that is looked up while a guest of another disk reads. */
struct slow_name {
	struct bpull_disk *other;
	uint8_t byte;
	int rc;
	bool was_read;
};

static void *read_other(void *opaque)
{
	struct slow_name *slow = opaque;

	slow->rc = bpull_pread(slow->other, &slow->byte, 1, 77);
	return NULL;
}

/* A network's answer takes long: this one comes when the other disk's guest has got its bytes. */
static int find_slowly(void *opaque, const struct bpull_open_request *request,
		       struct bpull_base *base, struct bpull_error *why)
{
	struct slow_name *slow = opaque;
	struct timespec until;
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, read_other, slow), 0);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	slow->was_read = !pthread_timedjoin_np(thread, NULL, &until);
	return mem_sources_find(&sources, request, base, why);
}

Test(source_plays, guests_go_on_while_a_name_is_looked_up)
{
	static struct slow_name slow = { .rc = -1 };
	struct bpull_engine_options e = { .size = sizeof(e), .flags = BPULL_ENGINE_THREAD };
	struct bpull_disk_options o = source_rig_options(0);
	struct bpull_disk *disk;

	source_rig_fill(5, LEN);
	scratch_make();
	memset(&sources, 0, sizeof(sources));
	cr_assert_eq(bpull_engine_open(&e, &engine, &error), 0);
	source_rig_add_source((struct mem_source_how){ 0 });
	source_rig_make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	source_rig_make_top("other", NAME, BPULL_FORMAT_RAW, LEN);
	slow.other = source_rig_open_top(BPULL_DISK_GUEST_IO);
	o.find_base = find_slowly;
	o.find_opaque = &slow;
	cr_assert_eq(bpull_disk_open(engine, scratch("other"), &o, &disk, &error), 0, "%s",
		     error.message);
	cr_assert(slow.was_read, "the guest waits for another disk's name");
	cr_expect_eq(slow.rc, 0);
	cr_expect_eq(slow.byte, bytes[77]);
	bpull_disk_close(disk);
	bpull_disk_close(slow.other);
	source_rig_end();
}
