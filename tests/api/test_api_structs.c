/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The structs that the library fills, of programs older and newer than it: what
 * their size says is filled, and no byte behind it; what is no size is refused.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/blockpull.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

#define BASE_LEN (1u << 20)
#define ROOM     8192

static struct bpull_engine *engine;
static struct bpull_disk *disk;
static struct bpull_info *info;
static struct bpull_error error;

static void begin(void)
{
	scratch_make();
	scratch_filled("base", 0x5a, BASE_LEN);
	make_overlay("top", BPULL_FORMAT_QCOW2, "base");
	make_overlay("at rest", BPULL_FORMAT_QCOW2, "base");
	cr_assert_eq(bpull_engine_open(NULL, &engine, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_disk_open(engine, scratch("top"), NULL, &disk, &error), 0, "%s",
		     error.message);
	cr_assert_eq(bpull_info_open(scratch("at rest"), NULL, &info, &error), 0, "%s",
		     error.message);
}

static void end(void)
{
	bpull_info_close(info);
	bpull_engine_close(engine);
	scratch_remove();
}

TIME_LIMIT(120);
TestSuite(api_structs, .init = begin, .fini = end, .timeout = TIME_LIMIT_CLOCK(120));

static int fill_job_info(void *out)
{
	return bpull_job_get_info(disk, out);
}

static int fill_disk_stats(void *out)
{
	return bpull_disk_get_stats(disk, out);
}

static int fill_layer_info(void *out)
{
	return bpull_info_layer(info, 0, out);
}

static int fill_check_result(void *out)
{
	return bpull_check(scratch("at rest"), NULL, out, &error);
}

static int fill_measure(void *out)
{
	return bpull_image_measure(scratch("at rest"), NULL, out, &error);
}

static int fill_measure_job(void *out)
{
	return bpull_measure_job(scratch("at rest"), NULL, NULL, out, &error);
}

/* The last field of the first version: it stays the same when the structs grow. */
#define STRUCT(fill, type, last)                                                          \
	{                                                                                 \
#fill, fill, sizeof(struct type),                                         \
			offsetof(struct type, last) + sizeof(((struct type *)NULL)->last) \
	}

static const struct {
	const char *name;
	int (*fill)(void *out);
	size_t len, first_len;
} structs[] = {
	STRUCT(fill_job_info, bpull_job_info, verified_bytes),
	STRUCT(fill_disk_stats, bpull_disk_stats, write_end),
	STRUCT(fill_layer_info, bpull_layer_info, unwritable_remedy),
	STRUCT(fill_check_result, bpull_check_result, mixed),
	STRUCT(fill_measure, bpull_measure, data_missing),
	STRUCT(fill_measure_job, bpull_measure, data_missing),
};

#define N_STRUCTS (sizeof(structs) / sizeof(structs[0]))

/* Filled with a struct that says this size, into memory of nothing but 0xa5. */
static int fill(size_t i, size_t size, uint8_t *room)
{
	memset(room, 0xa5, ROOM);
	memcpy(room, &size, sizeof(size));
	error.code = 0;
	return structs[i].fill(room);
}

static size_t first_untouched(const uint8_t *room)
{
	size_t at = ROOM;

	while (at && room[at - 1] == 0xa5)
		at--;
	return at;
}

Test(api_structs, no_byte_is_written_behind_the_size)
{
	static uint8_t room[ROOM], whole[ROOM];

	for (size_t i = 0; i < N_STRUCTS; i++) {
		const size_t sizes[] = { structs[i].first_len, structs[i].len, structs[i].len + 1,
					 structs[i].len + 64, 4096 };

		cr_assert_geq(fill(i, structs[i].len, whole), 0, "%s: %s", structs[i].name,
			      error.message);
		for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
			size_t said, n = structs[i].first_len;

			cr_assert_geq(fill(i, sizes[k], room), 0, "%s: %zu", structs[i].name,
				      sizes[k]);
			memcpy(&said, room, sizeof(said));
			cr_assert_eq(said, sizes[k], "%s: its size was changed", structs[i].name);
			cr_assert_leq(first_untouched(room), sizes[k], "%s: %zu", structs[i].name,
				      sizes[k]);
			cr_assert_eq(
				memcmp(room + sizeof(said), whole + sizeof(said), n - sizeof(said)),
				0, "%s: %zu: other values", structs[i].name, sizes[k]);
			for (size_t at = structs[i].len; at < sizes[k]; at++)
				cr_assert_eq(room[at], 0, "%s: byte %zu of %zu", structs[i].name,
					     at, sizes[k]);
		}
	}
}

Test(api_structs, a_size_that_is_none_is_refused)
{
	static uint8_t room[ROOM];

	for (size_t i = 0; i < N_STRUCTS; i++) {
		const size_t sizes[] = { 0,    1,       sizeof(size_t), structs[i].first_len - 1,
					 4097, SIZE_MAX };

		for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
			cr_assert_eq(fill(i, sizes[k], room), -EINVAL, "%s: %zu", structs[i].name,
				     sizes[k]);
			cr_assert_leq(first_untouched(room), sizeof(size_t), "%s: %zu",
				      structs[i].name, sizes[k]);
		}
	}
}

/* What a failed call was to fill stays as it was. */
Test(api_structs, a_failed_call_fills_nothing)
{
	static uint8_t room[ROOM];
	size_t size = sizeof(struct bpull_check_result);

	memset(room, 0xa5, ROOM);
	memcpy(room, &size, sizeof(size));
	cr_assert_eq(bpull_check(scratch("base"), NULL, (void *)room, &error), -ENOTSUP);
	cr_assert_leq(first_untouched(room), sizeof(size));
	size = sizeof(struct bpull_measure);
	memcpy(room, &size, sizeof(size));
	cr_assert_eq(bpull_image_measure(scratch("none"), NULL, (void *)room, &error), -ENOENT);
	cr_assert_leq(first_untouched(room), sizeof(size));
}

/* What comes in arrays can't grow: a program compiled before would find the second one
 * elsewhere. */
Test(api_structs, elements_of_arrays_keep_their_length)
{
	struct bpull_extent extents[2];
	static const uint8_t zeros[sizeof(extents[0].reserved)];

	if (sizeof(void *) == 8) {
		cr_assert_eq(sizeof(struct bpull_event), 64);
		cr_assert_eq(sizeof(struct bpull_extent), 40);
	}
	memset(extents, 0xa5, sizeof(extents));
	cr_assert_eq(bpull_disk_map(disk, 0, extents, 2, &error), 1);
	cr_assert_eq(memcmp(extents[0].reserved, zeros, sizeof(zeros)), 0);
}
