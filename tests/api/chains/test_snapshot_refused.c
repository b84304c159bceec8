/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Snapshots that are refused: names, disks and options that have none, and all of several disks
 * where one can't have its own.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/api/chains/snapshot_rig.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/qemu_img.h"
#include "tests/support/files/scratch.h"

/* ---- refused ---- */

Test(snapshot, a_name_that_exists_and_a_directory_that_does_not)
{
	struct bpull_disk *disk = snap_open("top", 0);

	cr_expect_eq(snap_try(disk, "base", NULL, 0), -EEXIST, "%s", error.message);
	cr_expect_eq(snap_try(disk, "top", NULL, 0), -EEXIST);
	cr_expect_eq(snap_try(disk, "gone/one", NULL, 0), -ENOENT, "%s", error.message);
	cr_expect_eq(snap_try(disk, "base/one", NULL, 0), -ENOTDIR, "%d %s", error.code,
		     error.message);
	cr_expect_eq(snap_try(disk, "", NULL, 0), -EINVAL);
	cr_expect_eq(scratch_n_files(), 2);
	snap_put(disk, 0x11, 0, 4096);
	bpull_disk_close(disk);
	snap_judge("top", 0x11, 0);
}

Test(snapshot, disks_that_can_have_none_say_so)
{
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_READ_ONLY };
	struct bpull_job_options job = { .size = sizeof(job), .flags = BPULL_JOB_START_PAUSED };
	struct bpull_disk *disk;

	cr_assert_eq(bpull_disk_open(engine, scratch("top"), &o, &disk, &error), 0);
	cr_expect_eq(snap_try(disk, "one", NULL, 0), -EINVAL);
	bpull_disk_close(disk);
	disk = snap_open("top", BPULL_DISK_INACTIVE);
	cr_expect_eq(snap_try(disk, "one", NULL, 0), -EPERM);
	cr_assert_eq(bpull_disk_activate(disk, &error), 0);
	cr_assert_eq(bpull_job_start(disk, &job, &error), 0);
	cr_expect_eq(snap_try(disk, "one", NULL, 0), -EBUSY);
	cr_assert_eq(bpull_job_abort(disk), 0);
	cr_assert_eq(bpull_job_wait(disk, 30000), 0);
	cr_expect_eq(scratch_n_files(), 2);
	cr_assert_eq(snap_try(disk, "one", NULL, 0), 0, "%s", error.message);
	cr_assert_eq(bpull_disk_inactivate(disk, &error), 0, "%s", error.message);
	cr_expect_eq(snap_qemu_io("", "one", "write -P 0x44 0 4k"), 0);
	cr_assert_eq(bpull_disk_activate(disk, &error), 0, "%s", error.message);
	snap_expect(disk, 0x44, 0);
	bpull_disk_close(disk);
	cr_assert_eq(bpull_flatten_open(engine, scratch("one"), NULL, scratch("flat"), NULL, &disk,
					&error),
		     0, "%s", error.message);
	cr_expect_eq(snap_try(disk, "two", NULL, 0), -EINVAL);
	bpull_disk_close(disk);
}

Test(snapshot, a_chain_that_is_too_long)
{
	struct bpull_disk *disk = snap_open("top", 0);
	char name[16];
	int rc = 0;

	for (unsigned i = 0; !rc && i < 300; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		rc = snap_try(disk, name, NULL, 0);
	}
	cr_expect_eq(rc, -ELOOP, "%s", error.message);
	cr_expect_eq(scratch_n_files(), bpull_disk_depth(disk));
	snap_put(disk, 0x11, 0, 4096);
	bpull_disk_close(disk);
	/* As long as may be, and no longer. */
	disk = snap_open("n254", 0);
	snap_expect(disk, 0x11, 0);
	bpull_disk_close(disk);
}

static void count_made(void *n)
{
	++*(unsigned *)n;
}

