/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Options that a call does not take, or that would do nothing: it says so. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tests/api/api_rig.h"
#include "tests/support/files/scratch.h"

/* -EINVAL from a question, a start and a measurement, with that word in the sentence. */
static void refuse_job(struct bpull_disk *disk, struct bpull_job_options o, const char *word)
{
	struct bpull_measure measured = { .size = sizeof(measured) };

	o.size = sizeof(o);
	cr_assert_eq(bpull_job_check(disk, &o, &error), -EINVAL, "%s", word);
	cr_assert(strstr(error.message, word), "%s", error.message);
	cr_assert_eq(bpull_job_start(disk, &o, &error), -EINVAL, "%s", word);
	cr_assert_eq(bpull_measure_job(scratch("top"), NULL, &o, &measured, &error), -EINVAL, "%s",
		     word);
	cr_assert(strstr(error.message, word), "%s", error.message);
}

Test(api_misuse, each_call_about_a_job_refuses_the_same_options_by_name)
{
	struct bpull_disk *disk =
		api_rig_open("top", BPULL_DISK_FORCE_SHARE | BPULL_DISK_READ_ONLY);

	refuse_job(disk, (struct bpull_job_options){ .flags = 1u << 30 }, "0x40000000");
	refuse_job(disk, (struct bpull_job_options){ .on_error = BPULL_ON_ERROR_IGNORE + 1 },
		   "on_error");
	refuse_job(disk, (struct bpull_job_options){ .guest_share = 101 }, "guest_share");
	refuse_job(disk, (struct bpull_job_options){ .copy = BPULL_COPY_READ + 1 }, "copy");
	refuse_job(disk, (struct bpull_job_options){ .type = BPULL_JOB_TYPE_ACTIVE_COMMIT },
		   "type");
	refuse_job(disk, (struct bpull_job_options){ .compression = BPULL_COMPRESSION_ZSTD + 1 },
		   "compression");
	refuse_job(disk, (struct bpull_job_options){ .compression_level = 3 }, "compression_level");
	refuse_job(disk, (struct bpull_job_options){ .n_first = 1 }, "first");
	bpull_disk_close(disk);
}

/* The job is over at once, and its event waits. */
Test(api_misuse, waiting_without_room_for_an_event_ends_when_there_is_one)
{
	struct bpull_disk *disk = api_rig_open("top", 0);
	struct bpull_job_options o = { .size = sizeof(o), .base = scratch("base") };
	clock_t began;

	cr_assert_eq(bpull_job_start(disk, &o, &error), 0, "%s", error.message);
	began = clock();
	cr_assert_eq(bpull_engine_wait(engine, NULL, 0, 5000), 0);
	cr_assert_eq(bpull_engine_wait(engine, NULL, 0, 5000), 0);
	cr_assert_lt(clock() - began, CLOCKS_PER_SEC, "it looked for room again and again");
	cr_assert_eq(api_rig_event(disk).status, BPULL_JOB_COMPLETED);
	bpull_disk_close(disk);
}

static void refuse_flatten(struct bpull_create_options o)
{
	struct bpull_disk *disk;

	o.size = sizeof(o);
	cr_assert_eq(
		bpull_flatten_open(engine, scratch("top"), NULL, scratch("new"), &o, &disk, &error),
		-EINVAL);
	cr_assert(strstr(error.message, "no backing file"), "%s", error.message);
}

Test(api_misuse, what_would_do_nothing_is_refused)
{
	const char *const dirs[] = { "/" };
	struct bpull_create_options o = { .size = sizeof(o),
					  .format = BPULL_FORMAT_QCOW2,
					  .virtual_size = MiB,
					  .backing_format = BPULL_FORMAT_RAW };

	refuse_flatten((struct bpull_create_options){ .backing_format = BPULL_FORMAT_RAW });
	refuse_flatten((struct bpull_create_options){ .empty = 1 });
	cr_assert_eq(bpull_create(scratch("new"), &o, &error), -EINVAL);
	cr_assert(strstr(error.message, "no backing file"), "%s", error.message);
	cr_assert_eq(
		api_rig_try_open((struct bpull_disk_options){ .backing_rule = BPULL_BACKING_NONE,
							      .allowed_dirs = dirs,
							      .n_allowed_dirs = 1 }),
		-EINVAL);
	cr_assert(strstr(error.message, "allowed_dirs"), "%s", error.message);
}

Test(api_misuse, a_guest_that_a_disk_does_not_have_slows_no_job)
{
	struct bpull_job_options o = { .size = sizeof(o), .guest_p99_ns = 1000000 };
	struct bpull_job_rates rates = { .size = sizeof(rates),
					 .which = BPULL_JOB_RATE_GUEST_P99,
					 .guest_p99_ns = 1000000 };
	struct bpull_disk *disk = api_rig_open("top", 0);

	cr_assert_eq(bpull_job_check(disk, &o, &error), -EINVAL);
	cr_assert(strstr(error.message, "guest_p99_ns"), "%s", error.message);
	cr_assert_eq(bpull_job_start(disk, &o, &error), -EINVAL);
	api_rig_start(disk, 0, BPULL_JOB_START_PAUSED);
	cr_assert_eq(bpull_job_set_rates(disk, &rates), -EINVAL);
	rates.guest_p99_ns = 0;
	cr_assert_eq(bpull_job_set_rates(disk, &rates), 0);
	bpull_disk_close(disk);

	disk = api_rig_open("top", BPULL_DISK_GUEST_IO);
	cr_assert_eq(bpull_job_check(disk, &o, &error), 0, "%s", error.message);
	bpull_disk_close(disk);
}

/* Encrypted, and marked as corrupt: a repair would help against one of the two only. */
Test(api_misuse, a_remedy_is_that_of_the_reason_that_is_told)
{
	struct bpull_layer_info layer = { .size = sizeof(layer) };
	struct bpull_info *info;
	int fd = open(scratch("top"), O_RDWR | O_CLOEXEC);

	cr_assert_eq(pwrite(fd, "\1", 1, 35), 1);
	cr_assert_eq(pwrite(fd, "\2", 1, 79), 1);
	close(fd);
	cr_assert_eq(bpull_info_open(scratch("top"), NULL, &info, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_info_layer(info, 0, &layer), 0);
	cr_assert(layer.corrupt && strstr(layer.unwritable, "encrypted"), "%s", layer.unwritable);
	cr_assert_eq(layer.unwritable_remedy, BPULL_REMEDY_NONE);
	bpull_info_close(info);
}
