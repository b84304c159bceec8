/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Snapshots of open disks, on real files: what the guest reads, what each image holds by itself,
 * who may have which file, and what is left when one is refused. QEMU's tools judge the images.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/api/chains/snapshot_rig.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/qemu_img.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(60);
TestSuite(snapshot, .init = snap_begin, .fini = snap_end, .timeout = TIME_LIMIT_CLOCK(60));

/* ---- what it is ---- */

Test(snapshot, a_new_overlay_takes_the_writes_and_the_old_image_stays)
{
	struct bpull_disk *disk = snap_open("top", 0);

	snap_put(disk, 0x11, 0, MiB);
	snap_put(disk, 0x12, 3 * MiB + 512, 4096);
	snap_take(disk, "one");
	cr_assert_eq(bpull_disk_depth(disk), 3);
	cr_assert_eq(bpull_disk_size(disk), SNAP_LEN);
	snap_expect(disk, 0x11, 0);
	snap_expect(disk, 0x5a, 2 * MiB);
	snap_put(disk, 0x21, 4096, 8192);
	snap_put(disk, 0x22, 5 * MiB, MiB);
	snap_expect(disk, 0x11, 0);
	snap_expect(disk, 0x21, 4096);
	snap_take(disk, "two");
	snap_put(disk, 0x31, 0, 4096);
	cr_assert_eq(bpull_disk_depth(disk), 4);
	bpull_disk_close(disk);

	snap_judge("top", 0x11, 0);
	snap_judge("top", 0x11, 4096);
	snap_judge("top", 0x5a, 5 * MiB);
	snap_judge("one", 0x11, 0);
	snap_judge("one", 0x21, 4096);
	snap_judge("one", 0x22, 5 * MiB);
	snap_judge("two", 0x31, 0);
	snap_judge("two", 0x21, 4096);
	snap_judge("two", 0x12, 3 * MiB + 512);
	snap_link("two", "one", "qcow2");
	snap_link("one", "top", "qcow2");
}

Test(snapshot, others_may_read_the_old_image_and_not_write_it)
{
	struct bpull_disk *disk = snap_open("top", 0);

	snap_put(disk, 0x11, 0, MiB);
	cr_assert_eq(snap_qemu_io("-r", "top", "read 0 4k"), 1, "this shows nothing");
	snap_take(disk, "one");
	cr_expect_eq(snap_qemu_io("-r", "top", "read -P 0x11 0 1M"), 0, "it can't be read");
	cr_expect_eq(snap_qemu_io("", "top", "write 0 4k"), 1, "it can be written");
	cr_expect_eq(snap_qemu_io("-r", "one", "read 0 4k"), 1, "the new one is not locked");
	bpull_disk_close(disk);
	cr_expect_eq(snap_qemu_io("", "one", "write 0 4k"), 0, "it is locked still");
}

/* ... and so may disks of the same engine. */
Test(snapshot, the_old_image_can_be_the_base_of_another_disk)
{
	struct bpull_disk *disk = snap_open("top", 0), *clone;

	snap_put(disk, 0x11, 0, MiB);
	snap_take(disk, "one");
	cr_assert_eq(qemu_img_run(NULL, 0,
				  "cd %s && qemu-img create -q -f qcow2 -F qcow2 -b top clone",
				  scratch_dir()),
		     0);
	clone = snap_open("clone", 0);
	snap_put(disk, 0x21, 0, 4096);
	snap_put(clone, 0x41, 4096, 4096);
	snap_expect(clone, 0x11, 0);
	snap_expect(disk, 0x11, 4096);
	bpull_disk_close(clone);
	bpull_disk_close(disk);
}

Test(snapshot, a_raw_disk_can_have_one)
{
	struct bpull_disk *disk = snap_open_as("base", 0, BPULL_FORMAT_RAW);

	snap_put(disk, 0x11, 0, MiB);
	snap_take(disk, "one");
	cr_assert_eq(bpull_disk_depth(disk), 2);
	snap_put(disk, 0x21, 4096, 4096);
	snap_expect(disk, 0x11, 0);
	snap_expect(disk, 0x21, 4096);
	cr_assert_eq(bpull_pdiscard(disk, 2 * MiB, MiB), 0);
	bpull_disk_close(disk);
	snap_link("one", "base", "raw");
	snap_judge_as("base", "raw", 0x11, 4096);
	snap_judge("one", 0x21, 4096);
}

