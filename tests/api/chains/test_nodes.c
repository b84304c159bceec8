/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Jobs on the backing files of an open disk, while its guest reads and writes: what every image
 * reads, and QEMU's tools as the judge.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tests/support/files/qemu_img.h"
#include "tests/support/files/scratch.h"
#include "tests/support/random.h"
#include "tests/support/time_limit.h"

#define MiB   (1u << 20)
#define LEN   (8u * MiB)
#define BLOCK 4096u

static struct bpull_engine *engine;
static struct bpull_error error;
static uint8_t *want, *got;

static void set_up(void)
{
	struct bpull_engine_options o = { .size = sizeof(o), .flags = BPULL_ENGINE_THREAD };

	scratch_make();
	if (!qemu_img_installed())
		scratch_skip("qemu-img and qemu-io are not installed");
	want = malloc(LEN);
	got = malloc(LEN);
	cr_assert_eq(bpull_engine_open(&o, &engine, &error), 0, "%s", error.message);
}

static void tear_down(void)
{
	bpull_engine_close(engine);
	free(want);
	free(got);
	scratch_remove();
}

TIME_LIMIT(60);
TestSuite(nodes, .init = set_up, .fini = tear_down, .timeout = TIME_LIMIT_CLOCK(60));

/* Every layer writes its own blocks; `want` is what the top reads then. */
static void write_layer(const char *name, const char *format, unsigned layer)
{
	char command[8192] = "";
	size_t used = 0;

	for (unsigned i = 0; i < 24; i++) {
		unsigned off = (layer * 37 + i * (5 + layer)) % (LEN / (64 * 1024)) * 65536;
		unsigned len = i % 3 ? 65536 : 4096 * (1 + i % 7), byte = 16 * layer + i % 16 + 1;

		used += snprintf(command + used, sizeof(command) - used, " -c 'write -P %u %u %u'",
				 byte, off, len);
		memset(want + off, (int)byte, len);
	}
	cr_assert_eq(qemu_img_run(NULL, 0, "qemu-io -f %s%s %s", format, command, scratch(name)),
		     0);
}

/* "base" (raw) <- "c" <- "b" <- "a" <- "top", of 8 MiB each. */
static void make_chain(const char *format)
{
	const char *names[] = { "base", "c", "b", "a", "top" };

	memset(want, 0, LEN);
	cr_assert_eq(qemu_img_run(NULL, 0, "qemu-img create -q -f raw %s %u", scratch("base"), LEN),
		     0);
	write_layer("base", "raw", 1);
	for (unsigned i = 1; i < 5; i++) {
		cr_assert_eq(qemu_img_run(NULL, 0,
					  "cd %s && qemu-img create -q -f %s -b %s -F %s %s",
					  scratch_dir(), format, names[i - 1],
					  i == 1 ? "raw" : format, names[i]),
			     0);
		write_layer(names[i], format, i + 1);
	}
}

static struct bpull_disk *open_disk(const char *name, uint32_t flags)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.flags = flags,
					.backing_trust = BPULL_TRUST_ALL };
	struct bpull_disk *disk;

	cr_assert_eq(bpull_disk_open(engine, scratch(name), &o, &disk, &error), 0, "%s",
		     error.message);
	return disk;
}

/* What a disk reads is `want`. */
static void expect_disk(struct bpull_disk *disk)
{
	cr_assert_eq(bpull_pread(disk, got, LEN, 0), 0);
	for (unsigned at = 0; at < LEN; at += BLOCK)
		cr_assert(!memcmp(got + at, want + at, BLOCK), "the guest reads others at %u", at);
}

/* What QEMU reads of an image. */
static void expect_image(const char *name, const char *format)
{
	FILE *file;

	if (strcmp(format, "raw") != 0)
		cr_assert_eq(
			qemu_img_run(NULL, 0, "qemu-img check -q -f %s %s", format, scratch(name)),
			0, "%s is not sound", name);
	cr_assert_eq(qemu_img_run(NULL, 0, "qemu-img convert -f %s -O raw %s %s", format,
				  scratch(name), scratch("flat")),
		     0);
	file = fopen(scratch("flat"), "r");
	cr_assert_eq(fread(got, 1, LEN, file), LEN);
	fclose(file);
	for (unsigned at = 0; at < LEN; at += BLOCK)
		cr_assert(!memcmp(got + at, want + at, BLOCK), "%s reads others at %u", name, at);
}

