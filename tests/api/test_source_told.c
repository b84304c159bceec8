/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What is told of a source that fails: the place in it, also where it was asked for zeros. */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/api/source_rig.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(60);
TestSuite(source_told, .init = source_rig_set_up, .fini = source_rig_end,
	  .timeout = TIME_LIMIT_CLOCK(60));

#define GiB UINT64_C(0x40000000)

/* Zeros, of which it tells up to here, and is away behind it. */
#define AWAY_FROM (2 * GiB)

static void read_zeros(void *source, void *buf, size_t len, uint64_t offset,
		       enum bpull_source_asker asker, struct bpull_source_ask *ask)
{
	memset(buf, 0, len);
	bpull_source_read_done(ask, 0);
}

static void tell_zeros(void *source, uint64_t offset, uint64_t len, enum bpull_source_asker asker,
		       struct bpull_source_ask *ask)
{
	struct bpull_source_extent zeros = { .length = len, .is_zero = 1 };

	if (offset < AWAY_FROM)
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
