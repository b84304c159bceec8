/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * libvirt's calls that change which files a chain has: numbers, flags, what is
 * refused, and what the chain is afterwards. Written from libvirt's
 * documentation, not from the code.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/blockpull-libvirt.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

#define MiB      (1u << 20)
#define BASE_LEN (8u * MiB)

static struct bpull_virt *virt;
static struct bpull_error error;
static atomic_int n_events, last_type, last_status;

static void count(struct bpull_virt *from, const char *path, int type, int status, void *opaque)
{
	(void)from;
	(void)path;
	(void)opaque;
	atomic_store(&last_type, type);
	atomic_store(&last_status, status);
	atomic_fetch_add(&n_events, 1);
}

static void wait_events(int n)
{
	for (int i = 0; i < 2000 && atomic_load(&n_events) < n; i++)
		usleep(5000);
	cr_assert_eq(atomic_load(&n_events), n);
}

/* An overlay, whose first byte is its own. */
static void make_layer(const char *name, const char *below, enum bpull_format format)
{
	struct bpull_create_options o = { .size = sizeof(o),
					  .format = BPULL_FORMAT_QCOW2,
					  .backing_name = below,
					  .backing_format = format };

	cr_assert_eq(bpull_create(scratch(name), &o, &error), 0, "%s", error.message);
}

static void write_byte(const char *name, uint64_t guest_off, uint8_t byte)
{
	struct bpull_engine_options eo = { .size = sizeof(eo), .flags = BPULL_ENGINE_THREAD };
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO };
	struct bpull_engine *engine;
	struct bpull_disk *disk;

	cr_assert_eq(bpull_engine_open(&eo, &engine, &error), 0);
	cr_assert_eq(bpull_disk_open(engine, scratch(name), &o, &disk, &error), 0, "%s",
		     error.message);
	cr_assert_eq(bpull_pwrite(disk, &byte, 1, guest_off, BPULL_IO_FUA), 0);
	bpull_engine_close(engine);
}

/* base, mid over it, top over that; in top and mid a byte of their own. */
static void begin(void)
{
	scratch_make();
	scratch_numbered("base", BASE_LEN / MiB);
	make_layer("mid", "base", BPULL_FORMAT_RAW);
	make_layer("top", "mid", BPULL_FORMAT_QCOW2);
	write_byte("mid", MiB, 0x71);
	write_byte("top", 2 * MiB, 0x72);
	cr_assert_eq(bpull_virt_open(NULL, NULL, &virt, &error), 0, "%s", error.message);
	cr_assert_geq(bpull_virt_event_register(virt, count, &n_events, &error), 0);
}

static void end(void)
{
	bpull_virt_close(virt);
	scratch_remove();
}

TIME_LIMIT(120);
TestSuite(libvirt_chain, .init = begin, .fini = end, .timeout = TIME_LIMIT_CLOCK(120));

/* The name of the i-th image's backing file, as it is recorded; "" for none. */
static const char *link_of(const char *name, char out[512])
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.flags = BPULL_DISK_READ_ONLY | BPULL_DISK_NO_BACKING };
	struct bpull_layer_info layer = { .size = sizeof(layer) };
	struct bpull_info *info;

	cr_assert_eq(bpull_info_open(scratch(name), &o, &info, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_info_layer(info, 0, &layer), 0);
	snprintf(out, 512, "%s", layer.backing_name ? layer.backing_name : "");
	bpull_info_close(info);
	return out;
}

static int rebase(const char *base, unsigned flags)
{
	char name[4096];

	snprintf(name, sizeof(name), "%s", base ? scratch(base) : "");
	return bpull_virt_block_rebase(virt, scratch("top"), base ? name : NULL, 0, flags, &error);
}

Test(libvirt_chain, constants_have_libvirts_numbers)
{
	cr_assert_eq(BPULL_VIRT_BLOCK_JOB_TYPE_COMMIT, 3);
	cr_assert_eq(BPULL_VIRT_BLOCK_JOB_TYPE_ACTIVE_COMMIT, 4);
	cr_assert_eq(BPULL_VIRT_BLOCK_COMMIT_SHALLOW, 1);
	cr_assert_eq(BPULL_VIRT_BLOCK_COMMIT_DELETE, 2);
	cr_assert_eq(BPULL_VIRT_BLOCK_COMMIT_ACTIVE, 4);
	cr_assert_eq(BPULL_VIRT_BLOCK_COMMIT_RELATIVE, 8);
	cr_assert_eq(BPULL_VIRT_BLOCK_COMMIT_BANDWIDTH_BYTES, 16);
	cr_assert_eq(BPULL_VIRT_BLOCK_REBASE_SHALLOW, 1);
	cr_assert_eq(BPULL_VIRT_BLOCK_REBASE_REUSE_EXT, 2);
	cr_assert_eq(BPULL_VIRT_BLOCK_REBASE_COPY_RAW, 4);
	cr_assert_eq(BPULL_VIRT_BLOCK_REBASE_COPY, 8);
	cr_assert_eq(BPULL_VIRT_BLOCK_REBASE_RELATIVE, 16);
	cr_assert_eq(BPULL_VIRT_BLOCK_REBASE_COPY_DEV, 32);
	cr_assert_eq(BPULL_VIRT_BLOCK_REBASE_BANDWIDTH_BYTES, 64);
}

