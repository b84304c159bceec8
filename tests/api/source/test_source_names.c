/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Bases that the program supplies: which names lead to them, what is refused, and what is shared.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "engine/blockpull.h"
#include "tests/api/source/source_rig.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(120);

TestSuite(source_names, .init = source_rig_set_up, .fini = source_rig_end,
	  .timeout = TIME_LIMIT_CLOCK(120));

Test(source_names, a_name_may_lead_to_a_path)
{
	struct bpull_disk *disk;

	scratch_file("moved.raw", bytes, LEN);
	source_rig_make_top("top", "nbd://gone.example/x", BPULL_FORMAT_RAW, LEN);
	sources.mapped = "nbd://gone.example/x";
	sources.mapped_to = scratch("moved.raw");
	disk = source_rig_open_top(0);
	source_rig_pull(disk);
	bpull_disk_close(disk);
	source_rig_expect_alone("top", LEN);
}

/* The policy is asked for a path that the user did not name: one outside the image's directory. */
Test(source_names, a_path_is_allowed_by_the_user_or_the_policy)
{
	struct bpull_disk *disk;

	source_rig_make_top("top", "nbd://gone.example/x", BPULL_FORMAT_RAW, LEN);
	sources.mapped = "nbd://gone.example/x";
	sources.mapped_to = "/proc/self/exe";
	cr_expect_eq(source_rig_try_open("top", BPULL_DISK_READ_ONLY, &disk), -EPERM, "%s",
		     error.message);
	sources.mapped_is_allowed = true;
	cr_assert_eq(source_rig_try_open("top", BPULL_DISK_READ_ONLY, &disk), 0, "%s",
		     error.message);
	bpull_disk_close(disk);
}

Test(source_names, what_is_not_known_or_refused_is_not_opened)
{
	struct bpull_disk *disk;

	source_rig_make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	cr_expect_eq(source_rig_try_open("top", 0, &disk), -ENOTSUP, "%s", error.message);
	sources.refused = NAME;
	cr_expect_eq(source_rig_try_open("top", 0, &disk), -EPERM);
	cr_expect(strstr(error.message, "not allowed"), "%s", error.message);
}

Test(source_names, an_image_that_it_holds_may_name_no_file_of_this_machine)
{
	struct bpull_disk *disk;
	uint8_t *image;
	FILE *file;
	long len;

	scratch_file("secret", bytes, 4096);
	source_rig_make_top("inner", scratch("secret"), BPULL_FORMAT_RAW, MiB);
	file = fopen(scratch("inner"), "rb");
	fseek(file, 0, SEEK_END);
	len = ftell(file);
	image = calloc(1, (size_t)len);
	rewind(file);
	cr_assert_eq(fread(image, 1, (size_t)len, file), (size_t)len);
	fclose(file);
	source_rig_add_source((struct mem_source_how){ .bytes = image, .len = (uint64_t)len });
	source_rig_make_top("top", NAME, BPULL_FORMAT_QCOW2, MiB);
	cr_expect_eq(source_rig_try_open("top", BPULL_DISK_READ_ONLY, &disk), -EPERM, "%s",
		     error.message);
	cr_expect(strstr(error.message, "secret"), "%s", error.message);
	free(image);
}

Test(source_names, its_format_is_never_guessed)
{
	struct bpull_disk_options o = source_rig_options(BPULL_DISK_READ_ONLY);
	struct bpull_create_options qed = { .size = sizeof(qed),
					    .format = BPULL_FORMAT_QED,
					    .virtual_size = 4 * MiB,
					    .backing_name = NAME,
					    .backing_format = BPULL_FORMAT_QCOW2,
					    .find_base = source_rig_find_any,
					    .find_opaque = (void *)source_rig_any_image(
						    BPULL_FORMAT_QCOW2) };
	struct bpull_disk *disk;

	source_rig_add_source((struct mem_source_how){ 0 });
	cr_assert_eq(bpull_create(scratch("top"), &qed, &error), 0, "%s", error.message);
	cr_expect_eq(bpull_disk_open(engine, scratch("top"), &o, &disk, &error), -ENOTSUP);
	o.backing_trust = BPULL_TRUST_ALL;
	cr_expect_eq(bpull_disk_open(engine, scratch("top"), &o, &disk, &error), -ENOTSUP);
	o.backing_trust = 0;
	o.backing_format = BPULL_FORMAT_RAW;
	cr_assert_eq(bpull_disk_open(engine, scratch("top"), &o, &disk, &error), 0, "%s",
		     error.message);
	bpull_disk_close(disk);
}

