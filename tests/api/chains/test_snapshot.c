/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Snapshots of open disks, on real files: what the guest reads, what each image holds by itself,
 * who may have which file, and what is left when one is refused. QEMU's tools judge the images.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
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

Test(snapshot, of_a_raw_disk)
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

Test(snapshot, of_each_format_in_each)
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
Test(snapshot, without_a_guest)
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

/* ---- names ---- */

Test(snapshot, the_name_of_the_old_image)
{
	struct bpull_create_options create = { .size = sizeof(create) };
	char sub[600], want[600];
	struct bpull_disk *disk = snap_open("top", 0);

	snprintf(sub, sizeof(sub), "%s", scratch("sub"));
	cr_assert_eq(mkdir(sub, 0777), 0);
	snap_take(disk, "sub/one");
	snap_link("sub/one", scratch("top"), "qcow2");
	snap_take(disk, "sub/a:b");
	snap_link("sub/a:b", "one", "qcow2");
	snap_take(disk, "sub/three");
	snap_link("sub/three", "./a:b", "qcow2");
	/* The name that the program wants, where it leads there. */
	create.backing_name = "three";
	cr_expect_eq(snap_try(disk, "four", &create, 0), -EINVAL);
	cr_expect(strstr(error.message, "three"), "%s", error.message);
	create.backing_name = "nbd:three";
	cr_expect_eq(snap_try(disk, "four", &create, 0), -EINVAL);
	create.backing_name = "sub/../sub/three";
	cr_assert_eq(snap_try(disk, "four", &create, 0), 0, "%s", error.message);
	snap_link("four", "sub/../sub/three", "qcow2");
	bpull_disk_close(disk);
	snprintf(want, sizeof(want), "%s", scratch("four"));
	cr_expect_eq(qemu_img_run(NULL, 0, "qemu-img info --backing-chain %s", want), 0);
}

/* A link that is to follow the newest image would make the chain a loop. */
Test(snapshot, links_are_resolved)
{
	struct bpull_disk *disk;

	cr_assert_eq(symlink("top", scratch("current")), 0);
	disk = snap_open("current", 0);
	snap_take(disk, "one");
	snap_link("one", "top", "qcow2");
	bpull_disk_close(disk);
}

Test(snapshot, an_image_that_was_moved_has_no_name)
{
	struct bpull_disk *disk = snap_open("top", 0);

	cr_assert_eq(rename(scratch("top"), scratch("moved")), 0);
	cr_expect_eq(snap_try(disk, "one", NULL, 0), -ESTALE, "%s", error.message);
	scratch_filled("top", 0, 4096);
	cr_expect_eq(snap_try(disk, "one", NULL, 0), -ESTALE, "%s", error.message);
	cr_expect_eq(access(scratch("one"), F_OK), -1);
	snap_put(disk, 0x11, 0, MiB);
	bpull_disk_close(disk);
	snap_judge("moved", 0x11, 0);
}

/* ---- images that exist ---- */

static void make_existing(const char *options, unsigned mib)
{
	unlink(scratch("one"));
	cr_assert_eq(qemu_img_run(NULL, 0, "cd %s && qemu-img create -q -f qcow2 %s one %uM",
				  scratch_dir(), options, mib),
		     0);
}

static int try_existing(struct bpull_disk *disk)
{
	return snap_try(disk, "one", NULL, BPULL_SNAPSHOT_EXISTING);
}