Test(snapshot, of_a_raw_disk_of_odd_length)
{
	struct bpull_disk *disk;

	cr_assert_eq(truncate(scratch("base"), SNAP_LEN - 100), 0);
	disk = snap_open_as("base", 0, BPULL_FORMAT_RAW);
	cr_assert_eq(bpull_disk_size(disk), SNAP_LEN - 100);
	snap_take(disk, "one");
	cr_assert_eq(bpull_disk_size(disk), SNAP_LEN);
	snap_put(disk, 0x31, SNAP_LEN - 512, 512);
	bpull_disk_close(disk);
	snap_judge("one", 0x5a, SNAP_LEN - 4096 - 512);
}

static void each_format(enum bpull_format old, enum bpull_format fresh, uint32_t cluster_len)
{
	struct bpull_create_options create = { .size = sizeof(create),
					       .format = fresh,
					       .cluster_size = cluster_len };
	struct bpull_disk *disk;

	unlink(scratch("top"));
	unlink(scratch("one"));
	make_overlay("top", old, "base");
	disk = snap_open("top", 0);
	snap_put(disk, 0x11, 0, MiB);
	cr_assert_eq(snap_try(disk, "one", &create, 0), 0, "%s", error.message);
	snap_put(disk, 0x21, 4096, 4096);
	snap_expect(disk, 0x11, 0);
	snap_expect(disk, 0x5a, 2 * MiB);
	snap_expect(disk, 0x21, 4096);
	bpull_disk_close(disk);
	snap_judge_as("top", bpull_format_name(old), 0x11, 4096);
	snap_judge_as("one", bpull_format_name(fresh), 0x21, 4096);
}

Test(snapshot, each_format_can_lie_on_each)
{
	each_format(BPULL_FORMAT_QED, BPULL_FORMAT_QCOW2, 0);
	each_format(BPULL_FORMAT_QED, BPULL_FORMAT_QED, 4096);
	each_format(BPULL_FORMAT_QCOW2, BPULL_FORMAT_QED, 1u << 20);
	each_format(BPULL_FORMAT_QCOW2, BPULL_FORMAT_QCOW2, 512);
	each_format(BPULL_FORMAT_QCOW2, BPULL_FORMAT_QCOW2, 2u << 20);
}

Test(snapshot, of_a_disk_with_a_data_file)
{
	struct bpull_disk *disk;

	unlink(scratch("top"));
	cr_assert_eq(qemu_img_run(NULL, 0,
				  "cd %s && qemu-img create -q -f qcow2 -F raw -b base -o "
				  "data_file=data top",
				  scratch_dir()),
		     0);
	disk = snap_open("top", 0);
	snap_put(disk, 0x11, 0, MiB);
	snap_take(disk, "one");
	snap_put(disk, 0x21, 4096, 4096);
	snap_expect(disk, 0x11, 0);
	cr_expect_eq(qemu_img_run(NULL, 0,
				  "cd %s && qemu-io -r -f qcow2 -c 'read -P 0x11 0 1M' top",
				  scratch_dir()),
		     0, "the data file is locked as a writer's");
	bpull_disk_close(disk);
	cr_expect_eq(qemu_img_run(NULL, 0,
				  "cd %s && qemu-io -r -f qcow2 -c 'read -P 0x11 4k 4k' top",
				  scratch_dir()),
		     0);
}

