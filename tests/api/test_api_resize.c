/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A disk that becomes longer beside a guest's requests and a job. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "engine/blockpull.h"
#include "tests/api/api_rig.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

#define BASE_LEN (4u * MiB)
#define OLD_LEN  (MiB + 1536u) /* ends inside a cluster */
#define NEW_LEN  (3u * MiB)    /* the base holds something all the way */
#define BELOW    0x5a

static struct bpull_disk *disk;
static char resize_id, io_id;
static int resize_result, n_io;

static void begin(void)
{
	struct bpull_create_options o = { .size = sizeof(o),
					  .format = BPULL_FORMAT_QCOW2,
					  .virtual_size = OLD_LEN,
					  .backing_name = "base",
					  .backing_format = BPULL_FORMAT_RAW };

	scratch_make();
	scratch_filled("base", BELOW, BASE_LEN);
	cr_assert_eq(bpull_create(scratch("top"), &o, &error), 0, "%s", error.message);
	disk = api_rig_begin_guest(0);
	resize_result = 1;
	n_io = 0;
}

TIME_LIMIT(120);
TestSuite(api_resize, .init = begin, .fini = api_rig_end, .timeout = TIME_LIMIT_CLOCK(120));

/* One event: a request's, whose result is 0, or the resize's. */
static void take_event(void)
{
	struct bpull_event event;

	cr_assert_eq(bpull_engine_wait(engine, &event, 1, 30000), 1);
	if (event.type != BPULL_EVENT_IO)
		return;
	if (event.user_data == &resize_id) {
		cr_assert_eq(resize_result, 1, "a second event");
		resize_result = event.error;
		return;
	}
	cr_assert_eq(event.error, 0);
	n_io--;
}

static void drain(void)
{
	while (resize_result == 1 || n_io)
		take_event();
}

static void resize(uint64_t len)
{
	resize_result = 1;
	cr_assert_eq(bpull_disk_resize(disk, len, &resize_id, &error), 0, "%s", error.message);
}

static void read_all(uint8_t *bytes, uint64_t len)
{
	struct iovec iov = { bytes, len };

	n_io++;
	bpull_read(disk, &iov, 1, 0, &io_id);
	while (n_io)
		take_event();
}

static void expect(const uint8_t *bytes, uint64_t lo, uint64_t hi, uint8_t byte, const char *what)
{
	for (uint64_t i = lo; i < hi; i++)
		cr_assert_eq(bytes[i], byte, "%s: byte %llu is %#x", what, (unsigned long long)i,
			     bytes[i]);
}

/* Writes into the last cluster are in flight: none may fill its end from the base. */
Test(api_resize, beside_writes_to_the_last_cluster)
{
	static uint8_t out[512], in[NEW_LEN];
	struct iovec iov = { out, sizeof(out) };

	memset(out, 0xc3, sizeof(out));
	for (unsigned i = 0; i < 6; i++) {
		n_io++;
		bpull_write(disk, &iov, 1, MiB + (i % 3) * 512, i == 4 ? BPULL_IO_FUA : 0, &io_id);
		if (i == 2)
			resize(NEW_LEN);
	}
	cr_assert_eq(bpull_disk_size(disk), OLD_LEN, "before its event");
	drain();
	cr_assert_eq(resize_result, 0);
	cr_assert_eq(bpull_disk_size(disk), NEW_LEN);
	read_all(in, NEW_LEN);
	expect(in, 0, MiB, BELOW, "the base's");
	expect(in, MiB, OLD_LEN, 0xc3, "the guest's");
	expect(in, OLD_LEN, NEW_LEN, 0, "the new end");
}

Test(api_resize, the_new_end_is_the_guests_when_it_is_told)
{
	static uint8_t bytes[4096], in[NEW_LEN];
	struct iovec iov = { bytes, sizeof(bytes) };
	struct bpull_event event;

	memset(bytes, 0x77, sizeof(bytes));
	resize(NEW_LEN);
	bpull_write(disk, &iov, 1, NEW_LEN - 4096, 0, &io_id);
	cr_assert_eq(bpull_engine_wait(engine, &event, 1, 30000), 1);
	cr_assert_eq(event.user_data, &io_id);
	cr_assert_eq(event.error, -EINVAL, "outside, as long as it is not told");
	drain();
	n_io++;
	bpull_write(disk, &iov, 1, NEW_LEN - 4096, 0, &io_id);
	drain();
	read_all(in, NEW_LEN);
	expect(in, NEW_LEN - 4096, NEW_LEN, 0x77, "written");
}

