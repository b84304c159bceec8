/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Jobs of a chain, asked about before and after: what forbids one is said alike by a dry run and by
 * a start; and which files a chain has lost by one.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tests/support/files/qemu_img.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

static struct bpull_engine *engine;
static struct bpull_error error;

static void set_up(void)
{
	struct bpull_engine_options o = { .size = sizeof(o), .flags = BPULL_ENGINE_THREAD };

	scratch_make();
	if (!qemu_img_installed())
		scratch_skip("qemu-img and qemu-io are not installed");
	cr_assert_eq(bpull_engine_open(&o, &engine, &error), 0, "%s", error.message);
}

static void tear_down(void)
{
	bpull_engine_close(engine);
	scratch_remove();
}

TIME_LIMIT(60);
TestSuite(chain_jobs, .init = set_up, .fini = tear_down, .timeout = TIME_LIMIT_CLOCK(60));

static const char *const names[] = { "base", "c", "b", "a", "top" };

/* base <- c <- b <- a <- top, of 4 MiB each but the base, which is raw; each holds something. */
static void make_chain(const char *base_len, const char *options)
{
	cr_assert_eq(
		qemu_img_run(NULL, 0, "qemu-img create -q -f raw %s %s", scratch("base"), base_len),
		0);
	for (unsigned i = 1; i < 5; i++) {
		cr_assert_eq(
			qemu_img_run(NULL, 0,
				     "cd %s && qemu-img create -q -f qcow2 %s -b %s -F %s %s 4M",
				     scratch_dir(), options, names[i - 1], i == 1 ? "raw" : "qcow2",
				     names[i]),
			0);
		cr_assert_eq(qemu_img_run(NULL, 0, "qemu-io -f qcow2 -c 'write -P %u %uM 64k' %s",
					  i, i - 1, scratch(names[i])),
			     0);
	}
}

static struct bpull_disk *open_disk(const char *name, uint32_t flags)
{
	struct bpull_disk_options o = { .size = sizeof(o), .flags = flags };
	struct bpull_disk *disk;

	cr_assert_eq(bpull_disk_open(engine, scratch(name), &o, &disk, &error), 0, "%s",
		     error.message);
	return disk;
}

/* ---- what forbids a job ---- */

#define COMMIT BPULL_JOB_TYPE_COMMIT

static struct bpull_job_options job(uint32_t type, const char *top, const char *base)
{
	return (struct bpull_job_options){ .size = sizeof(struct bpull_job_options),
					   .type = type,
					   .top = top ? scratch(top) : NULL,
					   .base = base ? scratch(base) : NULL };
}

/* The check and the start refuse the job in the same words. */
static void expect_refused(struct bpull_disk *disk, struct bpull_job_options o, int rc,
			   const char *word)
{
	struct bpull_error checked, started;

	cr_assert_eq(bpull_job_check(disk, &o, &checked), rc, "the check: %s", checked.message);
	cr_assert_eq(bpull_job_start(disk, &o, &started), rc, "the start: %s", started.message);
	cr_assert_str_eq(checked.message, started.message);
	cr_assert(strstr(checked.message, word), "%s", checked.message);
}