/* Its flags hold for the new image. */
Test(snapshot, a_pull_and_copy_on_read_go_into_the_new_image)
{
	struct bpull_disk *disk = snap_open("top", BPULL_DISK_COPY_ON_READ | BPULL_DISK_DIRECT);
	struct bpull_job_options o = { .size = sizeof(o) };
	struct bpull_extent extents[4];
	struct bpull_event event;

	snap_put(disk, 0x11, 0, MiB);
	snap_take(disk, "one");
	snap_expect(disk, 0x11, 0);
	do { /* the copy follows the read */
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		cr_assert_geq(bpull_disk_map(disk, 0, extents, 4, &error), 1);
	} while (extents[0].depth);
	cr_assert_eq(bpull_job_start(disk, &o, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_job_wait(disk, 30000), 0);
	cr_assert_eq(bpull_engine_wait(engine, &event, 1, 10000), 1);
	cr_assert_eq(event.status, BPULL_JOB_COMPLETED, "%s", event.message);
	cr_assert_eq(bpull_disk_depth(disk), 1);
	cr_expect_eq(snap_qemu_io("", "top", "write -P 0x77 0 4k"), 0, "it is not its owner's");
	snap_expect(disk, 0x11, 0);
	/* And a new one on what stands alone now. */
	snap_take(disk, "two");
	snap_put(disk, 0x31, 0, 4096);
	bpull_disk_close(disk);
	snap_link("two", "one", "qcow2");
	snap_judge("one", 0x11, 0);
	snap_judge("two", 0x31, 0);
}

Test(snapshot, the_new_image_has_the_mode_of_the_old_one)
{
	struct bpull_disk *disk;
	struct stat st;

	cr_assert_eq(chmod(scratch("top"), 0640), 0);
	disk = snap_open("top", 0);
	snap_take(disk, "one");
	cr_assert_eq(stat(scratch("one"), &st), 0);
	cr_expect_eq(st.st_mode & 07777, 0640, "%o", st.st_mode);
	bpull_disk_close(disk);
}

/* A disk that no guest uses: its jobs alone write to it. */
Test(snapshot, a_disk_without_a_guest_can_have_one)
{
	struct bpull_disk_options o = { .size = sizeof(o) };
	struct bpull_job_options job = { .size = sizeof(job) };
	struct bpull_disk *disk;

	cr_assert_eq(bpull_disk_open(engine, scratch("top"), &o, &disk, &error), 0);
	snap_take(disk, "one");
	cr_assert_eq(bpull_job_start(disk, &job, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_job_wait(disk, 30000), 0);
	bpull_disk_close(disk);
	snap_judge("one", 0x5a, 2 * MiB);
	cr_expect_eq(snap_qemu_io("", "top", "write 0 4k"), 0);
}

/* ---- watched ---- */

Test(snapshot, a_change_of_the_old_image_is_noticed)
{
	struct bpull_disk *disk = snap_open("top", 0);
	struct bpull_job_options o = { .size = sizeof(o) };
	struct bpull_event event;
	int fd;

	snap_put(disk, 0x11, 0, MiB);
	snap_take(disk, "one");
	fd = open(scratch("top"), O_WRONLY);
	cr_assert_eq(pwrite(fd, "x", 1, 200000), 1);
	close(fd);
	cr_assert_eq(bpull_job_start(disk, &o, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_engine_wait(engine, &event, 1, 30000), 1);
	cr_expect_eq(event.status, BPULL_JOB_FAILED);
	cr_expect_eq(event.error, -ESTALE, "%s", event.message);
	bpull_disk_close(disk);
}

/* What we have written to it ourselves is no change. */
Test(snapshot, a_pull_right_behind_one_finds_no_change)
{
	struct bpull_job_options o = { .size = sizeof(o) };

	for (unsigned i = 0; i < 10; i++) {
		char name[16];
		struct bpull_disk *disk = snap_open("top", 0);
		struct bpull_event event;

		snprintf(name, sizeof(name), "one-%u", i);
		snap_put(disk, 0x11 + (int)i, i * 65536, 65536);
		snap_take(disk, name);
		cr_assert_eq(bpull_job_start(disk, &o, &error), 0, "%s", error.message);
		cr_assert_eq(bpull_engine_wait(engine, &event, 1, 30000), 1);
		cr_assert_eq(event.status, BPULL_JOB_COMPLETED, "%s", event.message);
		bpull_disk_close(disk);
		snap_judge(name, 0x11 + (int)i, i * 65536);
	}
}