Test(source_names, the_names_own_format_must_be_the_recorded_one)
{
	struct bpull_disk *disk;

	source_rig_add_source((struct mem_source_how){ .format = BPULL_FORMAT_QCOW2 });
	source_rig_make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	cr_expect_eq(source_rig_try_open("top", BPULL_DISK_READ_ONLY, &disk), -EINVAL);
	cr_expect(strstr(error.message, "raw") && strstr(error.message, "qcow2"), "%s",
		  error.message);
}

Test(source_names, a_format_that_there_is_not_is_refused)
{
	struct bpull_disk *disk;

	source_rig_add_source((struct mem_source_how){ .format = (enum bpull_format)77 });
	source_rig_make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	cr_expect_eq(source_rig_try_open("top", BPULL_DISK_READ_ONLY, &disk), -EINVAL);
	cr_expect(strstr(error.message, NAME), "%s", error.message);
	cr_expect_eq(mem_source_n_open(sources.of[0]), 0, "it was not closed");
}

Test(source_names, of_one_identity_it_is_shared)
{
	struct bpull_disk *first, *second;

	source_rig_add_source((struct mem_source_how){ .identity = "the base" });
	source_rig_make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	source_rig_make_top("other", NAME, BPULL_FORMAT_RAW, LEN);
	first = source_rig_open_top(0);
	cr_assert_eq(source_rig_try_open("other", 0, &second), 0, "%s", error.message);
	cr_expect_eq(mem_source_n_open(sources.of[0]), 1, "the second one is not given back");
	source_rig_pull(first);
	bpull_disk_close(first);
	source_rig_pull(second);
	bpull_disk_close(second);
	source_rig_expect_alone("other", LEN);
}

/* Of what is shared as much is expected as of what would have been opened. */
Test(source_names, one_that_nothing_is_expected_of_is_not_shared_with_one_that_is_checked)
{
	static const uint8_t wrong[(LEN + 65535) / 65536][16];
	struct bpull_disk *first, *second;
	struct bpull_event event;

	source_rig_add_source((struct mem_source_how){ .identity = "the base" });
	source_rig_add_source((struct mem_source_how){ .identity = "the base",
						       .recorded = "nbd://host.example/checked",
						       .chunk_digests = wrong[0],
						       .n_chunks = sizeof(wrong) / 16,
						       .chunk_size = 65536 });
	source_rig_make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	source_rig_make_top("other", "nbd://host.example/checked", BPULL_FORMAT_RAW, LEN);
	first = source_rig_open_top(0);
	cr_assert_eq(source_rig_try_open("other", 0, &second), 0, "%s", error.message);
	source_rig_start(second, (struct bpull_job_options){ 0 });
	event = source_rig_next_event();
	cr_expect_eq(event.status, BPULL_JOB_FAILED);
	cr_expect_eq(event.error, -EBADMSG, "%d: %s", event.error, event.message);
	bpull_disk_close(second);
	bpull_disk_close(first);
}

/* Two words of eight bytes that XXH3 multiplies by nothing, with one sum: the rest is alike. */
static void make_alike(char one[33], char two[33])
{
	static const uint8_t secret[16] = { 0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe,
					    0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c };
	uint64_t low, high, other = 0x4141414141414141, sum;

	memcpy(&low, secret, 8);
	memcpy(&high, secret + 8, 8);
	sum = low + other - high;
	memcpy(one, &low, 8);
	memcpy(one + 8, &other, 8);
	memcpy(two, &sum, 8);
	memcpy(two + 8, &high, 8);
	strcpy(one + 16, "0123456789abcdef");
	strcpy(two + 16, "0123456789abcdef");
}

/* An identity may be of a stranger's making: its digest is no proof. */
Test(source_names, of_two_identities_with_one_digest_nothing_is_shared)
{
	char one[33] = "", two[33] = "";
	struct bpull_disk *first, *second;

	make_alike(one, two);
	cr_assert_eq(strlen(one), 32);
	cr_assert_eq(strlen(two), 32);
	cr_assert(XXH128_isEqual(XXH3_128bits(one, 32), XXH3_128bits(two, 32)));
	source_rig_add_source((struct mem_source_how){ .identity = one });
	source_rig_add_source(
		(struct mem_source_how){ .identity = two, .recorded = "nbd://host.example/two" });
	source_rig_make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	source_rig_make_top("other", "nbd://host.example/two", BPULL_FORMAT_RAW, LEN);
	first = source_rig_open_top(0);
	cr_assert_eq(source_rig_try_open("other", 0, &second), 0, "%s", error.message);
	cr_expect_eq(mem_source_n_open(sources.of[1]), 1, "another one is read in its place");
	bpull_disk_close(second);
	bpull_disk_close(first);
}