static void expect_backing(const char *name, const char *backing)
{
	char out[4096], wanted[128];

	qemu_img_run(out, sizeof(out), "qemu-img info -U --output=json %s", scratch(name));
	snprintf(wanted, sizeof(wanted), "\"backing-filename\": \"%s\"", backing);
	cr_assert(backing[0] ? !!strstr(out, wanted) : !strstr(out, "\"backing-filename\""),
		  "%s is not above '%s': %s", name, backing, out);
}

static void write_and_read(struct bpull_disk *disk, uint64_t *random)
{
	uint32_t off = random_below(random, LEN / 512) * 512;
	uint32_t len = 512 * (1 + random_below(random, 64));

	len = off + len > LEN ? LEN - off : len;
	if (random_below(random, 2)) {
		memset(want + off, (int)(1 + random_below(random, 255)), len);
		cr_assert_eq(bpull_pwrite(disk, want + off, len, off, 0), 0);
	}
	cr_assert_eq(bpull_pread(disk, got, len, off), 0);
	cr_assert(!memcmp(got, want + off, len), "the guest reads others at %u", off);
}

/* The guest works until the job is over; its status. */
static enum bpull_job_status work_until_over(struct bpull_disk *disk, uint64_t seed)
{
	struct bpull_job_info info = { .size = sizeof(info) };
	uint64_t random = seed;

	do {
		if (disk)
			write_and_read(disk, &random);
		cr_assert_eq(bpull_job_get_info(disk, &info), 1);
	} while (info.state != BPULL_JOB_CONCLUDED);
	return info.status;
}

static void start(struct bpull_disk *disk, struct bpull_job_options o)
{
	o.size = sizeof(o);
	o.top = o.top ? scratch(o.top) : NULL;
	o.base = o.base ? scratch(o.base) : NULL;
	cr_assert_eq(bpull_job_start(disk, &o, &error), 0, "%s", error.message);
}

static void compact_beside_a_guest(const char *format)
{
	struct bpull_disk *disk;

	make_chain(format);
	disk = open_disk("top", BPULL_DISK_GUEST_IO);
	start(disk, (struct bpull_job_options){ .top = "a", .base = "base", .bandwidth = 8 * MiB });
	cr_assert_eq(work_until_over(disk, 1), BPULL_JOB_COMPLETED);
	cr_assert_eq(bpull_disk_depth(disk), 3);
	expect_backing("a", "base");
	/* They are their owner's again. */
	cr_assert_eq(qemu_img_run(NULL, 0, "qemu-io -f %s -c 'write -P 0xee 0 8M' %s", format,
				  scratch("b")),
		     0);
	expect_disk(disk);
	/* And that one is read only again. */
	cr_assert_neq(
		qemu_img_run(NULL, 0, "qemu-io -f %s -c 'write 0 512' %s", format, scratch("a")),
		0);
	cr_assert_eq(bpull_pflush(disk), 0);
	bpull_disk_close(disk);
	expect_image("top", format);
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

	make_chain("qcow2");
	disk = open_disk("top", BPULL_DISK_READ_ONLY | BPULL_DISK_GUEST_IO);
	start(disk, (struct bpull_job_options){ .top = "b" });
	while (bpull_job_wait(disk, -1))
		;
	expect_disk(disk);
	cr_assert_eq(bpull_disk_depth(disk), 3);
	bpull_disk_close(disk);
	expect_backing("b", "");
	expect_image("top", "qcow2");
}

Test(nodes, an_aborted_compaction_leaves_the_chain_and_goes_on_later)
{
	struct bpull_disk *disk;

	make_chain("qcow2");
	disk = open_disk("top", BPULL_DISK_GUEST_IO);
	start(disk, (struct bpull_job_options){ .top = "a", .base = "base", .bandwidth = MiB });
	usleep(300000);
	cr_assert_eq(bpull_job_abort(disk), 0);
	cr_assert_eq(work_until_over(disk, 2), BPULL_JOB_CANCELED);
	cr_assert_eq(bpull_disk_depth(disk), 5);
	expect_backing("a", "b");
	expect_disk(disk);
	start(disk, (struct bpull_job_options){ .top = "a", .base = "base" });
	cr_assert_eq(work_until_over(disk, 3), BPULL_JOB_COMPLETED);
	expect_disk(disk);
	/* The image itself has a job like any other. */
	start(disk, (struct bpull_job_options){ .base = NULL });
	cr_assert_eq(work_until_over(disk, 4), BPULL_JOB_COMPLETED);
	cr_assert_eq(bpull_disk_depth(disk), 1);
	bpull_disk_close(disk);
	expect_image("top", "qcow2");
}

