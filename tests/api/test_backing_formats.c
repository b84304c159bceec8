/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Formats of backing files through the public interface: what an image that
 * records none is opened with, what a description says of it, and which options
 * are refused. The chain is QED over QED over qcow2 over a raw file.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "engine/blockpull.h"
#include "tests/api/api_rig.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

#define LEN (256u << 10)

static void make(const char *name, enum bpull_format format, const char *backing,
		 enum bpull_format backing_format)
{
	struct bpull_create_options o = { .size = sizeof(o),
					  .format = format,
					  .backing_name = backing,
					  .backing_format = backing_format };

	cr_assert_eq(bpull_create(scratch(name), &o, &error), 0, "%s", error.message);
}

static void set_up(void)
{
	struct bpull_engine_options o = { .size = sizeof(o) };
	static uint8_t content[LEN];

	scratch_make();
	memset(content, 0xa5, sizeof(content));
	scratch_file("base", content, LEN);
	make("low", BPULL_FORMAT_QCOW2, "base", BPULL_FORMAT_RAW);
	make("mid", BPULL_FORMAT_QED, "low", BPULL_FORMAT_QCOW2);
	make("top", BPULL_FORMAT_QED, "mid", BPULL_FORMAT_QED);
	cr_assert_eq(bpull_engine_open(&o, &engine, &error), 0, "%s", error.message);
}

TIME_LIMIT(60);
TestSuite(backing_formats, .init = set_up, .fini = api_rig_end, .timeout = TIME_LIMIT_CLOCK(60));

Test(backing_formats, unrecorded_formats_are_told_trusted_or_refused)
{
	struct bpull_backing_format told[] = {
		{ .file = "mid", .format = BPULL_FORMAT_QED },
		{ .file = scratch("low"), .format = BPULL_FORMAT_QCOW2 },
		{ .file = "other", .format = BPULL_FORMAT_RAW, .optional = 1 },
	};
	struct bpull_disk_options files = { .backing_formats = told, .n_backing_formats = 3 };

	cr_assert_eq(api_rig_try_open((struct bpull_disk_options){ 0 }), -EPERM);
	cr_assert(strstr(error.message, "mid"), "%s", error.message);
	cr_assert_eq(
		api_rig_try_open((struct bpull_disk_options){ .backing_trust = BPULL_TRUST_ALL }),
		0, "%s", error.message);
	cr_assert_eq(api_rig_try_open(files), 0, "%s", error.message);
	cr_assert(told[0].used && told[1].used && !told[2].used);
	told[2].optional = 0;
	cr_assert_eq(api_rig_try_open(files), -EINVAL);
	files.n_backing_formats = 1;
	cr_assert_eq(api_rig_try_open(files), -EPERM, "the lower one's word is wanted, too");
}

Test(backing_formats, options_that_mean_nothing_are_refused)
{
	struct bpull_backing_format told = { .file = "mid", .format = BPULL_FORMAT_QED };
	struct bpull_disk_options files = { .backing_formats = &told, .n_backing_formats = 1 };
	struct bpull_disk_options none = { .n_backing_formats = 1 };

	cr_assert_eq(
		api_rig_try_open((struct bpull_disk_options){ .backing_trust = BPULL_TRUST_ALL,
							      .backing_format = BPULL_FORMAT_QED }),
		-EINVAL);
	cr_assert_eq(api_rig_try_open(
			     (struct bpull_disk_options){ .backing_trust = BPULL_TRUST_ALL + 1 }),
		     -EINVAL);
	cr_assert_eq(api_rig_try_open(none), -EINVAL);
	told.format = BPULL_FORMAT_UNKNOWN;
	cr_assert_eq(api_rig_try_open(files), -EINVAL);
	told.format = BPULL_FORMAT_QED + 1;
	cr_assert_eq(api_rig_try_open(files), -EINVAL);
	told.format = BPULL_FORMAT_QED;
	told.reserved[1] = 1;
	cr_assert_eq(api_rig_try_open(files), -EINVAL);
	told.reserved[1] = 0;
	told.file = "";
	cr_assert_eq(api_rig_try_open(files), -EINVAL);
	told.file = NULL;
	cr_assert_eq(api_rig_try_open(files), -EINVAL);
}

static void described(const struct bpull_info *info, unsigned i, enum bpull_format_from from,
		      enum bpull_format as)
{
	struct bpull_layer_info layer = { .size = sizeof(layer) };

	cr_assert_eq(bpull_info_layer(info, i, &layer), 0);
	cr_assert_eq(layer.backing_format_from, from, "layer %u: %d", i, layer.backing_format_from);
	cr_assert_eq(layer.backing_opened_as, as, "layer %u: %d", i, layer.backing_opened_as);
}

Test(backing_formats, a_description_says_how_they_are_known)
{
	struct bpull_backing_format told = { .file = "mid", .format = BPULL_FORMAT_QED };
	struct bpull_disk_options o = { .size = sizeof(o),
					.flags = BPULL_DISK_READ_ONLY,
					.backing_trust = BPULL_TRUST_ALL,
					.backing_formats = &told,
					.n_backing_formats = 1 };
	struct bpull_info *info;

	cr_assert_eq(bpull_info_open(scratch("top"), &o, &info, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_info_depth(info), 4);
	described(info, 0, BPULL_FORMAT_TOLD, BPULL_FORMAT_QED);
	described(info, 1, BPULL_FORMAT_PROBED, BPULL_FORMAT_QCOW2);
	described(info, 2, BPULL_FORMAT_RECORDED, BPULL_FORMAT_RAW);
	described(info, 3, BPULL_FORMAT_NOT_KNOWN, BPULL_FORMAT_UNKNOWN);
	bpull_info_close(info);

	o = (struct bpull_disk_options){ .size = sizeof(o),
					 .flags = BPULL_DISK_READ_ONLY | BPULL_DISK_NO_BACKING };
	cr_assert_eq(bpull_info_open(scratch("top"), &o, &info, &error), 0, "%s", error.message);
	described(info, 0, BPULL_FORMAT_PROBED, BPULL_FORMAT_UNKNOWN);
	bpull_info_close(info);
	cr_assert_eq(bpull_info_open(scratch("low"), &o, &info, &error), 0, "%s", error.message);
	described(info, 0, BPULL_FORMAT_RECORDED, BPULL_FORMAT_UNKNOWN);
	bpull_info_close(info);
}

/* An older program's struct ends before these options. */
Test(backing_formats, a_shorter_struct_has_the_default)
{
	struct bpull_disk_options o = { .size = offsetof(struct bpull_disk_options, backing_trust),
					.backing_trust = BPULL_TRUST_ALL };
	struct bpull_disk *disk;

	cr_assert_eq(bpull_disk_open(engine, scratch("top"), &o, &disk, &error), -EPERM);
}