Test(api_resize, no_job_beside_it)
{
	struct bpull_job_options paused = { .size = sizeof(paused),
					    .flags = BPULL_JOB_START_PAUSED };

	resize(NEW_LEN);
	cr_assert_eq(bpull_job_start(disk, NULL, &error), -EBUSY);
	cr_assert_eq(bpull_disk_resize(disk, 2 * NEW_LEN, NULL, &error), -EBUSY);
	drain();
	cr_assert_eq(bpull_job_start(disk, &paused, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_disk_resize(disk, 2 * NEW_LEN, NULL, &error), -EBUSY);
	cr_assert(strstr(error.message, "job"), "%s", error.message);
	cr_assert_eq(bpull_job_abort(disk), 0);
}

/* What the pull copies is the old disk alone. */
Test(api_resize, a_pull_behind_it_copies_nothing_of_the_new_end)
{
	static uint8_t in[NEW_LEN];
	struct bpull_job_info info = { .size = sizeof(info) };
	struct bpull_event event = { 0 };

	resize(NEW_LEN);
	drain();
	cr_assert_eq(bpull_job_start(disk, NULL, &error), 0, "%s", error.message);
	while (event.type != BPULL_EVENT_JOB)
		cr_assert_eq(bpull_engine_wait(engine, &event, 1, 30000), 1);
	cr_assert_eq(event.status, BPULL_JOB_COMPLETED, "%s", event.message);
	cr_assert_eq(bpull_job_get_info(disk, &info), 1);
	cr_assert_leq(info.copied_bytes, OLD_LEN);
	read_all(in, NEW_LEN);
	expect(in, 0, OLD_LEN, BELOW, "copied");
	expect(in, OLD_LEN, NEW_LEN, 0, "the new end");
}

Test(api_resize, what_is_wrong_is_told_at_once)
{
	cr_assert_eq(bpull_disk_resize(disk, MiB, NULL, &error), -ENOTSUP);
	cr_assert(strstr(error.message, "shorter"), "%s", error.message);
	cr_assert_eq(bpull_disk_resize(disk, NEW_LEN + 1, NULL, &error), -EINVAL);
	cr_assert_eq(bpull_disk_resize(disk, UINT64_C(1) << 62, NULL, &error), -EFBIG);
	cr_assert_eq(bpull_disk_resize(disk, UINT64_MAX - 511, NULL, &error), -EFBIG);
	cr_assert_eq(bpull_disk_size(disk), OLD_LEN);
	resize(OLD_LEN);
	drain();
	cr_assert_eq(resize_result, 0, "the size that it has");
}

/* While it rests it is another's, who may make it longer. */
Test(api_resize, a_disk_that_rests_is_not_resized)
{
	cr_assert_eq(bpull_disk_inactivate(disk, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_disk_resize(disk, NEW_LEN, NULL, &error), -EPERM);
	cr_assert_eq(bpull_disk_activate(disk, &error), 0, "%s", error.message);
	resize(NEW_LEN);
	cr_assert_eq(bpull_disk_inactivate(disk, &error), 0, "%s", error.message);
	drain();
	cr_assert_eq(resize_result, 0, "it ends before the disk rests");
	cr_assert_eq(bpull_disk_activate(disk, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_disk_size(disk), NEW_LEN);
}

static void open_with_a_thread(void)
{
	struct bpull_engine_options threaded = { .size = sizeof(threaded),
						 .flags = BPULL_ENGINE_THREAD };
	struct bpull_disk_options how = { .size = sizeof(how), .flags = BPULL_DISK_GUEST_IO };

	bpull_engine_close(engine);
	cr_assert_eq(bpull_engine_open(&threaded, &engine, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_disk_open(engine, scratch("top"), &how, &disk, &error), 0, "%s",
		     error.message);
}

Test(api_resize, a_call_that_waits_returns_with_the_new_size)
{
	static uint8_t in[NEW_LEN];
	struct bpull_job_options paused = { .size = sizeof(paused),
					    .flags = BPULL_JOB_START_PAUSED };
	struct bpull_event event;

	cr_assert_eq(bpull_presize(disk, NEW_LEN, &error), -EINVAL, "no thread of its own");
	cr_assert(strstr(error.message, "BPULL_ENGINE_THREAD"), "%s", error.message);
	open_with_a_thread();
	cr_assert_eq(bpull_presize(disk, MiB, &error), -ENOTSUP);
	cr_assert(strstr(error.message, "shorter"), "%s", error.message);
	cr_assert_eq(bpull_presize(disk, OLD_LEN, &error), 0, "the size that it has");
	cr_assert_eq(bpull_presize(disk, NEW_LEN, &error), 0, "%s", error.message);
	cr_assert_eq(error.message[0], 0);
	cr_assert_eq(bpull_disk_size(disk), NEW_LEN);
	cr_assert_eq(bpull_engine_process(engine, &event, 1), 0, "it makes no event");
	cr_assert_eq(bpull_pread(disk, in, NEW_LEN, 0), 0);
	expect(in, 0, OLD_LEN, BELOW, "the base's");
	expect(in, OLD_LEN, NEW_LEN, 0, "the new end");
	cr_assert_eq(bpull_job_start(disk, &paused, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_presize(disk, BASE_LEN, &error), -EBUSY);
	cr_assert(strstr(error.message, "job"), "%s", error.message);
}
