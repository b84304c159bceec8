/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What a program expects of a base: content that is as expected is pulled, and other bytes fail the
 * job. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "engine/blockpull.h"
#include "tests/api/source/source_rig.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(120);

TestSuite(source_expect, .init = source_rig_set_up, .fini = source_rig_end,
	  .timeout = TIME_LIMIT_CLOCK(120));
/* These begin and end by themselves. */
TestSuite(source_expect_plays, .timeout = TIME_LIMIT_CLOCK(120));

static uint8_t digests[4096][16];

/* Digests of the bytes as they are now. */
static void expect_content(struct mem_source_how *how, uint32_t chunk_size, uint64_t len)
{
	how->chunk_digests = digests[0];
	how->chunk_size = chunk_size;
	how->n_chunks = 0;
	for (uint64_t at = 0; at < len; at += chunk_size) {
		uint64_t n = len - at < chunk_size ? len - at : chunk_size;
		XXH128_canonical_t canonical;

		XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes + at, n));
		memcpy(digests[how->n_chunks++], &canonical, 16);
	}
}

Test(source_expect_plays, what_is_expected_of_it_is_pulled)
{
	for (uint64_t seed = source_rig_first_seed(); seed < source_rig_first_seed() + N_PLAYS / 3;
	     seed++) {
		struct mem_source_how how = source_rig_draw(seed);
		struct bpull_disk *disk;

		fprintf(stderr, "# seed %llu\n", (unsigned long long)seed);
		source_rig_fill(seed, how.len);
		source_rig_begin(BPULL_IO_AUTO);
		expect_content(&how, 4096u << seed % 11, how.len);
		source_rig_add_source(how);
		source_rig_make_top("top", NAME, BPULL_FORMAT_RAW, how.len);
		disk = source_rig_open_top(0);
		source_rig_pull(disk);
		bpull_disk_close(disk);
		source_rig_expect_alone("top", how.len);
		source_rig_end();
	}
}

static void expect_refused(uint64_t at, bool has_extents)
{
	struct mem_source_how how = { .has_extents = has_extents };
	struct bpull_event event;
	struct bpull_disk *disk;

	expect_content(&how, 65536, LEN);
	bytes[at] ^= 1;
	source_rig_add_source(how);
	source_rig_make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	disk = source_rig_open_top(0);
	source_rig_start(disk, (struct bpull_job_options){ 0 });
	event = source_rig_next_event();
	cr_assert_eq(event.type, BPULL_EVENT_JOB);
	cr_assert_eq(event.status, BPULL_JOB_FAILED);
	cr_expect_eq(event.error, -EBADMSG);
	cr_expect(strstr(event.message, NAME) && strstr(event.message, "expected"), "%s",
		  event.message);
	bpull_disk_close(disk);
}

Test(source_expect, other_bytes_than_expected_fail_the_job)
{
	expect_refused(5 * MiB + 77, false);
}

Test(source_expect, other_bytes_than_expected_in_the_last_chunk_too)
{
	expect_refused(LEN - 1, false);
}

/* It says that a chunk is zeros which is not to be. */
Test(source_expect, zeros_that_are_not_expected_fail_the_job)
{
	struct mem_source_how how = { .has_extents = true, .tells_all = true, .seed = 4 };
	struct bpull_event event;
	struct bpull_disk *disk;

	expect_content(&how, 65536, LEN);
	memset(bytes, 0, LEN);
	source_rig_add_source(how);
	source_rig_make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	disk = source_rig_open_top(0);
	source_rig_start(disk, (struct bpull_job_options){ 0 });
	event = source_rig_next_event();
	cr_expect_eq(event.error, -EBADMSG);
	bpull_disk_close(disk);
}

Test(source_expect, what_is_expected_of_another_length_is_refused)
{
	struct mem_source_how how = { 0 };
	struct bpull_disk *disk;

	expect_content(&how, 65536, LEN);
	how.n_chunks--;
	source_rig_add_source(how);
	source_rig_make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	cr_expect_eq(source_rig_try_open("top", 0, &disk), -EINVAL);
	cr_expect(strstr(error.message, "another length"), "%s", error.message);
}
