/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Bases that the program supplies: bpull_disk_options.find_base. What a pull, a guest and the calls
 * that describe ask of a source is judged by mem_source.c; what the image holds afterwards is
 * compared with the source's bytes.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tests/support/mem_source.h"
#include "tests/support/random.h"
#include "tests/support/scratch.h"
#include "tests/support/time_limit.h"

#define MiB     (1u << 20)
#define NAME    "nbd://host.example/base"
#define LEN     (9u * MiB + 1536)
#define N_PLAYS 24

static struct bpull_engine *engine;
static struct bpull_error error;
static struct mem_sources sources;
static uint8_t *bytes;

static uint64_t first_seed(void)
{
	const char *given = getenv("BLOCKPULL_SEED");

	return given ? strtoull(given, NULL, 0) : 1;
}

/* Data and zeros in pieces of a seed, none of them aligned. */
static void fill(uint64_t seed, uint64_t len)
{
	uint64_t at = 0, random = seed * 77 + 1;

	bytes = calloc(1, len);
	cr_assert(bytes);
	while (at < len) {
		uint64_t n = 1 + random_below(&random, 200000), end = at + n < len ? at + n : len;

		if (random_below(&random, 3))
			for (; at < end; at++)
				bytes[at] = (uint8_t)(random_step(&random) >> 40);
		at = end;
	}
}

static void begin(enum bpull_io io)
{
	struct bpull_engine_options o = { .size = sizeof(o), .io = io };

	scratch_make();
	memset(&sources, 0, sizeof(sources));
	cr_assert_eq(bpull_engine_open(&o, &engine, &error), 0, "%s", error.message);
}

static void end(void)
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

static void set_up(void)
{
	fill(5, LEN);
	begin(BPULL_IO_AUTO);
}

/* An image, for one that is being made. */
static int find_any(void *opaque, const struct bpull_open_request *request, struct bpull_base *base,
		    struct bpull_error *why)
{
	base->path = strdup(opaque);
	base->path_is_allowed = 1;
	return 0;
}

static const char *any_image(enum bpull_format format)
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

static void make_top(const char *name, const char *backing, enum bpull_format format, uint64_t len)
{
	struct bpull_create_options o = {
		.size = sizeof(o),
		.format = BPULL_FORMAT_QCOW2,
		.virtual_size = (len + 511) / 512 * 512,
		.backing_name = backing,
		.backing_format = format,
		.find_base = find_any,
		.find_opaque = (void *)any_image(format),
	};

	cr_assert_eq(bpull_create(scratch(name), &o, &error), 0, "%s", error.message);
}

static struct bpull_disk_options options(uint32_t flags)
{
	return (struct bpull_disk_options){ .size = sizeof(struct bpull_disk_options),
					    .flags = flags,
					    .find_base = mem_sources_find,
					    .find_opaque = &sources };
}

static int try_open(const char *name, uint32_t flags, struct bpull_disk **disk)
{
	struct bpull_disk_options o = options(flags);

	memset(&error, 0, sizeof(error));
	return bpull_disk_open(engine, scratch(name), &o, disk, &error);
}

static struct bpull_disk *open_top(uint32_t flags)
{
	struct bpull_disk *disk;

	cr_assert_eq(try_open("top", flags, &disk), 0, "%s", error.message);
	return disk;
}

static void add_source(struct mem_source_how how)
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

static struct bpull_event next_event(void)
{
	struct bpull_event event;

	cr_assert_eq(bpull_engine_wait(engine, &event, 1, 60000), 1, "no event in a minute");
	return event;
}

static void start(struct bpull_disk *disk, struct bpull_job_options o)
{
	o.size = sizeof(o);
	cr_assert_eq(bpull_job_start(disk, &o, &error), 0, "%s", error.message);
}

static void pull(struct bpull_disk *disk)
{
	struct bpull_event event;

	start(disk, (struct bpull_job_options){ 0 });
	event = next_event();
	cr_assert_eq(event.type, BPULL_EVENT_JOB);
	cr_assert_eq(event.status, BPULL_JOB_COMPLETED, "%s", event.message);
}

/* The image, and nothing below it, reads as the first len bytes, and zeros behind them. */
static void expect_alone(const char *name, uint64_t len)
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

TIME_LIMIT(120);

TestSuite(source, .init = set_up, .fini = end, .timeout = TIME_LIMIT_CLOCK(120));
/* These begin and end by themselves. */
TestSuite(source_plays, .timeout = TIME_LIMIT_CLOCK(120));