Test(libvirt_chain, a_rebase_pulls_what_is_above_the_base)
{
	char link[512];

	cr_assert_eq(rebase("base", BPULL_VIRT_BLOCK_REBASE_RELATIVE), 0, "%s", error.message);
	wait_events(1);
	cr_assert_eq(atomic_load(&last_status), BPULL_VIRT_BLOCK_JOB_COMPLETED);
	cr_assert_eq(atomic_load(&last_type), BPULL_VIRT_BLOCK_JOB_TYPE_PULL);
	cr_assert_str_eq(link_of("top", link), "base");
}

Test(libvirt_chain, a_rebase_without_a_base_is_a_pull)
{
	char link[512];

	cr_assert_eq(rebase(NULL, 0), 0, "%s", error.message);
	wait_events(1);
	cr_assert_str_empty(link_of("top", link));
}

Test(libvirt_chain, what_a_rebase_refuses)
{
	char link[512];

	cr_assert_eq(rebase("base", BPULL_VIRT_BLOCK_REBASE_COPY), -1);
	cr_assert_eq(error.code, -ENOTSUP);
	for (unsigned flag = 1; flag <= 32; flag <<= 1) {
		if (flag == BPULL_VIRT_BLOCK_REBASE_COPY ||
		    flag == BPULL_VIRT_BLOCK_REBASE_RELATIVE)
			continue;
		cr_assert_eq(rebase("base", flag), -1, "%u", flag);
		cr_assert_eq(error.code, -EINVAL, "%u", flag);
	}
	cr_assert_eq(rebase("base", 128), -1);
	cr_assert_eq(rebase(NULL, BPULL_VIRT_BLOCK_REBASE_RELATIVE), -1);
	cr_assert_eq(error.code, -EINVAL);
	cr_assert_eq(rebase("none", 0), -1);
	cr_assert_eq(atomic_load(&n_events), 0);
	cr_assert_str_eq(link_of("top", link), "mid");
}

Test(libvirt_chain, no_relative_name_takes_an_absolute_ones_place)
{
	char mid[4096], link[512];

	snprintf(mid, sizeof(mid), "%s", scratch("mid"));
	unlink(scratch("top"));
	make_layer("top", mid, BPULL_FORMAT_QCOW2);
	cr_assert_eq(rebase("base", BPULL_VIRT_BLOCK_REBASE_RELATIVE), -1);
	cr_assert_eq(error.code, -ENOTSUP);
	cr_assert(strstr(error.message, "absolute"), "%s", error.message);
	cr_assert_str_eq(link_of("top", link), mid);
	cr_assert_eq(rebase("base", 0), 0, "%s", error.message);
	wait_events(1);
}

/* ---- commit ---- */

static int commit(const char *base, const char *top, unsigned flags)
{
	char base_name[4096], top_name[4096];

	snprintf(base_name, sizeof(base_name), "%s", base ? scratch(base) : "");
	snprintf(top_name, sizeof(top_name), "%s", top ? scratch(top) : "");
	return bpull_virt_block_commit(virt, scratch("top"), base ? base_name : NULL,
				       top ? top_name : NULL, 0, flags, &error);
}

/* As the guest of an image reads it. */
static uint8_t read_byte(const char *name, enum bpull_format format, uint64_t guest_off)
{
	struct bpull_engine_options eo = { .size = sizeof(eo), .flags = BPULL_ENGINE_THREAD };
	struct bpull_disk_options o = { .size = sizeof(o),
					.format = format,
					.flags = BPULL_DISK_GUEST_IO | BPULL_DISK_READ_ONLY };
	struct bpull_engine *engine;
	struct bpull_disk *disk;
	uint8_t byte = 0;

	cr_assert_eq(bpull_engine_open(&eo, &engine, &error), 0);
	cr_assert_eq(bpull_disk_open(engine, scratch(name), &o, &disk, &error), 0, "%s",
		     error.message);
	cr_assert_eq(bpull_pread(disk, &byte, 1, guest_off), 0);
	bpull_engine_close(engine);
	return byte;
}

