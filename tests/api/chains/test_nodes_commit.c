/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Commits into the backing files of an open disk, while its guest reads and writes. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tests/api/chains/nodes_rig.h"
#include "tests/support/files/qemu_img.h"
#include "tests/support/files/scratch.h"
#include "tests/support/random.h"

/* ---- commits ---- */

static void commit_beside_a_guest(const char *format, const char *base, uint32_t flags)
{
	struct bpull_disk *disk;
	uint64_t random = 77;

	nodes_make_chain(format);
	disk = nodes_open_disk("top", BPULL_DISK_GUEST_IO);
	nodes_start(disk, (struct bpull_job_options){ .type = BPULL_JOB_TYPE_COMMIT,
						      .base = base,
						      .bandwidth = 16 * MiB,
						      .flags = flags });
	cr_assert_eq(nodes_work_until_over(disk, 5), BPULL_JOB_COMPLETED);
	nodes_expect_disk(disk);
	/* Nor does the old top say anything else, whatever the guest writes. */
	for (unsigned i = 0; i < 50; i++)
		nodes_write_and_read(disk, &random);
	nodes_expect_disk(disk);
	cr_assert_eq(bpull_pflush(disk), 0);
	bpull_disk_close(disk);
	nodes_expect_image(base, !strcmp(base, "base") ? "raw" : format);
	if (!(flags & BPULL_JOB_KEEP))
		nodes_expect_image("top", format);
}

Test(nodes, an_image_is_committed_into_the_next_one)
{
	commit_beside_a_guest("qcow2", "a", 0);
}

Test(nodes, a_chain_is_committed_into_a_raw_base)
{
	commit_beside_a_guest("qcow2", "base", 0);
}

Test(nodes, a_qed_chain_is_committed)
{
	commit_beside_a_guest("qed", "c", 0);
}

Test(nodes, an_image_may_be_kept)
{
	commit_beside_a_guest("qcow2", "c", BPULL_JOB_KEEP);
}

Test(nodes, backing_files_are_committed_beside_a_guest)
{
	struct bpull_disk *disk;

	nodes_make_chain("qcow2");
	disk = nodes_open_disk("top", BPULL_DISK_GUEST_IO);
	nodes_start(disk, (struct bpull_job_options){ .type = BPULL_JOB_TYPE_COMMIT,
						      .top = "a",
						      .base = "c",
						      .bandwidth = 16 * MiB });
	cr_assert_eq(nodes_work_until_over(disk, 6), BPULL_JOB_COMPLETED);
	cr_assert_eq(bpull_disk_depth(disk), 3);
	nodes_expect_disk(disk);
	nodes_expect_backing("top", "c");
	/* One more, in the middle: "c" is only read again. */
	nodes_start(disk, (struct bpull_job_options){ .type = BPULL_JOB_TYPE_COMMIT, .top = "c" });
	cr_assert_eq(nodes_work_until_over(disk, 7), BPULL_JOB_COMPLETED);
	nodes_expect_backing("top", "base");
	nodes_expect_disk(disk);
	bpull_disk_close(disk);
	nodes_expect_image("top", "qcow2");
}

/* The link that changes is that of a backing file, which is a node, too. */
Test(nodes, the_middle_of_a_chain_is_committed)
{
	struct bpull_disk *disk;

	nodes_make_chain("qcow2");
	disk = nodes_open_disk("top", BPULL_DISK_GUEST_IO);
	nodes_start(disk, (struct bpull_job_options){
				  .type = BPULL_JOB_TYPE_COMMIT, .top = "b", .base = "base" });
	cr_assert_eq(nodes_work_until_over(disk, 8), BPULL_JOB_COMPLETED);
	cr_assert_eq(bpull_disk_depth(disk), 3);
	nodes_expect_backing("a", "base");
	nodes_expect_disk(disk);
	bpull_disk_close(disk);
	nodes_expect_image("top", "qcow2");
}