/* Each one is synced several times: to make hundreds for nothing takes seconds. */
Test(snapshot, none_is_made_of_a_call_s_that_would_be_too_many)
{
	enum {
		TOO_MANY = 256
	};
	struct bpull_disk *disk = snap_open("top", 0);
	static struct bpull_snapshot all[TOO_MANY];
	static char names[TOO_MANY][600];
	unsigned n_made = 0;
	struct bpull_create_options create = { .size = sizeof(create),
					       .creating = count_made,
					       .user_data = &n_made };

	for (unsigned i = 0; i < TOO_MANY; i++) {
		snprintf(names[i], sizeof(names[i]), "%s.%u", scratch("n"), i);
		all[i] = (struct bpull_snapshot){
			.size = sizeof(all[i]), .disk = disk, .path = names[i], .create = &create
		};
	}
	cr_expect_eq(bpull_disk_snapshot(all, TOO_MANY, &error), -ELOOP, "%s", error.message);
	cr_expect_eq(n_made, 0, "%u were made", n_made);
	cr_expect_eq(scratch_n_files(), 2);
	bpull_disk_close(disk);
}

Test(snapshot, options_that_do_not_go_with_it)
{
	struct bpull_create_options create = { .size = sizeof(create) };
	struct bpull_disk *disk = snap_open("top", 0);

	create.format = BPULL_FORMAT_RAW;
	cr_expect_eq(snap_try(disk, "one", &create, 0), -EINVAL);
	create.format = BPULL_FORMAT_QCOW2;
	create.virtual_size = 2 * SNAP_LEN;
	cr_expect_eq(snap_try(disk, "one", &create, 0), -EINVAL);
	create.virtual_size = SNAP_LEN;
	create.backing_format = BPULL_FORMAT_RAW;
	cr_expect_eq(snap_try(disk, "one", &create, 0), -EINVAL);
	create.backing_format = BPULL_FORMAT_QCOW2;
	create.cluster_size = 777;
	cr_expect_eq(snap_try(disk, "one", &create, 0), -EINVAL, "%s", error.message);
	create.cluster_size = 4096;
	cr_expect_eq(snap_try(disk, "one", &create, BPULL_SNAPSHOT_EXISTING), -EINVAL);
	cr_expect_eq(snap_try(disk, "one", &create, 2), -EINVAL);
	create.empty = 1;
	cr_expect_eq(snap_try(disk, "one", &create, 0), -EINVAL);
	create.empty = 0;
	cr_expect_eq(scratch_n_files(), 2);
	cr_expect_eq(snap_try(disk, "one", &create, 0), 0, "%s", error.message);
	bpull_disk_close(disk);
}

/* ---- several disks ---- */

static void take_both(struct bpull_disk *a, struct bpull_disk *b, const char *first,
		      const char *second, int want)
{
	struct bpull_snapshot both[2] = {
		{ .size = sizeof(both[0]), .disk = a, .path = scratch(first) },
		{ .size = sizeof(both[0]), .disk = b, .path = scratch(second) },
	};

	cr_assert_eq(bpull_disk_snapshot(both, 2, &error), want, "%d: %s", error.code,
		     error.message);
}

Test(snapshot, all_disks_or_none)
{
	struct bpull_disk *a = snap_open("top", 0), *b;

	make_overlay("other", BPULL_FORMAT_QCOW2, "base");
	b = snap_open("other", 0);
	snap_put(a, 0x11, 0, MiB);
	snap_put(b, 0x12, 0, MiB);
	take_both(a, b, "one", "base", -EEXIST);
	take_both(a, b, "one", "one", -EEXIST);
	take_both(a, b, "one", "gone/two", -ENOENT);
	take_both(a, a, "one", "gone/two", -ENOENT);
	take_both(a, a, "one", "one", -EEXIST);
	cr_expect_eq(scratch_n_files(), 3, "something was left");
	cr_expect_eq(bpull_disk_depth(a), 2);
	snap_put(a, 0x13, 4096, 4096);
	cr_expect_eq(snap_qemu_io("-r", "top", "read 0 4k"), 1, "it is not a writer's any more");
	take_both(a, b, "one", "two", 0);
	cr_expect_eq(bpull_disk_depth(a), 3);
	cr_expect_eq(bpull_disk_depth(b), 3);
	snap_put(a, 0x21, 0, 4096);
	snap_put(b, 0x22, 0, 4096);
	bpull_disk_close(a);
	bpull_disk_close(b);
	snap_judge("top", 0x13, 4096);
	snap_judge("top", 0x11, 0);
	snap_judge("other", 0x12, 0);
	snap_judge("one", 0x21, 0);
	snap_judge("two", 0x22, 0);
}