static void expect_allowed(struct bpull_disk *disk, struct bpull_job_options o)
{
	cr_assert_eq(bpull_job_check(disk, &o, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_job_start(disk, &o, &error), 0, "%s", error.message);
	while (bpull_job_wait(disk, -1))
		;
}

Test(chain_jobs, a_commit_is_refused_on_a_disk_that_is_only_read)
{
	struct bpull_disk *disk;

	make_chain("4M", "");
	disk = open_disk("top", BPULL_DISK_READ_ONLY);
	expect_refused(disk, job(COMMIT, NULL, NULL), -EROFS, "read-only");
	expect_refused(disk, job(COMMIT, "a", "c"), -EROFS, "read-only"); /* the image's link */
	expect_allowed(disk, job(COMMIT, "b", "base"));
	bpull_disk_close(disk);
}

Test(chain_jobs, a_longer_base_is_refused)
{
	struct bpull_disk *disk;

	make_chain("8M", "");
	disk = open_disk("top", 0);
	expect_refused(disk, job(COMMIT, NULL, "base"), -EINVAL, "longer");
	bpull_disk_close(disk);
}

Test(chain_jobs, what_a_commit_can_not_do_is_refused)
{
	struct bpull_job_options o;
	struct bpull_disk *disk;

	make_chain("4M", "");
	cr_assert_eq(qemu_img_run(NULL, 0, "qemu-img snapshot -c s %s", scratch("b")), 0);
	disk = open_disk("top", 0);
	expect_refused(disk, job(COMMIT, NULL, "c"), -ENOTSUP, "internal snapshots");
	expect_refused(disk, job(COMMIT, "b", "a"), -EINVAL, "no such file below");
	expect_refused(disk, job(COMMIT, "base", NULL), -EINVAL, "no such file below");
	o = job(COMMIT, NULL, NULL);
	o.compression = BPULL_COMPRESSION_OWN;
	expect_refused(disk, o, -ENOTSUP, "compress");
	o = job(COMMIT, "a", "c");
	o.flags = BPULL_JOB_KEEP;
	expect_refused(disk, o, -EINVAL, "changes none of them");
	o = job(COMMIT, "a", "c");
	o.base_name = "nowhere";
	expect_refused(disk, o, -EINVAL, "nowhere");
	bpull_disk_close(disk);
}

/* Its disk must get longer, and a snapshot of version 2 has no length of its own. */
Test(chain_jobs, a_base_that_can_not_grow_is_refused)
{
	struct bpull_disk *disk;

	make_chain("2M", "-o compat=0.10");
	cr_assert_eq(qemu_img_run(NULL, 0,
				  "cd %s && qemu-img create -q -f qcow2 -o compat=0.10 "
				  "-b base -F raw short 2M && qemu-img snapshot -c s short && "
				  "qemu-img create -q -f qcow2 -b short -F qcow2 long 4M",
				  scratch_dir()),
		     0);
	disk = open_disk("long", 0);
	expect_refused(disk, job(COMMIT, NULL, "short"), -ENOTSUP, "short");
	bpull_disk_close(disk);
}

Test(chain_jobs, a_file_of_another_disk_is_refused)
{
	struct bpull_disk *disk, *other;

	make_chain("4M", "");
	disk = open_disk("top", 0);
	cr_assert_eq(qemu_img_run(NULL, 0,
				  "cd %s && qemu-img create -q -f qcow2 -b b -F qcow2 clone",
				  scratch_dir()),
		     0);
	other = open_disk("clone", 0);
	expect_refused(disk, job(COMMIT, NULL, "b"), -EBUSY, "another disk");
	expect_refused(disk, job(COMMIT, "a", "c"), -EBUSY, "another disk");
	expect_refused(disk, job(BPULL_JOB_TYPE_PULL, "b", "base"), -EBUSY, "another disk");
	bpull_disk_close(other);
	expect_allowed(disk, job(BPULL_JOB_TYPE_PULL, "b", "base"));
	bpull_disk_close(disk);
}

Test(chain_jobs, a_file_that_is_not_the_users_is_refused)
{
	struct bpull_disk *disk;

	if (!geteuid())
		cr_skip_test("root may write to anything");
	make_chain("4M", "");
	cr_assert_eq(chmod(scratch("base"), 0444), 0);
	disk = open_disk("top", 0);
	expect_refused(disk, job(COMMIT, NULL, "base"), -EACCES, "base");
	bpull_disk_close(disk);
}

/* Before anything is written. */
Test(chain_jobs, damage_that_a_job_would_meet_is_told_before)
{
	static const uint8_t bent[8] = { 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x00 };
	struct bpull_disk *disk;
	FILE *file;

	make_chain("4M", "");
	file = fopen(scratch("c"), "r+");
	cr_assert_eq(fseek(file, 3 * 65536, SEEK_SET), 0); /* the L1 table */
	cr_assert_eq(fwrite(bent, 1, sizeof(bent), file), sizeof(bent));
	fclose(file);
	disk = open_disk("top", 0);
	expect_refused(disk, job(BPULL_JOB_TYPE_PULL, NULL, NULL), -EUCLEAN, scratch("c"));
	expect_refused(disk, job(BPULL_JOB_TYPE_PULL, "b", "base"), -EUCLEAN, scratch("c"));
	expect_refused(disk, job(COMMIT, NULL, "base"), -EUCLEAN, scratch("c"));
	expect_refused(disk, job(COMMIT, "b", "base"), -EUCLEAN, scratch("c"));
	expect_refused(disk, job(COMMIT, "b", "c"), -EUCLEAN, scratch("c"));
	bpull_disk_close(disk);
}

/* ---- files that go ---- */

/* Those that are named, in this order, and no more; and what the chain is then. */
static void expect_dropped(struct bpull_disk *disk, const char *const *wanted,
			   const char *const *chain)
{
	char path[4096];
	unsigned i;

	for (i = 0; wanted[i]; i++) {
		const char *got = bpull_job_dropped(disk, i);

		cr_assert(got && !strcmp(got, scratch(wanted[i])), "%u: %s, not %s", i,
			  got ? got : "none", wanted[i]);
	}
	cr_assert_null(bpull_job_dropped(disk, i), "%s, too", bpull_job_dropped(disk, i));
	for (i = 0; chain[i]; i++) {
		int len = bpull_disk_layer_path(disk, i, path, sizeof(path));

		cr_assert_eq(len, (int)strlen(scratch(chain[i])));
		cr_assert_str_eq(path, scratch(chain[i]));
	}
	cr_assert_eq(bpull_disk_layer_path(disk, i, path, sizeof(path)), -EINVAL);
}

#define LIST(...) ((const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })

Test(chain_jobs, the_files_that_a_chain_has_lost_are_named)
{
	struct bpull_disk *disk;
	char two[2];

	make_chain("4M", "");
	disk = open_disk("top", BPULL_DISK_GUEST_IO);
	expect_dropped(disk, LIST(), LIST("top", "a", "b", "c", "base"));
	cr_assert_gt(bpull_disk_layer_path(disk, 0, two, sizeof(two)), 2);
	cr_assert_eq(two[1], 0, "cut where there is no room");
	expect_allowed(disk, job(BPULL_JOB_TYPE_PULL, "b", "base"));
	expect_dropped(disk, LIST("c"), LIST("top", "a", "b", "base"));
	expect_allowed(disk, job(COMMIT, NULL, "b")); /* the image, too */
	expect_dropped(disk, LIST("top", "a"), LIST("b", "base"));
	expect_allowed(disk, job(BPULL_JOB_TYPE_PULL, NULL, NULL));
	expect_dropped(disk, LIST("base"), LIST("b"));
	expect_allowed(disk, job(BPULL_JOB_TYPE_PULL, NULL, NULL)); /* nothing to do */
	expect_dropped(disk, LIST(), LIST("b"));
	bpull_disk_close(disk);
}

Test(chain_jobs, a_job_that_was_aborted_has_lost_none)
{
	struct bpull_job_options o;
	struct bpull_disk *disk;

	make_chain("4M", "");
	disk = open_disk("top", 0);
	o = job(COMMIT, "a", "base");
	o.flags = BPULL_JOB_START_PAUSED;
	cr_assert_eq(bpull_job_start(disk, &o, &error), 0, "%s", error.message);
	cr_assert_null(bpull_job_dropped(disk, 0), "of a job that runs");
	cr_assert_eq(bpull_job_abort(disk), 0);
	while (bpull_job_wait(disk, -1))
		;
	expect_dropped(disk, LIST(), LIST("top", "a", "b", "c", "base"));
	bpull_disk_close(disk);
}

/* Without a thread of the engine. */
static void run_job(struct bpull_disk *disk, struct bpull_job_options o)
{
	struct bpull_event event = { .status = BPULL_JOB_READY };

	cr_assert_eq(bpull_job_start(disk, &o, &error), 0, "%s", error.message);
	while (event.status != BPULL_JOB_COMPLETED) {
		cr_assert_geq(bpull_engine_wait(engine, &event, 1, -1), 0);
		cr_assert_neq(event.status, BPULL_JOB_FAILED, "%s", event.message);
	}
}

/* The last round of a job leaves a file's node to the next one, which is the call's own here. */
Test(chain_jobs, a_disk_can_be_inactive_as_soon_as_its_job_is_over)
{
	struct bpull_engine_options o = { .size = sizeof(o) };
	struct bpull_disk *disk;

	bpull_engine_close(engine);
	cr_assert_eq(bpull_engine_open(&o, &engine, &error), 0, "%s", error.message);
	make_chain("4M", "");
	disk = open_disk("top", BPULL_DISK_GUEST_IO);
	run_job(disk, job(COMMIT, "b", "base"));
	cr_assert_eq(bpull_disk_inactivate(disk, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_disk_activate(disk, &error), 0, "%s", error.message);
	run_job(disk, job(BPULL_JOB_TYPE_PULL, "a", "base"));
	cr_assert_eq(bpull_disk_inactivate(disk, &error), 0, "%s", error.message);
	bpull_disk_close(disk);
}

/* ---- what a job needs ---- */

static struct bpull_measure measure(const char *top, const char *base)
{
	struct bpull_job_options o = job(BPULL_JOB_TYPE_PULL, top, base);
	struct bpull_measure m = { .size = sizeof(m) };

	cr_assert_eq(bpull_measure_job(scratch("top"), NULL, &o, &m, &error), 0, "%s",
		     error.message);
	return m;
}

Test(chain_jobs, what_a_job_of_a_backing_file_needs_is_measured_of_that_file)
{
	struct bpull_job_options o = job(COMMIT, "a", "base");
	struct bpull_measure m = { .size = sizeof(m) };
	struct bpull_disk *disk;
	struct stat before, after;

	make_chain("4M", "");
	cr_assert_eq(qemu_img_run(NULL, 0, "qemu-io -f qcow2 -c 'write 2M 1M' %s", scratch("top")),
		     0);
	cr_assert_eq(stat(scratch("a"), &before), 0);
	m = measure("a", "c"); /* what b holds */
	cr_assert_eq(m.copy_bytes, 65536u);
	cr_assert_eq(m.file_size, (uint64_t)before.st_size);
	cr_assert_gt(m.growth, 0);
	cr_assert_eq(measure("a", "base").copy_bytes, 131072u);
	cr_assert_eq(measure("base", NULL).has_backing, 0);
	disk = open_disk("top", 0);
	expect_allowed(disk, job(BPULL_JOB_TYPE_PULL, "a", "c"));
	bpull_disk_close(disk);
	cr_assert_eq(stat(scratch("a"), &after), 0);
	cr_assert_leq((uint64_t)after.st_size, m.needed_size);
	cr_assert_eq(bpull_measure_job(scratch("top"), NULL, &o, &m, &error), -ENOTSUP);
	o = job(BPULL_JOB_TYPE_PULL, "none", NULL);
	cr_assert_eq(bpull_measure_job(scratch("top"), NULL, &o, &m, &error), -EINVAL);
}
