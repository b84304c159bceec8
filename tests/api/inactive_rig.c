/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* See inactive_rig.h. */
#include "tests/api/inactive_rig.h"

#include <criterion/criterion.h>
#include <string.h>

#include "engine/blockpull.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"

struct bpull_engine *inactive_engine;
struct bpull_error inactive_error;
char inactive_buf[MiB];

void inactive_set_up(void)
{
	struct bpull_engine_options o = { .size = sizeof(o), .flags = BPULL_ENGINE_THREAD };

	scratch_make();
	scratch_filled("base", 0x5a, LEN);
	make_overlay("top", BPULL_FORMAT_QCOW2, "base");
	cr_assert_eq(bpull_engine_open(&o, &inactive_engine, &inactive_error), 0, "%s",
		     inactive_error.message);
}

void inactive_tear_down(void)
{
	bpull_engine_close(inactive_engine);
	scratch_remove();
}

struct bpull_disk *inactive_open_with(struct bpull_engine *with, const char *name, uint32_t flags)
{
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO | flags };
	struct bpull_disk *disk;

	cr_assert_eq(bpull_disk_open(with, scratch(name), &o, &disk, &inactive_error), 0, "%s",
		     inactive_error.message);
	return disk;
}

struct bpull_disk *inactive_open_disk(const char *name)
{
	return inactive_open_with(inactive_engine, name, 0);
}

struct bpull_engine *inactive_open_engine(void)
{
	struct bpull_engine_options o = { .size = sizeof(o), .flags = BPULL_ENGINE_THREAD };
	struct bpull_engine *other;

	cr_assert_eq(bpull_engine_open(&o, &other, &inactive_error), 0, "%s",
		     inactive_error.message);
	return other;
}

void inactive_put(struct bpull_disk *disk, int byte, uint64_t off, size_t len)
{
	memset(inactive_buf, byte, len);
	cr_assert_eq(bpull_pwrite(disk, inactive_buf, len, off, 0), 0);
}

void inactive_expect(struct bpull_disk *disk, int byte, uint64_t off)
{
	char got[4096];

	memset(got, 0, sizeof(got));
	cr_assert_eq(bpull_pread(disk, got, sizeof(got), off), 0);
	for (size_t i = 0; i < sizeof(got); i++)
		cr_assert_eq(got[i], byte, "%#x at %#zx, not %#x", got[i], (size_t)off + i, byte);
}

void inactive_inactivate(struct bpull_disk *disk)
{
	cr_assert_eq(bpull_disk_inactivate(disk, &inactive_error), 0, "%s", inactive_error.message);
}

void inactive_activate(struct bpull_disk *disk)
{
	cr_assert_eq(bpull_disk_activate(disk, &inactive_error), 0, "%s", inactive_error.message);
}

int inactive_qemu_io(const char *name, const char *command)
{
	return scratch_run("qemu-io", "-f", "qcow2", "-c", command, scratch(name), NULL);
}