Test(nodes, a_commit_waits_for_finalize_and_can_be_aborted)
{
	struct bpull_job_info info = { .size = sizeof(info) };
	struct bpull_disk *disk;
	uint64_t random = 9;

	nodes_make_chain("qcow2");
	for (int aborts = 1; aborts >= 0; aborts--) {
		disk = nodes_open_disk("top", BPULL_DISK_GUEST_IO);
		nodes_start(disk, (struct bpull_job_options){ .type = BPULL_JOB_TYPE_COMMIT,
							      .flags = BPULL_JOB_MANUAL_FINALIZE });
		do {
			nodes_write_and_read(disk, &random);
			cr_assert_eq(bpull_job_get_info(disk, &info), 1);
		} while (info.state != BPULL_JOB_WAITING);
		cr_assert_eq(info.type, BPULL_JOB_TYPE_ACTIVE_COMMIT);
		for (unsigned i = 0; i < 30; i++)
			nodes_write_and_read(disk, &random);
		cr_assert_eq(aborts ? bpull_job_abort(disk) : bpull_job_finalize(disk), 0);
		cr_assert_eq(nodes_work_until_over(disk, 10),
			     aborts ? BPULL_JOB_CANCELED : BPULL_JOB_COMPLETED);
		cr_assert_eq(bpull_disk_depth(disk), aborts ? 5 : 4);
		nodes_expect_disk(disk);
		bpull_disk_close(disk);
		nodes_expect_image("top", "qcow2");
	}
	nodes_expect_image("a", "qcow2");
}

/* Neither the file that the bytes go to nor the one whose link would have changed. */
Test(nodes, an_aborted_commit_in_the_middle_refuses_no_later_one)
{
	const struct bpull_job_options o = {
		.type = BPULL_JOB_TYPE_COMMIT, .top = "b", .base = "base", .bandwidth = MiB
	};
	struct bpull_disk *disk;

	nodes_make_chain("qcow2");
	disk = nodes_open_disk("top", BPULL_DISK_GUEST_IO);
	nodes_start(disk, o);
	usleep(300000);
	cr_assert_eq(bpull_job_abort(disk), 0);
	cr_assert_eq(nodes_work_until_over(disk, 2), BPULL_JOB_CANCELED);
	nodes_start(disk,
		    (struct bpull_job_options){ .type = o.type, .top = o.top, .base = o.base });
	cr_assert_eq(nodes_work_until_over(disk, 3), BPULL_JOB_COMPLETED);
	nodes_expect_disk(disk);
	bpull_disk_close(disk);
	nodes_expect_image("top", "qcow2");
}

/* A paused commit keeps no guest waiting, and goes on when it is resumed. */
Test(nodes, a_commit_that_is_paused_before_its_end_goes_on)
{
	struct bpull_job_info info = { .size = sizeof(info) };
	struct bpull_disk *disk;
	uint64_t random = 11;

	nodes_make_chain("qcow2");
	disk = nodes_open_disk("top", BPULL_DISK_GUEST_IO);
	nodes_start(disk, (struct bpull_job_options){ .type = BPULL_JOB_TYPE_COMMIT,
						      .flags = BPULL_JOB_MANUAL_FINALIZE });
	do
		cr_assert_eq(bpull_job_get_info(disk, &info), 1);
	while (info.state != BPULL_JOB_WAITING);
	cr_assert_eq(bpull_job_pause(disk), 0);
	cr_assert_eq(bpull_job_finalize(disk), 0);
	for (unsigned i = 0; i < 30; i++)
		nodes_write_and_read(disk, &random);
	cr_assert_eq(bpull_job_resume(disk), 0);
	cr_assert_eq(nodes_work_until_over(disk, 12), BPULL_JOB_COMPLETED);
	nodes_expect_disk(disk);
	bpull_disk_close(disk);
	nodes_expect_image("a", "qcow2");
}

static struct bpull_disk *mapped;
static atomic_bool is_over;

static void *map_on_and_on(void *opaque)
{
	struct bpull_extent extents[64];

	while (!is_over)
		for (uint64_t at = 0; at < LEN;) {
			int n = bpull_disk_map(mapped, at, extents, 64, NULL);

			if (n <= 0)
				break;
			at = extents[n - 1].start + extents[n - 1].length;
		}
	return opaque;
}

