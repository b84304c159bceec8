/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Snapshots of open disks: the names that new images record, and images that existed before. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/api/chains/snapshot_rig.h"
#include "tests/support/files/qemu_img.h"
#include "tests/support/files/scratch.h"

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

Test(snapshot, an_image_that_exists_must_name_the_one_below)
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

/* Each on the one before, one of them there already; only the last one is written to. */
Test(snapshot, several_of_one_disk_lie_on_each_other)
{
	struct bpull_create_options qed = { .size = sizeof(qed), .format = BPULL_FORMAT_QED };
	struct bpull_disk *disk = snap_open("top", 0);
	struct bpull_snapshot s[3] = {
		{ .size = sizeof(s[0]), .disk = disk, .path = strdupa(scratch("first")) },
		{ .size = sizeof(s[0]),
		  .disk = disk,
		  .path = strdupa(scratch("one")),
		  .flags = BPULL_SNAPSHOT_EXISTING },
		{ .size = sizeof(s[0]),
		  .disk = disk,
		  .path = strdupa(scratch("last")),
		  .create = &qed },
	};

	snap_put(disk, 0x11, 0, MiB);
	make_existing("-u -b top -F qcow2", 8);
	cr_expect_eq(bpull_disk_snapshot(s, 3, &error), -EINVAL, "it names another");
	make_existing("-u -b first -F qcow2", 8);
	cr_expect_eq(bpull_disk_snapshot(s + 1, 2, &error), -EINVAL,
		     "the one that it names is missing");
	qed.backing_format = BPULL_FORMAT_RAW;
	cr_expect_eq(bpull_disk_snapshot(s, 3, &error), -EINVAL);
	cr_expect(strstr(error.message, "qcow2"), "%s", error.message);
	cr_expect_eq(bpull_disk_depth(disk), 2);
	cr_expect_eq(scratch_n_files(), 3, "something was left");
	qed.backing_format = BPULL_FORMAT_QCOW2;
	cr_assert_eq(bpull_disk_snapshot(s, 3, &error), 0, "%s", error.message);
	cr_expect_eq(bpull_disk_depth(disk), 5);
	snap_put(disk, 0x21, 4096, 4096);
	snap_expect(disk, 0x11, 0);
	cr_expect_eq(snap_qemu_io("-r", "one", "read -P 0x11 4k 4k"), 0, "others read it");
	cr_expect_eq(snap_qemu_io("", "one", "write 0 4k") != 0, true, "it is locked");
	cr_expect_eq(snap_qemu_io("", "top", "write 0 4k") != 0, true, "it is locked");
	snap_take(disk, "next");
	bpull_disk_close(disk);
	snap_judge("next", 0x21, 4096);
	snap_judge_as("last", "qed", 0x21, 4096);
	snap_judge("one", 0x11, 4096);
	snap_judge("first", 0x11, 4096);
	snap_link("first", "top", "qcow2");
	snap_link("one", "first", "qcow2");
}

/* And may have what qcow2 images have. */
Test(snapshot, a_new_image_is_qcow2_where_its_format_is_left_open)
{
	struct bpull_create_options create = { .size = sizeof(create), .version = 3, .zstd = 1 };
	struct bpull_disk *disk = snap_open("top", 0);

	cr_assert_eq(snap_try(disk, "new", &create, 0), 0, "%s", error.message);
	snap_put(disk, 0x21, 0, 4096);
	bpull_disk_close(disk);
	snap_judge("new", 0x21, 0);
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
	cr_expect(strstr(error.message, "hand that over"), "%s", error.message);
	snap_put(disk, 0x11, 0, 4096);
	bpull_disk_close(disk);
}

/* What was asked for, in that order: w: to be written, r: to be read, l: for locks. */
struct asked {
	char words[8];
	unsigned n;
	const char *other; /* the file that is given for "top" when it is only read; NULL: itself */
};

static int open_asked(void *opaque, const struct bpull_open_request *request)
{
	struct asked *asked = opaque;
	struct bpull_open_request to = *request;
	int fd;

	if (asked->n < sizeof(asked->words) - 1)
		asked->words[asked->n++] = "?rwl"[request->need];
	if (request->need == BPULL_OPEN_READ && asked->other)
		to.name = asked->other;
	fd = open_in(NULL, &to);
	return fd < 0 ? -errno : fd;
}

static int try_handed(struct bpull_disk *disk, struct asked *asked, uint32_t flags)
{
	struct bpull_snapshot s = { .size = sizeof(s),
				    .disk = disk,
				    .path = "one",
				    .flags = flags,
				    .open_file = open_asked,
				    .open_opaque = asked };

	return bpull_disk_snapshot(&s, 1, &error);
}

Test(snapshot, an_overlay_that_the_program_hands_over)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.flags = BPULL_DISK_GUEST_IO,
					.open_file = open_in };
	struct asked asked = { 0 }, other = { .other = "base" };
	struct bpull_disk *disk;

	cr_assert_eq(bpull_disk_open(engine, "top", &o, &disk, &error), 0, "%s", error.message);
	snap_put(disk, 0x11, 0, 4096);
	cr_expect_eq(try_handed(disk, &asked, BPULL_SNAPSHOT_EXISTING), -ENOENT);
	make_existing("-u -b top -F qcow2", 8);
	cr_expect_eq(try_handed(disk, &asked, 0), -EINVAL, "nothing is made by a descriptor");
	cr_expect_eq(try_handed(disk, &other, BPULL_SNAPSHOT_EXISTING), -EINVAL,
		     "the name leads elsewhere");
	snap_put(disk, 0x12, 0, 4096);
	asked = (struct asked){ 0 };
	cr_assert_eq(try_handed(disk, &asked, BPULL_SNAPSHOT_EXISTING), 0, "%s", error.message);
	cr_expect(!strcmp(asked.words, "wr") || !strcmp(asked.words, "wlr"), "%s", asked.words);
	cr_expect_eq(bpull_disk_depth(disk), 3);
	snap_put(disk, 0x13, 8192, 4096);
	snap_expect(disk, 0x12, 0);
	snap_expect(disk, 0x13, 8192);
	cr_expect_eq(snap_qemu_io("", "one", "write -P 0x44 0 4k") != 0, true, "it is locked");
	bpull_disk_close(disk);
	cr_expect_eq(snap_qemu_io("", "one", "read -P 0x13 8192 4k"), 0);
	cr_expect_eq(snap_qemu_io("", "top", "read -P 0x12 0 4k"), 0);
}

Test(snapshot, a_disk_with_names_takes_no_descriptor)
{
	struct bpull_disk *disk = snap_open("top", 0);
	struct asked asked = { 0 };

	make_existing("-u -b top -F qcow2", 8);
	cr_expect_eq(try_handed(disk, &asked, BPULL_SNAPSHOT_EXISTING), -EINVAL);
	cr_expect_eq(asked.n, 0);
	bpull_disk_close(disk);
}
