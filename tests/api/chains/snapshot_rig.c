/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tests/api/chains/snapshot_rig.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/files/overlay.h"
#include "tests/support/files/qemu_img.h"
#include "tests/support/files/scratch.h"

struct bpull_engine *engine;
struct bpull_error error;

void snap_begin(void)
{
	struct bpull_engine_options o = { .size = sizeof(o), .flags = BPULL_ENGINE_THREAD };

	if (!qemu_img_installed())
		cr_skip_test("qemu-img is not installed");
	scratch_make();
	scratch_filled("base", 0x5a, SNAP_LEN);
	make_overlay("top", BPULL_FORMAT_QCOW2, "base");
	cr_assert_eq(bpull_engine_open(&o, &engine, &error), 0, "%s", error.message);
}

void snap_end(void)
{
	bpull_engine_close(engine);
	scratch_remove();
}

struct bpull_disk *snap_open_as(const char *name, uint32_t flags, enum bpull_format format)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.flags = BPULL_DISK_GUEST_IO | flags,
					.format = format };
	struct bpull_disk *disk;

	cr_assert_eq(bpull_disk_open(engine, scratch(name), &o, &disk, &error), 0, "%s",
		     error.message);
	return disk;
}

struct bpull_disk *snap_open(const char *name, uint32_t flags)
{
	return snap_open_as(name, flags, BPULL_FORMAT_UNKNOWN);
}

void snap_put(struct bpull_disk *disk, int byte, uint64_t off, size_t len)
{
	static char buf[MiB];

	memset(buf, byte, len);
	cr_assert_eq(bpull_pwrite(disk, buf, len, off, 0), 0);
}

void snap_expect(struct bpull_disk *disk, int byte, uint64_t off)
{
	char got[4096] = { 0 };

	cr_assert_eq(bpull_pread(disk, got, sizeof(got), off), 0);
	for (size_t i = 0; i < sizeof(got); i++)
		cr_assert_eq((uint8_t)got[i], byte, "%#x at %#" PRIx64 ", not %#x", (uint8_t)got[i],
			     off + i, byte);
}

int snap_try(struct bpull_disk *disk, const char *name, const struct bpull_create_options *create,
	     uint32_t flags)
{
	struct bpull_snapshot s = {
		.size = sizeof(s),
		.disk = disk,
		.path = *name ? scratch(name) : "",
		.create = create,
		.flags = flags,
	};
	int rc = bpull_disk_snapshot(&s, 1, &error);

	cr_assert_eq(error.code, rc);
	cr_assert(!rc == !error.message[0], "%d: '%s'", rc, error.message);
	return rc;
}

void snap_take(struct bpull_disk *disk, const char *name)
{
	cr_assert_eq(snap_try(disk, name, NULL, 0), 0, "%s", error.message);
}

int snap_qemu_io(const char *option, const char *name, const char *command)
{
	return qemu_img_run(NULL, 0, "qemu-io %s -f qcow2 -c '%s' '%s'", option, command,
			    scratch(name));
}

void snap_judge_as(const char *name, const char *format, int byte, uint64_t off)
{
	char out[2048];

	if (strcmp(format, "raw"))
		cr_expect_eq(qemu_img_run(out, sizeof(out), "qemu-img check -f %s '%s'", format,
					  scratch(name)),
			     0, "%s: %s", name, out);
	cr_expect_eq(qemu_img_run(out, sizeof(out),
				  "qemu-io -r -f %s -c 'read -P %#x %" PRIu64 " 4096' '%s'", format,
				  byte, off, scratch(name)),
		     0, "%s at %" PRIu64 ": %s", name, off, out);
}

void snap_judge(const char *name, int byte, uint64_t off)
{
	snap_judge_as(name, "qcow2", byte, off);
}

void snap_link(const char *name, const char *backing, const char *format)
{
	char out[4096], want[800];

	cr_assert_eq(qemu_img_run(out, sizeof(out), "qemu-img info -U --output=json '%s'",
				  scratch(name)),
		     0, "%s", out);
	snprintf(want, sizeof(want), "\"backing-filename\": \"%s\"", backing);
	cr_expect(strstr(out, want), "%s: %s", want, out);
	snprintf(want, sizeof(want), "\"backing-filename-format\": \"%s\"", format);
	cr_expect(strstr(out, want), "%s: %s", want, out);
}
