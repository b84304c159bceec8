/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See source_rig.h. */
#include "tests/api/source/source_rig.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/files/scratch.h"
#include "tests/support/random.h"

struct bpull_engine *engine;
struct bpull_error error;
struct mem_sources sources;
uint8_t *bytes;

uint64_t source_rig_first_seed(void)
{
	const char *given = getenv("BLOCKPULL_SEED");

	return given ? strtoull(given, NULL, 0) : 1;
}

/* Data and zeros in pieces of a seed, none of them aligned. */
void source_rig_fill(uint64_t seed, uint64_t len)
{
	uint64_t at = 0, random = seed * 77 + 1;

	bytes = calloc(1, len);
	cr_assert(bytes);
	while (at < len) {
		uint64_t n = 1 + random_below(&random, 200000), end;

		/* Also long ones that end where words of bits do. */
		if (!random_below(&random, 3))
			n = 256 * 1024 * (1 + random_below(&random, 4)) - at % (256 * 1024);
		end = at + n < len ? at + n : len;
		if (random_below(&random, 3))
			for (; at < end; at++)
				bytes[at] = (uint8_t)(random_step(&random) >> 40);
		at = end;
	}
}

struct mem_source_how source_rig_draw(uint64_t seed)
{
	static const uint32_t blocks[] = { 0, 1, 512, 4096, 65536 };
	uint64_t random = seed * 1000003;

	return (struct mem_source_how){
		.seed = seed,
		.block_size = blocks[random_below(&random, 5)],
		.max_size = random_below(&random, 3) ? 65536u << random_below(&random, 6) : 0,
		.max_pause_us = random_below(&random, 2) ? 300 : 0,
		.ends_inside = !random_below(&random, 4),
		.has_extents = random_below(&random, 3),
		.len = 1 + random_below(&random, LEN),
	};
}

void source_rig_begin(enum bpull_io io)
{
	struct bpull_engine_options o = { .size = sizeof(o), .io = io };

	scratch_make();
	memset(&sources, 0, sizeof(sources));
	cr_assert_eq(bpull_engine_open(&o, &engine, &error), 0, "%s", error.message);
}

void source_rig_end(void)
{
	bpull_engine_close(engine);
	for (unsigned i = 0; i < 4 && sources.of[i]; i++) {
		cr_expect_null(mem_source_fault(sources.of[i]), "%s",
			       mem_source_fault(sources.of[i]));
		cr_expect_eq(mem_source_n_open(sources.of[i]), 0, "a source was not closed");
		mem_source_free(sources.of[i]);
	}
	free(bytes);
	scratch_remove();
}

void source_rig_set_up(void)
{
	source_rig_fill(5, LEN);
	source_rig_begin(BPULL_IO_AUTO);
}

/* An image, for one that is being made. */
int source_rig_find_any(void *opaque, const struct bpull_open_request *request,
			struct bpull_base *base, struct bpull_error *why)
{
	base->path = strdup(opaque);
	base->path_is_allowed = 1;
	return 0;
}

const char *source_rig_any_image(enum bpull_format format)
{
	struct bpull_create_options o = { .size = sizeof(o),
					  .format = BPULL_FORMAT_QCOW2,
					  .virtual_size = MiB };
	const char *name = scratch(format == BPULL_FORMAT_RAW ? "any.raw" : "any.qcow2");

	if (format == BPULL_FORMAT_RAW)
		return scratch_file("any.raw", "any", 3);
	if (access(name, F_OK))
		cr_assert_eq(bpull_create(name, &o, &error), 0, "%s", error.message);
	return name;
}

void source_rig_make_top(const char *name, const char *backing, enum bpull_format format,
			 uint64_t len)
{
	struct bpull_create_options o = {
		.size = sizeof(o),
		.format = BPULL_FORMAT_QCOW2,
		.virtual_size = (len + 511) / 512 * 512,
		.backing_name = backing,
		.backing_format = format,
		.find_base = source_rig_find_any,
		.find_opaque = (void *)source_rig_any_image(format),
	};

	cr_assert_eq(bpull_create(scratch(name), &o, &error), 0, "%s", error.message);
}

struct bpull_disk_options source_rig_options(uint32_t flags)
{
	return (struct bpull_disk_options){ .size = sizeof(struct bpull_disk_options),
					    .flags = flags,
					    .find_base = mem_sources_find,
					    .find_opaque = &sources };
}

int source_rig_try_open(const char *name, uint32_t flags, struct bpull_disk **disk)
{
	struct bpull_disk_options o = source_rig_options(flags);

	memset(&error, 0, sizeof(error));
	return bpull_disk_open(engine, scratch(name), &o, disk, &error);
}

struct bpull_disk *source_rig_open_top(uint32_t flags)
{
	struct bpull_disk *disk;

	cr_assert_eq(source_rig_try_open("top", flags, &disk), 0, "%s", error.message);
	return disk;
}

void source_rig_add_source(struct mem_source_how how)
{
	unsigned i = 0;

	while (sources.of[i])
		i++;
	how.recorded = how.recorded ? how.recorded : NAME;
	how.bytes = how.bytes ? how.bytes : bytes;
	how.len = how.len ? how.len : LEN;
	how.seed = how.seed ? how.seed : 1;
	sources.of[i] = mem_source_new(&how);
}

struct bpull_event source_rig_next_event(void)
{
	struct bpull_event event;

	cr_assert_eq(bpull_engine_wait(engine, &event, 1, 60000), 1, "no event in a minute");
	return event;
}

void source_rig_start(struct bpull_disk *disk, struct bpull_job_options o)
{
	o.size = sizeof(o);
	cr_assert_eq(bpull_job_start(disk, &o, &error), 0, "%s", error.message);
}

void source_rig_pull(struct bpull_disk *disk)
{
	struct bpull_event event;

	source_rig_start(disk, (struct bpull_job_options){ 0 });
	event = source_rig_next_event();
	cr_assert_eq(event.type, BPULL_EVENT_JOB);
	cr_assert_eq(event.status, BPULL_JOB_COMPLETED, "%s", event.message);
}

/* The image, and nothing below it, reads as the first len bytes, and zeros behind them. */
void source_rig_expect_alone(const char *name, uint64_t len)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.flags = BPULL_DISK_READ_ONLY | BPULL_DISK_GUEST_IO };
	struct bpull_engine_options e = { .size = sizeof(e), .flags = BPULL_ENGINE_THREAD };
	static uint8_t got[MiB];
	struct bpull_engine *other;
	struct bpull_disk *disk;
	uint64_t size;

	cr_assert_eq(bpull_engine_open(&e, &other, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_disk_open(other, scratch(name), &o, &disk, &error), 0, "%s",
		     error.message);
	cr_assert_eq(bpull_disk_depth(disk), 1);
	size = bpull_disk_size(disk);
	for (uint64_t at = 0; at < size; at += MiB) {
		uint64_t n = size - at < MiB ? size - at : MiB, held = at < len ? len - at : 0;

		held = held < n ? held : n;
		cr_assert_eq(bpull_pread(disk, got, n, at), 0);
		cr_assert_eq(memcmp(got, bytes + at, held), 0, "wrong bytes at %llu or behind",
			     (unsigned long long)at);
		for (uint64_t i = held; i < n; i++)
			cr_assert_eq(got[i], 0);
	}
	bpull_disk_close(disk);
	bpull_engine_close(other);
}