Test(libvirt_chain, a_commit_of_a_file_in_the_middle)
{
	char link[512];

	cr_assert_eq(commit("base", "mid", BPULL_VIRT_BLOCK_COMMIT_RELATIVE), 0, "%s",
		     error.message);
	wait_events(1);
	cr_assert_eq(atomic_load(&last_status), BPULL_VIRT_BLOCK_JOB_COMPLETED);
	cr_assert_eq(atomic_load(&last_type), BPULL_VIRT_BLOCK_JOB_TYPE_COMMIT);
	cr_assert_str_eq(link_of("top", link), "base");
	cr_assert_eq(read_byte("base", BPULL_FORMAT_RAW, MiB), 0x71);
	cr_assert_eq(read_byte("base", BPULL_FORMAT_RAW, 2 * MiB), 3, "top's own went down, too");
	cr_assert_eq(read_byte("top", BPULL_FORMAT_QCOW2, 2 * MiB), 0x72);
}

Test(libvirt_chain, an_active_commit_waits_for_its_pivot)
{
	struct bpull_virt_block_job_info info;

	cr_assert_eq(commit(NULL, NULL,
			    BPULL_VIRT_BLOCK_COMMIT_ACTIVE | BPULL_VIRT_BLOCK_COMMIT_SHALLOW),
		     0, "%s", error.message);
	wait_events(1);
	cr_assert_eq(atomic_load(&last_status), BPULL_VIRT_BLOCK_JOB_READY);
	cr_assert_eq(atomic_load(&last_type), BPULL_VIRT_BLOCK_JOB_TYPE_ACTIVE_COMMIT);
	cr_assert_eq(bpull_virt_block_job_info(virt, scratch("top"), &info, 0, &error), 1);
	cr_assert_eq(info.type, BPULL_VIRT_BLOCK_JOB_TYPE_ACTIVE_COMMIT);
	cr_assert_eq(info.cur, info.end, "programs poll for that before they pivot");
	cr_assert_eq(bpull_virt_block_job_abort(virt, scratch("top"),
						BPULL_VIRT_BLOCK_JOB_ABORT_PIVOT, &error),
		     0, "%s", error.message);
	wait_events(2);
	cr_assert_eq(atomic_load(&last_status), BPULL_VIRT_BLOCK_JOB_COMPLETED);
	cr_assert_eq(read_byte("mid", BPULL_FORMAT_QCOW2, 2 * MiB), 0x72);
	cr_assert_eq(read_byte("mid", BPULL_FORMAT_QCOW2, MiB), 0x71);
	cr_assert_eq(read_byte("base", BPULL_FORMAT_RAW, 2 * MiB), 3);
}

Test(libvirt_chain, an_active_commit_without_a_pivot_leaves_the_image)
{
	char link[512];

	cr_assert_eq(commit("mid", "top", BPULL_VIRT_BLOCK_COMMIT_ACTIVE), 0, "%s", error.message);
	wait_events(1);
	cr_assert_eq(bpull_virt_block_job_abort(virt, scratch("top"), 0, &error), 0);
	wait_events(2);
	cr_assert_eq(atomic_load(&last_status), BPULL_VIRT_BLOCK_JOB_CANCELED);
	cr_assert_str_eq(link_of("top", link), "mid");
	cr_assert_eq(read_byte("top", BPULL_FORMAT_QCOW2, 2 * MiB), 0x72);
}

Test(libvirt_chain, what_a_commit_refuses)
{
	const unsigned active = BPULL_VIRT_BLOCK_COMMIT_ACTIVE;

	cr_assert_eq(commit("base", "mid", BPULL_VIRT_BLOCK_COMMIT_DELETE), -1);
	cr_assert_eq(error.code, -ENOTSUP);
	cr_assert_eq(commit("base", NULL, 0), -1, "the image, without ACTIVE");
	cr_assert_eq(error.code, -EINVAL);
	cr_assert_eq(commit("base", "top", 0), -1, "the image by its name, without ACTIVE");
	cr_assert_eq(error.code, -EINVAL);
	cr_assert_eq(commit("base", "mid", active), -1, "not the image, with ACTIVE");
	cr_assert_eq(error.code, -EINVAL);
	cr_assert_eq(commit("base", NULL, active | BPULL_VIRT_BLOCK_COMMIT_SHALLOW), -1);
	cr_assert_eq(error.code, -EINVAL);
	cr_assert_eq(commit("base", "mid", 32), -1);
	cr_assert_eq(error.code, -EINVAL);
	cr_assert_eq(commit("none", "mid", 0), -1);
	cr_assert_eq(commit("mid", "base", 0), -1, "upwards");
	cr_assert_eq(commit(NULL, "base", BPULL_VIRT_BLOCK_COMMIT_SHALLOW), -1, "nothing below");
	cr_assert_eq(atomic_load(&n_events), 0);
}