Test(snapshot, with_an_image_that_exists)
{
	struct bpull_disk *disk = snap_open("top", 0);

	snap_put(disk, 0x11, 0, MiB);
	cr_expect_eq(try_existing(disk), -ENOENT, "%s", error.message);
	make_existing("-u -b base -F raw", 8);
	cr_expect_eq(try_existing(disk), -EINVAL, "the base's");
	make_existing("-u -b gone -F qcow2", 8);
	cr_expect_eq(try_existing(disk), -EINVAL, "one that is not there");
	make_existing("", 8);
	cr_expect_eq(try_existing(disk), -EINVAL, "none");
	make_existing("-u -b top -F raw", 8);
	cr_expect_eq(try_existing(disk), -EINVAL, "another format");
	cr_expect(strstr(error.message, "qcow2"), "%s", error.message);
	make_existing("-u -b top -F qcow2", 9);
	cr_expect_eq(try_existing(disk), -EINVAL, "longer");
	make_existing("-u -b top -F qcow2", 8);
	cr_assert_eq(qemu_img_run(NULL, 0,
				  "cd %s && qemu-img rebase -u -b '' one && "
				  "qemu-io -c 'write 5M 4k' one && "
				  "qemu-img rebase -u -b top -F qcow2 one",
				  scratch_dir()),
		     0);
	cr_expect_eq(try_existing(disk), -EINVAL, "data in it");
	cr_expect(strstr(error.message, "0x500000"), "%s", error.message);
	cr_expect_eq(snap_try(disk, "top", NULL, BPULL_SNAPSHOT_EXISTING), -EBUSY);
	cr_expect_eq(bpull_disk_depth(disk), 2);
	cr_expect_eq(access(scratch("one"), F_OK), 0, "it was removed");
	make_existing("-u -b top -F qcow2", 8);
	cr_assert_eq(try_existing(disk), 0, "%s", error.message);
	snap_put(disk, 0x21, 4096, 4096);
	bpull_disk_close(disk);
	snap_judge("one", 0x21, 4096);
	snap_judge("top", 0x11, 4096);
}

/* The guest's writes end what bitmaps say: of this image, too, whatever was written before. */
Test(snapshot, bitmaps_of_an_image_that_exists_end_with_the_first_write)
{
	struct bpull_disk *disk = snap_open("top", 0);
	uint8_t autoclear[2];
	int fd;

	snap_put(disk, 0x11, 0, MiB);
	cr_assert_eq(qemu_img_run(NULL, 0,
				  "cd %s && qemu-img create -q -f qcow2 one 8M && "
				  "qemu-img bitmap --add one b && "
				  "qemu-img rebase -u -b top -F qcow2 one",
				  scratch_dir()),
		     0);
	cr_assert_eq(try_existing(disk), 0, "%s", error.message);
	fd = open(scratch("one"), O_RDONLY);
	cr_assert_eq(pread(fd, &autoclear[0], 1, 95), 1);
	snap_put(disk, 0x21, 0, 4096);
	cr_assert_eq(pread(fd, &autoclear[1], 1, 95), 1);
	close(fd);
	cr_expect_eq(autoclear[0] & 1, 1, "this shows nothing");
	cr_expect_eq(autoclear[1] & 1, 0, "the bitmap is believed still");
	bpull_disk_close(disk);
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
Test(snapshot, a_pull_right_behind_it)
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

Test(snapshot, disks_that_have_none)
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

static int open_in(void *opaque, const struct bpull_open_request *request)
{
	char path[700];

	snprintf(path, sizeof(path), "%s/%s", scratch_dir(), request->name);
	return open(path, request->need == BPULL_OPEN_WRITE ? O_RDWR : O_RDONLY);
}

Test(snapshot, a_disk_whose_files_the_program_opens)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.flags = BPULL_DISK_GUEST_IO,
					.open_file = open_in };
	struct bpull_disk *disk;

	cr_assert_eq(bpull_disk_open(engine, "top", &o, &disk, &error), 0, "%s", error.message);
	cr_expect_eq(snap_try(disk, "one", NULL, 0), -ENOTSUP);
	make_existing("-u -b top -F qcow2", 8);
	cr_expect_eq(try_existing(disk), -ENOTSUP);
	snap_put(disk, 0x11, 0, 4096);
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
	take_both(a, a, "one", "two", -EINVAL);
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