Test(nodes, what_another_has_open_is_not_compacted)
{
	struct bpull_job_options o = { .size = sizeof(o) };
	struct bpull_disk *disk, *other;

	make_chain("qcow2");
	cr_assert_eq(qemu_img_run(NULL, 0,
				  "cd %s && qemu-img create -q -f qcow2 -b a -F qcow2 clone",
				  scratch_dir()),
		     0);
	disk = open_disk("top", BPULL_DISK_GUEST_IO);
	other = open_disk("clone", 0);
	o.top = scratch("a");
	o.base = scratch("base");
	cr_assert_eq(bpull_job_start(disk, &o, &error), -EBUSY);
	cr_assert(strstr(error.message, "another disk"), "%s", error.message);
	bpull_disk_close(other);
	o.top = scratch("clone");
	cr_assert_eq(bpull_job_start(disk, &o, &error), -EINVAL);
	cr_assert(strstr(error.message, "not in the backing chain"), "%s", error.message);
	o.top = scratch("base");
	o.base = NULL;
	cr_assert_eq(bpull_job_start(disk, &o, &error), 0, "%s: it has nothing to get",
		     error.message);
	cr_assert_eq(bpull_job_wait(disk, -1), 0);
	bpull_disk_close(disk);
}

/* Closing the disk aborts its job, wherever that runs. */
Test(nodes, a_disk_is_closed_while_its_node_works)
{
	struct bpull_disk *disk;

	make_chain("qcow2");
	disk = open_disk("top", BPULL_DISK_GUEST_IO);
	start(disk, (struct bpull_job_options){ .top = "a", .bandwidth = MiB });
	usleep(50000);
	bpull_disk_close(disk);
	expect_image("top", "qcow2");
}

/* ---- commits ---- */

static void commit_beside_a_guest(const char *format, const char *base, uint32_t flags)
{
	struct bpull_disk *disk;
	uint64_t random = 77;

	make_chain(format);
	disk = open_disk("top", BPULL_DISK_GUEST_IO);
	start(disk, (struct bpull_job_options){ .type = BPULL_JOB_TYPE_COMMIT,
						.base = base,
						.bandwidth = 16 * MiB,
						.flags = flags });
	cr_assert_eq(work_until_over(disk, 5), BPULL_JOB_COMPLETED);
	expect_disk(disk);
	/* Nor does the old top say anything else, whatever the guest writes. */
	for (unsigned i = 0; i < 50; i++)
		write_and_read(disk, &random);
	expect_disk(disk);
	cr_assert_eq(bpull_pflush(disk), 0);
	bpull_disk_close(disk);
	expect_image(base, !strcmp(base, "base") ? "raw" : format);
	if (!(flags & BPULL_JOB_KEEP))
		expect_image("top", format);
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

	make_chain("qcow2");
	disk = open_disk("top", BPULL_DISK_GUEST_IO);
	start(disk, (struct bpull_job_options){ .type = BPULL_JOB_TYPE_COMMIT,
						.top = "a",
						.base = "c",
						.bandwidth = 16 * MiB });
	cr_assert_eq(work_until_over(disk, 6), BPULL_JOB_COMPLETED);
	cr_assert_eq(bpull_disk_depth(disk), 3);
	expect_disk(disk);
	expect_backing("top", "c");
	/* One more, in the middle: "c" is only read again. */
	start(disk, (struct bpull_job_options){ .type = BPULL_JOB_TYPE_COMMIT, .top = "c" });
	cr_assert_eq(work_until_over(disk, 7), BPULL_JOB_COMPLETED);
	expect_backing("top", "base");
	expect_disk(disk);
	bpull_disk_close(disk);
	expect_image("top", "qcow2");
}

/* The link that changes is that of a backing file, which is a node, too. */
Test(nodes, the_middle_of_a_chain_is_committed)
{
	struct bpull_disk *disk;

	make_chain("qcow2");
	disk = open_disk("top", BPULL_DISK_GUEST_IO);
	start(disk, (struct bpull_job_options){
			    .type = BPULL_JOB_TYPE_COMMIT, .top = "b", .base = "base" });
	cr_assert_eq(work_until_over(disk, 8), BPULL_JOB_COMPLETED);
	cr_assert_eq(bpull_disk_depth(disk), 3);
	expect_backing("a", "base");
	expect_disk(disk);
	bpull_disk_close(disk);
	expect_image("top", "qcow2");
}