static void expect_chain(struct bpull_disk *disk, const char *image, unsigned depth)
{
	char path[4096];

	cr_assert_geq(bpull_disk_layer_path(disk, 0, path, sizeof(path)), 0);
	cr_assert_str_eq(strrchr(path, '/') + 1, image);
	cr_assert_eq(bpull_disk_depth(disk), depth);
}

/* The path stays, and the disk's image becomes another one. */
Test(libvirt_chain, a_commit_is_of_the_chain_that_an_attached_disk_has_now)
{
	const unsigned shallow = BPULL_VIRT_BLOCK_COMMIT_SHALLOW;
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO };
	struct bpull_snapshot s = { .size = sizeof(s) };
	struct bpull_disk *disk;

	cr_assert_eq(bpull_disk_open(bpull_virt_engine(virt), scratch("top"), &o, &disk, &error),
		     0);
	cr_assert_eq(bpull_virt_attach(virt, scratch("top"), disk, &error), 0);
	s.disk = disk;
	s.path = scratch("snap");
	cr_assert_eq(bpull_disk_snapshot(&s, 1, &error), 0, "%s", error.message);
	expect_chain(disk, "snap", 4);

	cr_assert_eq(commit(NULL, "top", shallow), 0, "%s", error.message);
	wait_events(1);
	cr_assert_eq(atomic_load(&last_type), BPULL_VIRT_BLOCK_JOB_TYPE_COMMIT);
	expect_chain(disk, "snap", 3);
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(commit(NULL, NULL, shallow | BPULL_VIRT_BLOCK_COMMIT_ACTIVE), 0, "%s",
			     error.message);
		wait_events(2 + 2 * (int)i);
		cr_assert_eq(bpull_virt_block_job_abort(virt, scratch("top"),
							BPULL_VIRT_BLOCK_JOB_ABORT_PIVOT, &error),
			     0, "%s", error.message);
		wait_events(3 + 2 * (int)i);
		expect_chain(disk, i ? "base" : "mid", 2 - i);
	}
	cr_assert_eq(bpull_virt_detach(virt, scratch("top"), &error), 0);
	bpull_disk_close(disk);
}

/* A program removes the image that it was told to be through with. */
Test(libvirt_chain, a_pivot_that_fails_is_no_success)
{
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO };
	struct rlimit limit = { .rlim_cur = 320 * 1024, .rlim_max = RLIM_INFINITY };
	struct bpull_disk *disk;

	cr_assert_eq(bpull_disk_open(bpull_virt_engine(virt), scratch("top"), &o, &disk, &error),
		     0);
	cr_assert_eq(bpull_virt_attach(virt, scratch("top"), disk, &error), 0);
	cr_assert_eq(commit(NULL, NULL,
			    BPULL_VIRT_BLOCK_COMMIT_ACTIVE | BPULL_VIRT_BLOCK_COMMIT_SHALLOW),
		     0, "%s", error.message);
	wait_events(1);
	/* What the guest writes has no room below. */
	cr_assert_eq(bpull_job_pause(disk), 0);
	cr_assert_eq(bpull_pwrite(disk, "x", 1, 5 * MiB, 0), 0);
	signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	cr_assert_eq(bpull_job_resume(disk), 0);
	cr_assert_eq(bpull_virt_block_job_abort(virt, scratch("top"),
						BPULL_VIRT_BLOCK_JOB_ABORT_PIVOT, &error),
		     -1, "it has taken the pivot for done");
	limit.rlim_cur = RLIM_INFINITY;
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	wait_events(2);
	cr_assert_eq(atomic_load(&last_status), BPULL_VIRT_BLOCK_JOB_FAILED);
	expect_chain(disk, "top", 3);
	cr_assert_eq(bpull_virt_detach(virt, scratch("top"), &error), 0);
	bpull_disk_close(disk);
}

Test(libvirt_chain, no_pull_is_pivoted)
{
	cr_assert_eq(bpull_virt_block_rebase(virt, scratch("top"), NULL, 1,
					     BPULL_VIRT_BLOCK_REBASE_BANDWIDTH_BYTES, &error),
		     0, "%s", error.message);
	cr_assert_eq(bpull_virt_block_job_abort(virt, scratch("top"),
						BPULL_VIRT_BLOCK_JOB_ABORT_PIVOT, &error),
		     -1);
	cr_assert_eq(error.code, -EINVAL);
}