/* Without the program it would be a path of this machine. */
Test(source_names, a_source_behind_a_plain_name_is_not_recorded_for_another_image)
{
	struct bpull_job_options o = { .size = sizeof(o), .base = "plain.raw" };
	struct bpull_disk *disk;

	source_rig_add_source((struct mem_source_how){ .recorded = "plain.raw" });
	scratch_file("plain.raw", "any", 3);
	source_rig_make_top("a", "plain.raw", BPULL_FORMAT_RAW, LEN);
	source_rig_make_top("top", scratch("a"), BPULL_FORMAT_QCOW2, LEN);
	disk = source_rig_open_top(0);
	cr_expect_eq(bpull_job_start(disk, &o, &error), -EINVAL);
	cr_expect(strstr(error.message, "base_name"), "%s", error.message);
	o.base_name = "plain.raw";
	cr_expect_eq(bpull_job_start(disk, &o, &error), 0, "%s", error.message);
	cr_expect_eq(source_rig_next_event().status, BPULL_JOB_COMPLETED);
	bpull_disk_close(disk);
}

/* What a pull takes out of the chain moves what is below. */
Test(source_names, a_path_that_a_name_led_to_is_not_recorded_by_a_later_job)
{
	struct bpull_job_options o = { .size = sizeof(o), .base = "nbd://gone.example/x" };
	struct bpull_disk *disk;

	scratch_file("moved.raw", bytes, LEN);
	sources.mapped = "nbd://gone.example/x";
	sources.mapped_to = strdup(scratch("moved.raw"));
	source_rig_make_top("b", "nbd://gone.example/x", BPULL_FORMAT_RAW, LEN);
	source_rig_make_top("a", scratch("b"), BPULL_FORMAT_QCOW2, LEN);
	source_rig_make_top("top", scratch("a"), BPULL_FORMAT_QCOW2, LEN);
	disk = source_rig_open_top(0);
	source_rig_start(disk, (struct bpull_job_options){ .base = scratch("b") });
	cr_assert_eq(source_rig_next_event().status, BPULL_JOB_COMPLETED);
	cr_expect_eq(bpull_job_start(disk, &o, &error), -EINVAL);
	cr_expect(strstr(error.message, "base_name"), "%s", error.message);
	bpull_disk_close(disk);
	free((char *)sources.mapped_to);
}

/* Another process has pulled what lay between. */
Test(source_names, an_inactive_disk_finds_the_source_that_its_image_names_now)
{
	struct bpull_engine_options e = { .size = sizeof(e) };
	struct bpull_job_options job = { .size = sizeof(job), .base = NAME };
	struct bpull_disk_options o = source_rig_options(0);
	struct bpull_engine *other;
	struct bpull_disk *disk, *theirs;
	struct bpull_event event;

	source_rig_add_source((struct mem_source_how){ 0 });
	source_rig_make_top("a", NAME, BPULL_FORMAT_RAW, LEN);
	source_rig_make_top("top", scratch("a"), BPULL_FORMAT_QCOW2, LEN);
	disk = source_rig_open_top(0);
	cr_assert_eq(bpull_disk_inactivate(disk, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_engine_open(&e, &other, &error), 0);
	cr_assert_eq(bpull_disk_open(other, scratch("top"), &o, &theirs, &error), 0, "%s",
		     error.message);
	cr_assert_eq(bpull_job_start(theirs, &job, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_engine_wait(other, &event, 1, 60000), 1);
	cr_assert_eq(event.status, BPULL_JOB_COMPLETED, "%s", event.message);
	bpull_disk_close(theirs);
	bpull_engine_close(other);
	cr_assert_eq(bpull_disk_activate(disk, &error), 0, "%s", error.message);
	cr_expect_eq(bpull_disk_depth(disk), 2);
	source_rig_pull(disk);
	bpull_disk_close(disk);
	source_rig_expect_alone("top", LEN);
}

Test(source_names, what_the_library_cannot_work_with_is_refused_and_closed)
{
	static const struct mem_source_how bad[] = {
		{ .block_size = 3 },  { .block_size = 131072 },     { .max_size = 65535 },
		{ .max_size = 4096 }, { .len = UINT64_C(1) << 63 },
	};
	struct bpull_disk *disk;

	source_rig_make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		source_rig_add_source(bad[i]);
		cr_expect_eq(source_rig_try_open("top", 0, &disk), -EINVAL, "%u", i);
		cr_expect(strstr(error.message, NAME), "%s", error.message);
		cr_expect_eq(mem_source_n_open(sources.of[0]), 0);
		mem_source_free(sources.of[0]);
		sources.of[0] = NULL;
	}
}

Test(source_names, goes_with_find_base_alone)
{
	struct bpull_disk_options o = { .size = sizeof(o), .find_opaque = &sources };
	struct bpull_disk *disk;

	source_rig_make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	cr_expect_eq(bpull_disk_open(engine, scratch("top"), &o, &disk, &error), -EINVAL);
}