Test(nodes, a_commit_waits_for_finalize_and_can_be_aborted)
{
	struct bpull_job_info info = { .size = sizeof(info) };
	struct bpull_disk *disk;
	uint64_t random = 9;

	make_chain("qcow2");
	for (int aborts = 1; aborts >= 0; aborts--) {
		disk = open_disk("top", BPULL_DISK_GUEST_IO);
		start(disk, (struct bpull_job_options){ .type = BPULL_JOB_TYPE_COMMIT,
							.flags = BPULL_JOB_MANUAL_FINALIZE });
		do {
			write_and_read(disk, &random);
			cr_assert_eq(bpull_job_get_info(disk, &info), 1);
		} while (info.state != BPULL_JOB_WAITING);
		cr_assert_eq(info.type, BPULL_JOB_TYPE_ACTIVE_COMMIT);
		for (unsigned i = 0; i < 30; i++)
			write_and_read(disk, &random);
		cr_assert_eq(aborts ? bpull_job_abort(disk) : bpull_job_finalize(disk), 0);
		cr_assert_eq(work_until_over(disk, 10),
			     aborts ? BPULL_JOB_CANCELED : BPULL_JOB_COMPLETED);
		cr_assert_eq(bpull_disk_depth(disk), aborts ? 5 : 4);
		expect_disk(disk);
		bpull_disk_close(disk);
		expect_image("top", "qcow2");
	}
	expect_image("a", "qcow2");
}

/* It keeps no guest waiting, and hears of its resumption. */
Test(nodes, a_commit_that_is_paused_before_its_end_goes_on)
{
	struct bpull_job_info info = { .size = sizeof(info) };
	struct bpull_disk *disk;
	uint64_t random = 11;

	make_chain("qcow2");
	disk = open_disk("top", BPULL_DISK_GUEST_IO);
	start(disk, (struct bpull_job_options){ .type = BPULL_JOB_TYPE_COMMIT,
						.flags = BPULL_JOB_MANUAL_FINALIZE });
	do
		cr_assert_eq(bpull_job_get_info(disk, &info), 1);
	while (info.state != BPULL_JOB_WAITING);
	cr_assert_eq(bpull_job_pause(disk), 0);
	cr_assert_eq(bpull_job_finalize(disk), 0);
	for (unsigned i = 0; i < 30; i++)
		write_and_read(disk, &random);
	cr_assert_eq(bpull_job_resume(disk), 0);
	cr_assert_eq(work_until_over(disk, 12), BPULL_JOB_COMPLETED);
	expect_disk(disk);
	bpull_disk_close(disk);
	expect_image("a", "qcow2");
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
		make_chain("qcow2");
		mapped = open_disk("top", BPULL_DISK_GUEST_IO);
		is_over = false;
		cr_assert_eq(pthread_create(&thread, NULL, map_on_and_on, NULL), 0);
		start(mapped, (struct bpull_job_options){ .type = BPULL_JOB_TYPE_COMMIT,
							  .base = i % 2 ? "c" : "a" });
		cr_assert_eq(work_until_over(mapped, 13 + i), BPULL_JOB_COMPLETED);
		is_over = true;
		pthread_join(thread, NULL);
		expect_disk(mapped);
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
	busy = open_disk("top", BPULL_DISK_GUEST_IO);
	is_over = false;
	cr_assert_eq(pthread_create(&thread, NULL, write_on_and_on, NULL), 0);
	usleep(200000);
	start(busy,
	      (struct bpull_job_options){ .type = BPULL_JOB_TYPE_COMMIT, .bandwidth = 96u * MiB });
	cr_assert_eq(bpull_job_wait(busy, -1), 0);
	cr_assert_eq(bpull_disk_depth(busy), 1);
	is_over = true;
	pthread_join(thread, NULL);
	bpull_disk_close(busy);
	cr_assert_eq(qemu_img_run(NULL, 0, "qemu-img check -q -f qcow2 %s", scratch("a")), 0);
}

/* Whose guest it is that the job gives way to: the image's, wherever the job runs. */
Test(nodes, a_compaction_gives_way_to_the_guest)
{
	struct bpull_job_info info = { .size = sizeof(info) };
	struct bpull_disk *disk;
	uint64_t random = 3, seen = 0;

	make_chain("qcow2");
	disk = open_disk("top", BPULL_DISK_GUEST_IO);
	start(disk,
	      (struct bpull_job_options){
		      .top = "a", .base = "base", .bandwidth = 2 * MiB, .guest_p99_ns = 50000000 });
	do {
		write_and_read(disk, &random);
		cr_assert_eq(bpull_job_get_info(disk, &info), 1);
		seen = info.guest_p99_now_ns ? info.guest_p99_now_ns : seen;
	} while (info.state != BPULL_JOB_CONCLUDED);
	cr_assert_eq(info.guest_p99_ns, 50000000);
	cr_assert_gt(seen, 0, "it has looked at no guest");
	bpull_disk_close(disk);
}