static struct mem_source_how draw(uint64_t seed)
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

/* A pull of each seed's source, by both backends. */
Test(source_plays, is_pulled)
{
	for (uint64_t seed = first_seed(); seed < first_seed() + N_PLAYS; seed++) {
		struct mem_source_how how = draw(seed);

		fprintf(stderr, "# seed %llu\n", (unsigned long long)seed);
		fill(seed, how.len);
		begin(seed % 2 ? BPULL_IO_AUTO : BPULL_IO_THREADS);
		add_source(how);
		make_top("top", NAME, BPULL_FORMAT_RAW, how.len);
		struct bpull_disk *disk = open_top(0);
		pull(disk);
		bpull_disk_close(disk);
		expect_alone("top", how.len);
		end();
	}
}

Test(source, zeros_that_it_tells_of_are_not_read)
{
	memset(bytes + MiB, 0, 7 * MiB);
	add_source((struct mem_source_how){ .has_extents = true, .seed = 3 });
	make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	struct bpull_disk *disk = open_top(0);
	pull(disk);
	bpull_disk_close(disk);
	cr_expect_lt(mem_source_bytes_read(sources.of[0]), 4 * MiB);
	expect_alone("top", LEN);
}

Test(source, zeros_are_read_where_its_word_is_not_taken)
{
	memset(bytes, 0, LEN);
	add_source((struct mem_source_how){ .has_extents = true });
	make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	struct bpull_disk *disk = open_top(BPULL_DISK_READ_HOLES);
	pull(disk);
	bpull_disk_close(disk);
	cr_expect_geq(mem_source_bytes_read(sources.of[0]), LEN);
}

Test(source, one_that_is_away_pauses_the_job_which_goes_on_by_itself)
{
	struct bpull_event event;

	add_source((struct mem_source_how){ .max_size = 65536 });
	make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	struct bpull_disk *disk = open_top(0);
	mem_source_fail_from(sources.of[0], 20, -EHOSTUNREACH);
	start(disk, (struct bpull_job_options){ .bandwidth = 64 * MiB });
	event = next_event();
	cr_assert_eq(event.type, BPULL_EVENT_JOB_STOPPED);
	cr_expect_eq(event.error, -EHOSTUNREACH);
	cr_expect(strstr(event.message, NAME) && strstr(event.message, "goes on"), "%s",
		  event.message);
	/* It tries again meanwhile, and does not tell. */
	cr_expect_eq(bpull_engine_wait(engine, &event, 1, 2500), 0);
	mem_source_fail(sources.of[0], 0);
	event = next_event();
	cr_assert_eq(event.type, BPULL_EVENT_JOB_RESUMED);
	event = next_event();
	cr_assert_eq(event.type, BPULL_EVENT_JOB);
	cr_assert_eq(event.status, BPULL_JOB_COMPLETED, "%s", event.message);
	bpull_disk_close(disk);
	expect_alone("top", LEN);
}

Test(source, a_job_that_the_program_paused_meanwhile_stays_paused)
{
	struct bpull_event event;

	add_source((struct mem_source_how){ .max_size = 65536 });
	make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	struct bpull_disk *disk = open_top(0);
	mem_source_fail(sources.of[0], -EHOSTUNREACH);
	start(disk, (struct bpull_job_options){ 0 });
	cr_assert_eq(next_event().type, BPULL_EVENT_JOB_STOPPED);
	bpull_job_pause(disk);
	mem_source_fail(sources.of[0], 0);
	cr_expect_eq(bpull_engine_wait(engine, &event, 1, 2500), 0);
	bpull_job_resume(disk);
	cr_assert_eq(next_event().type, BPULL_EVENT_JOB_RESUMED);
	cr_assert_eq(next_event().status, BPULL_JOB_COMPLETED);
	bpull_disk_close(disk);
	expect_alone("top", LEN);
}

Test(source, one_that_is_away_can_be_given_up)
{
	struct bpull_event event;

	add_source((struct mem_source_how){ .max_size = 65536 });
	make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	struct bpull_disk *disk = open_top(0);
	mem_source_fail(sources.of[0], -EHOSTUNREACH);
	start(disk, (struct bpull_job_options){ 0 });
	cr_assert_eq(next_event().type, BPULL_EVENT_JOB_STOPPED);
	bpull_job_abort(disk);
	event = next_event();
	cr_assert_eq(event.type, BPULL_EVENT_JOB);
	cr_assert_eq(event.status, BPULL_JOB_CANCELED);
	bpull_disk_close(disk);
}