/* The layers that such a call walks go when it has ended. */
Test(nodes, a_disk_is_mapped_while_its_image_changes)
{
	pthread_t thread;

	for (unsigned i = 0; i < 4; i++) {
		nodes_make_chain("qcow2");
		mapped = nodes_open_disk("top", BPULL_DISK_GUEST_IO);
		is_over = false;
		cr_assert_eq(pthread_create(&thread, NULL, map_on_and_on, NULL), 0);
		nodes_start(mapped, (struct bpull_job_options){ .type = BPULL_JOB_TYPE_COMMIT,
								.base = i % 2 ? "c" : "a" });
		cr_assert_eq(nodes_work_until_over(mapped, 13 + i), BPULL_JOB_COMPLETED);
		is_over = true;
		pthread_join(thread, NULL);
		nodes_expect_disk(mapped);
		bpull_disk_close(mapped);
		for (unsigned k = 0; k < 5; k++)
			unlink(scratch((const char *[]){ "base", "c", "b", "a", "top" }[k]));
	}
}

/* ---- a guest that gives no rest ---- */

#define BUSY_LEN (96u * MiB)

static struct bpull_disk *busy;

static void *write_on_and_on(void *opaque)
{
	uint8_t *bytes = malloc(MiB);

	for (unsigned i = 0; !is_over; i++) {
		memset(bytes, (int)(1 + i % 255), MiB);
		cr_assert_eq(bpull_pwrite(busy, bytes, MiB, i % (BUSY_LEN / MiB) * MiB, 0), 0);
	}
	free(bytes);
	return opaque;
}

/* It writes all of the disk over and over, faster than the job may copy. */
Test(nodes, a_commit_comes_to_its_end_beside_a_guest_that_writes_on_and_on)
{
	pthread_t thread;

	cr_assert_eq(qemu_img_run(NULL, 0,
				  "cd %s && qemu-img create -q -f qcow2 a 96M && "
				  "qemu-img create -q -f qcow2 -b a -F qcow2 top",
				  scratch_dir()),
		     0);
	busy = nodes_open_disk("top", BPULL_DISK_GUEST_IO);
	is_over = false;
	cr_assert_eq(pthread_create(&thread, NULL, write_on_and_on, NULL), 0);
	usleep(200000);
	nodes_start(busy, (struct bpull_job_options){ .type = BPULL_JOB_TYPE_COMMIT,
						      .bandwidth = 96u * MiB });
	cr_assert_eq(bpull_job_wait(busy, -1), 0);
	cr_assert_eq(bpull_disk_depth(busy), 1);
	is_over = true;
	pthread_join(thread, NULL);
	bpull_disk_close(busy);
	cr_assert_eq(qemu_img_run(NULL, 0, "qemu-img check -q -f qcow2 %s", scratch("a")), 0);
}

/* What the image above holds, too, is copied by a commit, and not by a pull. */
Test(nodes, a_commit_knows_what_its_deadline_asks_for)
{
	struct bpull_job_info info = { .size = sizeof(info) };
	uint64_t needed = 0;
	struct bpull_disk *disk;

	cr_assert_eq(qemu_img_run(NULL, 0,
				  "cd %s && qemu-img create -q -f qcow2 base 8M && "
				  "qemu-img create -q -f qcow2 -b base -F qcow2 a && "
				  "qemu-io -f qcow2 -c 'write -P 1 0 8M' a && "
				  "qemu-img create -q -f qcow2 -b a -F qcow2 top && "
				  "qemu-io -f qcow2 -c 'write -P 2 0 8M' top",
				  scratch_dir()),
		     0);
	disk = nodes_open_disk("top", BPULL_DISK_GUEST_IO);
	nodes_start(disk, (struct bpull_job_options){ .type = BPULL_JOB_TYPE_COMMIT,
						      .top = "a",
						      .within_ns = UINT64_C(2000000000) });
	do {
		cr_assert_eq(bpull_job_get_info(disk, &info), 1);
		needed = info.needed_rate > needed ? info.needed_rate : needed;
	} while (info.state != BPULL_JOB_CONCLUDED);
	cr_assert_eq(info.status, BPULL_JOB_COMPLETED);
	cr_assert_geq(needed, 1 * MiB, "%u bytes/s", (unsigned)needed);
	bpull_disk_close(disk);
}
