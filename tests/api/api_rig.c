/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See api_rig.h. */
#include "tests/api/api_rig.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/files/overlay.h"
#include "tests/support/files/pattern.h"
#include "tests/support/files/scratch.h"

struct bpull_engine *engine;
struct bpull_error error;

static void make_base(const char *name)
{
	static uint8_t block[MiB];
	int fd = open(scratch(name), O_CREAT | O_RDWR | O_TRUNC, 0600);

	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, API_RIG_BASE_LEN), 0);
	for (uint64_t off = 0; off < API_RIG_BASE_LEN; off += MiB) {
		if (off / MiB % 4 == 3)
			continue;
		pattern_words(block, MiB, off);
		cr_assert_eq(pwrite(fd, block, MiB, off), MiB);
	}
	close(fd);
}

uint64_t api_rig_data_len(void)
{
	return API_RIG_BASE_LEN / 4 * 3;
}

/* Guest content through the public map and plain reads; standing alone only. */
static uint8_t *read_disk(const char *name)
{
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_READ_ONLY };
	uint8_t *out = calloc(1, API_RIG_BASE_LEN);
	int fd = open(scratch(name), O_RDONLY);
	struct bpull_extent extents[8];
	struct bpull_disk *disk;
	uint64_t at = 0;
	int n;

	cr_assert_eq(bpull_disk_open(engine, scratch(name), &o, &disk, &error), 0, "%s",
		     error.message);
	cr_assert_eq(bpull_disk_depth(disk), 1);
	cr_assert_eq(bpull_disk_size(disk), API_RIG_BASE_LEN);
	while ((n = bpull_disk_map(disk, at, extents, 8, &error)) > 0)
		for (int i = 0; i < n; i++) {
			cr_assert_eq(extents[i].start, at);
			at += extents[i].length;
			if (extents[i].data)
				cr_assert_eq(pread(fd, out + extents[i].start, extents[i].length,
						   extents[i].offset),
					     (ssize_t)extents[i].length);
		}
	cr_assert_eq(n, 0);
	cr_assert_eq(at, API_RIG_BASE_LEN);
	bpull_disk_close(disk);
	close(fd);
	return out;
}

void api_rig_expect_base(const char *name)
{
	uint8_t *want = calloc(1, API_RIG_BASE_LEN), *got = read_disk(name);
	int fd = open(scratch("base.raw"), O_RDONLY);

	cr_assert_eq(pread(fd, want, API_RIG_BASE_LEN, 0), (ssize_t)API_RIG_BASE_LEN);
	cr_assert_eq(memcmp(want, got, API_RIG_BASE_LEN), 0, "the content changed");
	close(fd);
	free(want);
	free(got);
}

struct bpull_disk *api_rig_open(const char *name, uint32_t flags)
{
	struct bpull_disk_options o = { .size = sizeof(o), .flags = flags, .user_data = &engine };
	struct bpull_disk *disk;

	cr_assert_eq(bpull_disk_open(engine, scratch(name), &o, &disk, &error), 0, "%s",
		     error.message);
	return disk;
}

void api_rig_start(struct bpull_disk *disk, uint64_t bandwidth, uint32_t flags)
{
	struct bpull_job_options o = { .size = sizeof(o), .bandwidth = bandwidth, .flags = flags };

	cr_assert_eq(bpull_job_start(disk, &o, &error), 0, "%s", error.message);
}

struct bpull_job_info api_rig_info(struct bpull_disk *disk)
{
	struct bpull_job_info info = { .size = sizeof(info) };

	bpull_job_get_info(disk, &info);
	return info;
}

struct bpull_event api_rig_event(struct bpull_disk *disk)
{
	struct bpull_event event;

	cr_assert_eq(bpull_engine_wait(engine, &event, 1, 30000), 1, "no event in 30 s");
	cr_assert_eq(event.type, BPULL_EVENT_JOB);
	cr_assert_eq(event.disk, disk);
	cr_assert_eq(event.user_data, &engine);
	return event;
}

void api_rig_no_event(int ms)
{
	struct bpull_event event;

	cr_assert_eq(bpull_engine_wait(engine, &event, 1, ms), 0);
}

void api_rig_begin(enum bpull_io io)
{
	struct bpull_engine_options o = { .size = sizeof(o), .io = io };

	scratch_make();
	make_base("base.raw");
	cr_assert_eq(bpull_engine_open(&o, &engine, &error), 0, "%s", error.message);
}

void api_rig_make_small(void)
{
	scratch_make();
	scratch_filled("base", 0x5a, API_RIG_SMALL_LEN);
	make_overlay("top", BPULL_FORMAT_QCOW2, "base");
}

void api_rig_begin_small(void)
{
	api_rig_make_small();
	cr_assert_eq(bpull_engine_open(NULL, &engine, &error), 0, "%s", error.message);
}

struct bpull_disk *api_rig_begin_guest(uint32_t engine_flags)
{
	struct bpull_engine_options o = { .size = sizeof(o), .flags = engine_flags };

	cr_assert_eq(bpull_engine_open(&o, &engine, &error), 0, "%s", error.message);
	return api_rig_open("top", BPULL_DISK_GUEST_IO);
}

int api_rig_request(const void *user_data)
{
	struct bpull_event event;

	cr_assert_eq(bpull_engine_wait(engine, &event, 1, 30000), 1);
	cr_assert_eq(event.type, BPULL_EVENT_IO);
	cr_assert_eq(event.user_data, user_data);
	return event.error;
}

void api_rig_end(void)
{
	bpull_engine_close(engine);
	scratch_remove();
}

int api_rig_try_open(struct bpull_disk_options o)
{
	struct bpull_disk *disk;
	int rc;

	o.size = sizeof(o);
	error = (struct bpull_error){ 0 };
	rc = bpull_disk_open(engine, scratch("top"), &o, &disk, &error);
	if (!rc)
		bpull_disk_close(disk);
	else
		cr_assert(error.message[0]);
	return rc;
}