Test(source, another_one_in_its_place_fails_the_job_and_marks_the_image)
{
	struct bpull_event event;

	add_source((struct mem_source_how){ .max_size = 65536 });
	make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	struct bpull_disk *disk = open_top(0);
	mem_source_fail_from(sources.of[0], 40, -ESTALE);
	start(disk, (struct bpull_job_options){ .on_error = BPULL_ON_ERROR_STOP });
	event = next_event();
	cr_assert_eq(event.type, BPULL_EVENT_JOB);
	cr_assert_eq(event.status, BPULL_JOB_FAILED);
	cr_expect_eq(event.error, -ESTALE, "%d: %s", event.error, event.message);
	cr_expect(strstr(event.message, NAME), "%s", event.message);
	bpull_disk_close(disk);
}

Test(source, an_error_of_it_is_the_jobs)
{
	struct bpull_event event;

	add_source((struct mem_source_how){ .max_size = 65536 });
	make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	struct bpull_disk *disk = open_top(0);
	mem_source_fail_from(sources.of[0], 40, -EIO);
	start(disk, (struct bpull_job_options){ 0 });
	event = next_event();
	cr_assert_eq(event.status, BPULL_JOB_FAILED);
	cr_expect_eq(event.error, -EIO);
	cr_expect(strstr(event.message, NAME), "%s", event.message);
	bpull_disk_close(disk);
}

Test(source_plays, a_guest_reads_and_writes_through_it)
{
	struct bpull_engine_options e = { .size = sizeof(e), .flags = BPULL_ENGINE_THREAD };
	static uint8_t buf[70000], want[LEN];
	uint64_t random = 99;

	fill(5, LEN);
	memcpy(want, bytes, LEN);
	scratch_make();
	memset(&sources, 0, sizeof(sources));
	cr_assert_eq(bpull_engine_open(&e, &engine, &error), 0);
	add_source((struct mem_source_how){ .has_extents = true, .block_size = 512, .seed = 8 });
	make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	struct bpull_disk *disk = open_top(BPULL_DISK_GUEST_IO);
	start(disk, (struct bpull_job_options){ .bandwidth = 8 * MiB });
	for (unsigned i = 0; i < 300; i++) {
		uint64_t len = 1 + random_below(&random, sizeof(buf)),
			 off = random_below(&random, LEN - len);

		if (i % 3) {
			cr_assert_eq(bpull_pread(disk, buf, len, off), 0);
			cr_assert_eq(memcmp(buf, want + off, len), 0, "request %u", i);
			continue;
		}
		/* The source has what it had: the overlay must win. */
		memset(buf, (int)i, len);
		cr_assert_eq(bpull_pwrite(disk, buf, len, off, 0), 0);
		memset(want + off, (int)i, len);
	}
	cr_expect_gt(mem_source_n_guest(sources.of[0]), 0);
	mem_source_fail(sources.of[0], -EHOSTUNREACH);
	bpull_job_abort(disk);
	bpull_job_wait(disk, -1);
	for (uint64_t off = 0; off + 4096 < LEN; off += 65536) {
		int rc = bpull_pread(disk, buf, 4096, off);

		cr_expect(rc == 0 || rc == -EIO, "%d", rc);
	}
	bpull_disk_close(disk);
	end();
}

Test(source, a_name_may_lead_to_a_path)
{
	struct bpull_disk *disk;

	scratch_file("moved.raw", bytes, LEN);
	make_top("top", "nbd://gone.example/x", BPULL_FORMAT_RAW, LEN);
	sources.mapped = "nbd://gone.example/x";
	sources.mapped_to = scratch("moved.raw");
	disk = open_top(0);
	pull(disk);
	bpull_disk_close(disk);
	expect_alone("top", LEN);
}

/* The policy is asked for a path that the user did not name: one outside the image's directory. */
Test(source, a_path_is_allowed_by_the_user_or_the_policy)
{
	struct bpull_disk *disk;

	make_top("top", "nbd://gone.example/x", BPULL_FORMAT_RAW, LEN);
	sources.mapped = "nbd://gone.example/x";
	sources.mapped_to = "/proc/self/exe";
	cr_expect_eq(try_open("top", BPULL_DISK_READ_ONLY, &disk), -EPERM, "%s", error.message);
	sources.mapped_is_allowed = true;
	cr_assert_eq(try_open("top", BPULL_DISK_READ_ONLY, &disk), 0, "%s", error.message);
	bpull_disk_close(disk);
}

