/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Jobs on the backing files of an open disk, while its guest reads and writes: what every image
 * reads, and QEMU's tools as the judge.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tests/api/chains/nodes_rig.h"
#include "tests/support/files/qemu_img.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

TIME_LIMIT(60);
TestSuite(nodes, .init = nodes_set_up, .fini = nodes_tear_down, .timeout = TIME_LIMIT_CLOCK(60));

static void compact_beside_a_guest(const char *format)
{
	struct bpull_disk *disk;

	nodes_make_chain(format);
	disk = nodes_open_disk("top", BPULL_DISK_GUEST_IO);
	nodes_start(disk,
		    (struct bpull_job_options){ .top = "a", .base = "base", .bandwidth = 8 * MiB });
	cr_assert_eq(nodes_work_until_over(disk, 1), BPULL_JOB_COMPLETED);
	cr_assert_eq(bpull_disk_depth(disk), 3);
	nodes_expect_backing("a", "base");
	/* They are their owner's again. */
	cr_assert_eq(qemu_img_run(NULL, 0, "qemu-io -f %s -c 'write -P 0xee 0 8M' %s", format,
				  scratch("b")),
		     0);
	nodes_expect_disk(disk);
	/* And that one is read only again. */
	cr_assert_neq(
		qemu_img_run(NULL, 0, "qemu-io -f %s -c 'write 0 512' %s", format, scratch("a")),
		0);
	cr_assert_eq(bpull_pflush(disk), 0);
	bpull_disk_close(disk);
	nodes_expect_image("top", format);
}

Test(nodes, a_qcow2_chain_is_compacted_beside_a_guest)
{
	compact_beside_a_guest("qcow2");
}

Test(nodes, a_qed_chain_is_compacted_beside_a_guest)
{
	compact_beside_a_guest("qed");
}

/* Down to the last file: nothing is below the upper one then. */
Test(nodes, a_stretch_may_reach_the_end_of_the_chain)
{
	struct bpull_disk *disk;

	nodes_make_chain("qcow2");
	disk = nodes_open_disk("top", BPULL_DISK_READ_ONLY | BPULL_DISK_GUEST_IO);
	nodes_start(disk, (struct bpull_job_options){ .top = "b" });
	while (bpull_job_wait(disk, -1))
		;
	nodes_expect_disk(disk);
	cr_assert_eq(bpull_disk_depth(disk), 3);
	bpull_disk_close(disk);
	nodes_expect_backing("b", "");
	nodes_expect_image("top", "qcow2");
}

Test(nodes, an_aborted_compaction_leaves_the_chain_and_goes_on_later)
{
	struct bpull_disk *disk;

	nodes_make_chain("qcow2");
	disk = nodes_open_disk("top", BPULL_DISK_GUEST_IO);
	nodes_start(disk,
		    (struct bpull_job_options){ .top = "a", .base = "base", .bandwidth = MiB });
	usleep(300000);
	cr_assert_eq(bpull_job_abort(disk), 0);
	cr_assert_eq(nodes_work_until_over(disk, 2), BPULL_JOB_CANCELED);
	cr_assert_eq(bpull_disk_depth(disk), 5);
	nodes_expect_backing("a", "b");
	nodes_expect_disk(disk);
	nodes_start(disk, (struct bpull_job_options){ .top = "a", .base = "base" });
	cr_assert_eq(nodes_work_until_over(disk, 3), BPULL_JOB_COMPLETED);
	nodes_expect_disk(disk);
	/* The image itself has a job like any other. */
	nodes_start(disk, (struct bpull_job_options){ .base = NULL });
	cr_assert_eq(nodes_work_until_over(disk, 4), BPULL_JOB_COMPLETED);
	cr_assert_eq(bpull_disk_depth(disk), 1);
	bpull_disk_close(disk);
	nodes_expect_image("top", "qcow2");
}