Test(source, what_is_not_known_or_refused_is_not_opened)
{
	struct bpull_disk *disk;

	make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	cr_expect_eq(try_open("top", 0, &disk), -ENOTSUP, "%s", error.message);
	sources.refused = NAME;
	cr_expect_eq(try_open("top", 0, &disk), -EPERM);
	cr_expect(strstr(error.message, "not allowed"), "%s", error.message);
}

Test(source, an_image_that_it_holds_may_name_no_file_of_this_machine)
{
	struct bpull_disk *disk;
	uint8_t *image;
	FILE *file;
	long len;

	scratch_file("secret", bytes, 4096);
	make_top("inner", scratch("secret"), BPULL_FORMAT_RAW, MiB);
	file = fopen(scratch("inner"), "rb");
	fseek(file, 0, SEEK_END);
	len = ftell(file);
	image = calloc(1, (size_t)len);
	rewind(file);
	cr_assert_eq(fread(image, 1, (size_t)len, file), (size_t)len);
	fclose(file);
	add_source((struct mem_source_how){ .bytes = image, .len = (uint64_t)len });
	make_top("top", NAME, BPULL_FORMAT_QCOW2, MiB);
	cr_expect_eq(try_open("top", BPULL_DISK_READ_ONLY, &disk), -EPERM, "%s", error.message);
	cr_expect(strstr(error.message, "secret"), "%s", error.message);
	free(image);
}

Test(source, its_format_is_never_guessed)
{
	struct bpull_disk_options o = options(BPULL_DISK_READ_ONLY);
	struct bpull_create_options qed = { .size = sizeof(qed),
					    .format = BPULL_FORMAT_QED,
					    .virtual_size = 4 * MiB,
					    .backing_name = NAME,
					    .backing_format = BPULL_FORMAT_QCOW2,
					    .find_base = find_any,
					    .find_opaque = (void *)any_image(BPULL_FORMAT_QCOW2) };
	struct bpull_disk *disk;

	add_source((struct mem_source_how){ 0 });
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

Test(source, the_names_own_format_must_be_the_recorded_one)
{
	struct bpull_disk *disk;

	add_source((struct mem_source_how){ .format = BPULL_FORMAT_QCOW2 });
	make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	cr_expect_eq(try_open("top", BPULL_DISK_READ_ONLY, &disk), -EINVAL);
	cr_expect(strstr(error.message, "raw") && strstr(error.message, "qcow2"), "%s",
		  error.message);
}

Test(source, of_one_identity_it_is_shared)
{
	struct bpull_disk *first, *second;

	add_source((struct mem_source_how){ .identity = "the base" });
	make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	make_top("other", NAME, BPULL_FORMAT_RAW, LEN);
	first = open_top(0);
	cr_assert_eq(try_open("other", 0, &second), 0, "%s", error.message);
	cr_expect_eq(mem_source_n_open(sources.of[0]), 1, "the second one is not given back");
	pull(first);
	bpull_disk_close(first);
	pull(second);
	bpull_disk_close(second);
	expect_alone("other", LEN);
}

Test(source, what_the_library_cannot_work_with_is_refused_and_closed)
{
	static const struct mem_source_how bad[] = {
		{ .block_size = 3 },  { .block_size = 131072 },     { .max_size = 65535 },
		{ .max_size = 4096 }, { .len = UINT64_C(1) << 63 },
	};
	struct bpull_disk *disk;

	make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		add_source(bad[i]);
		cr_expect_eq(try_open("top", 0, &disk), -EINVAL, "%u", i);
		cr_expect(strstr(error.message, NAME), "%s", error.message);
		cr_expect_eq(mem_source_n_open(sources.of[0]), 0);
		mem_source_free(sources.of[0]);
		sources.of[0] = NULL;
	}
}

Test(source, goes_with_find_base_alone)
{
	struct bpull_disk_options o = { .size = sizeof(o), .find_opaque = &sources };
	struct bpull_disk *disk;

	make_top("top", NAME, BPULL_FORMAT_RAW, LEN);
	cr_expect_eq(bpull_disk_open(engine, scratch("top"), &o, &disk, &error), -EINVAL);
}