/* Between two neighbours there is nothing to copy, and no write could have failed. */
Test(nodes, a_compaction_of_nothing_refuses_no_later_one)
{
	struct bpull_disk *disk;

	nodes_make_chain("qcow2");
	disk = nodes_open_disk("top", BPULL_DISK_GUEST_IO);
	nodes_start(disk, (struct bpull_job_options){ .top = "a", .base = "b" });
	cr_assert_eq(nodes_work_until_over(disk, 1), BPULL_JOB_COMPLETED);
	cr_assert_eq(bpull_disk_depth(disk), 5);
	nodes_start(disk, (struct bpull_job_options){ .top = "a", .base = "base" });
	cr_assert_eq(nodes_work_until_over(disk, 2), BPULL_JOB_COMPLETED);
	cr_assert_eq(bpull_disk_depth(disk), 3);
	nodes_expect_disk(disk);
	bpull_disk_close(disk);
	nodes_expect_image("top", "qcow2");
}

Test(nodes, what_another_has_open_is_not_compacted)
{
	struct bpull_job_options o = { .size = sizeof(o) };
	struct bpull_disk *disk, *other;

	nodes_make_chain("qcow2");
	cr_assert_eq(qemu_img_run(NULL, 0,
				  "cd %s && qemu-img create -q -f qcow2 -b a -F qcow2 clone",
				  scratch_dir()),
		     0);
	disk = nodes_open_disk("top", BPULL_DISK_GUEST_IO);
	other = nodes_open_disk("clone", 0);
	o.top = scratch("a");
	o.base = scratch("base");
	cr_assert_eq(bpull_job_start(disk, &o, &nodes_error), -EBUSY);
	cr_assert(strstr(nodes_error.message, "another disk"), "%s", nodes_error.message);
	bpull_disk_close(other);
	o.top = scratch("clone");
	cr_assert_eq(bpull_job_start(disk, &o, &nodes_error), -EINVAL);
	cr_assert(strstr(nodes_error.message, "not in the backing chain"), "%s",
		  nodes_error.message);
	o.top = scratch("base");
	o.base = NULL;
	cr_assert_eq(bpull_job_start(disk, &o, &nodes_error), 0, "%s: it has nothing to get",
		     nodes_error.message);
	cr_assert_eq(bpull_job_wait(disk, -1), 0);
	bpull_disk_close(disk);
}

/* Closing the disk aborts its job, wherever that runs. */
Test(nodes, a_disk_is_closed_while_its_node_works)
{
	struct bpull_disk *disk;

	nodes_make_chain("qcow2");
	disk = nodes_open_disk("top", BPULL_DISK_GUEST_IO);
	nodes_start(disk, (struct bpull_job_options){ .top = "a", .bandwidth = MiB });
	usleep(50000);
	bpull_disk_close(disk);
	nodes_expect_image("top", "qcow2");
}

/* Whose guest it is that the job gives way to: the image's, wherever the job runs. */
Test(nodes, a_compaction_gives_way_to_the_guest)
{
	struct bpull_job_info info = { .size = sizeof(info) };
	struct bpull_disk *disk;
	uint64_t random = 3, seen = 0;

	nodes_make_chain("qcow2");
	disk = nodes_open_disk("top", BPULL_DISK_GUEST_IO);
	nodes_start(disk, (struct bpull_job_options){ .top = "a",
						      .base = "base",
						      .bandwidth = 2 * MiB,
						      .guest_p99_ns = 50000000 });
	do {
		nodes_write_and_read(disk, &random);
		cr_assert_eq(bpull_job_get_info(disk, &info), 1);
		seen = info.guest_p99_now_ns ? info.guest_p99_now_ns : seen;
	} while (info.state != BPULL_JOB_CONCLUDED);
	cr_assert_eq(info.guest_p99_ns, 50000000);
	cr_assert_gt(seen, 0, "it has looked at no guest");
	bpull_disk_close(disk);
}
