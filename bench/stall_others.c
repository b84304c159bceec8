/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What is done to other disks while blockpull-bench stall has its guest read: they
 * are opened, refused, checked, started and closed, and their jobs end. Tables are
 * large and data is none: a file of a few hundred MiB that says it holds terabytes.
 */
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "bench/rig/big_tables.h"
#include "bench/rig/complain.h"
#include "bench/rig/scene.h"
#include "bench/rig/timed.h"
#include "bench/stall.h"
#include "engine/blockpull.h"
#include "tools/words/exit_code.h"

#define ALONE_NS   UINT64_C(1000000000)
#define GAP_US     1000
#define GONE_LEN   (4 * STALL_GUEST_LEN)
#define ENDING_LEN (UINT64_C(1) << 20)

struct timing {
	struct stall *b;
	enum stall_phase phase;
	uint64_t begin_ns;
};

static struct timing stall_begin(struct stall *b, enum stall_phase phase)
{
	atomic_store(&b->phase, phase);
	return (struct timing){ b, phase, timed_now_ns() };
}

static void stall_end(struct timing t)
{
	uint64_t took_ns = timed_now_ns() - t.begin_ns;

	/* Reads that it holds up still. */
	for (unsigned long n = atomic_load(&t.b->n_reads) + 2;
	     atomic_load(&t.b->n_reads) < n && !atomic_load(&t.b->guest_error);)
		usleep(GAP_US);
	atomic_store(&t.b->phase, STALL_ALONE);
	if (took_ns > t.b->longest_ns[t.phase])
		t.b->longest_ns[t.phase] = took_ns;
}

/* Refused, or not: it has looked at all tables. */
static void stall_check(struct stall *b, struct bpull_disk *disk)
{
	struct bpull_job_options job = { .size = sizeof(job),
					 .compression = BPULL_COMPRESSION_ZSTD };
	struct timing t = stall_begin(b, STALL_CHECK);

	bpull_job_check(disk, &job, NULL);
	stall_end(t);
}

/* One after the other, apart from each other. */
static int stall_open_and_close(struct stall *b, const char *name, uint32_t flags)
{
	bool with_job = !(flags & BPULL_DISK_GUEST_IO);
	struct bpull_disk_options o = scene_disk_options(BPULL_FORMAT_QCOW2, flags);
	struct bpull_job_options job = { .size = sizeof(job), .flags = BPULL_JOB_START_PAUSED };
	struct bpull_error error = { 0 };
	struct bpull_disk *disk;
	struct timing t = stall_begin(b, with_job ? STALL_OPEN_JOB : STALL_OPEN);
	int rc = bpull_disk_open(b->engine, name, &o, &disk, &error);

	stall_end(t);
	if (rc)
		return complain_library("open", &error, rc);
	if (with_job) {
		stall_check(b, disk);
		t = stall_begin(b, strcmp(name, "own") ? STALL_START : STALL_START_OWN);
		rc = bpull_job_start(disk, &job, &error);
		stall_end(t);
	}
	t = stall_begin(b, with_job ? STALL_CLOSE_JOB : STALL_CLOSE);
	bpull_disk_close(disk);
	stall_end(t);
	return rc ? complain_library("start", &error, rc) : 0;
}

/* As QEMU locks an image that it writes to. */
static int stall_lock_as_writer(const char *name, int *fd)
{
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 101, .l_len = 1 };

	*fd = open(name, O_RDWR | O_CLOEXEC);
	if (*fd < 0 || fcntl(*fd, F_OFD_SETLK, &lock))
		return complain_system(name);
	return 0;
}

static int stall_be_refused(struct stall *b)
{
	struct bpull_disk_options o = scene_disk_options(BPULL_FORMAT_QCOW2, BPULL_DISK_GUEST_IO);
	struct bpull_error error = { 0 };
	struct bpull_disk *disk;
	int fd, rc, code = stall_lock_as_writer("big", &fd);
	struct timing t;

	if (code)
		return code;
	t = stall_begin(b, STALL_REFUSED);
	rc = bpull_disk_open(b->engine, "big", &o, &disk, &error);
	stall_end(t);
	close(fd);
	if (rc)
		return 0;
	bpull_disk_close(disk);
	return complain(EXIT_CODE_FAILED, "a locked image was opened");
}

/* The type is another one each time, so that all tables are looked at. */
static int stall_start_beside_guest(struct stall *b, bool zstd)
{
	struct bpull_disk_options o = scene_disk_options(BPULL_FORMAT_QCOW2, BPULL_DISK_GUEST_IO);
	struct bpull_job_options job = { .size = sizeof(job),
					 .flags = BPULL_JOB_START_PAUSED,
					 .compression = zstd ? BPULL_COMPRESSION_ZSTD
							     : BPULL_COMPRESSION_ZLIB };
	struct bpull_error error = { 0 };
	struct bpull_disk *disk;
	struct timing t;
	int rc = bpull_disk_open(b->engine, "own", &o, &disk, &error);

	if (rc)
		return complain_library("open", &error, rc);
	bpull_pwrite(disk, "guest", 5, 0, 0);
	t = stall_begin(b, STALL_START_GUEST);
	rc = bpull_job_start(disk, &job, &error);
	stall_end(t);
	bpull_disk_close(disk);
	return rc ? complain_library("start beside a guest", &error, rc) : 0;
}

/* ---- ends ---- */

static void stall_await(struct bpull_disk *disk, enum bpull_job_state state)
{
	struct bpull_job_info info = { .size = sizeof(info) };

	do {
		usleep(GAP_US);
		bpull_job_get_info(disk, &info);
	} while (info.state != state && info.state != BPULL_JOB_CONCLUDED);
}

/* A job to READY, and then its end, which `end` asks for. Closes the disk. */
static int stall_time_end(struct stall *b, struct bpull_disk *disk, enum stall_phase phase,
			  int (*end)(struct bpull_disk *disk))
{
	struct bpull_job_options job = { .size = sizeof(job), .flags = BPULL_JOB_MANUAL_FINALIZE };
	struct bpull_error error = { 0 };
	int rc = bpull_job_start(disk, &job, &error);
	struct timing t;

	if (!rc) {
		stall_await(disk, BPULL_JOB_WAITING);
		t = stall_begin(b, phase);
		rc = end(disk);
		bpull_job_wait(disk, -1);
		stall_end(t);
	}
	bpull_disk_close(disk);
	return rc ? complain_library("job", &error, rc) : 0;
}

/* Its backing file is larger than the disk and has no name any more. */
static int stall_finalize(struct stall *b)
{
	struct bpull_disk_options o = scene_disk_options(BPULL_FORMAT_QCOW2, 0);
	struct bpull_error error = { 0 };
	struct bpull_disk *disk;
	int rc, code = scene_raw("gone", GONE_LEN, 0, GONE_LEN);

	unlink("ending");
	if (!code)
		code = scene_overlay("ending", BPULL_FORMAT_QCOW2, ENDING_LEN, 65536, "gone",
				     BPULL_FORMAT_RAW);
	sync();
	if (code)
		return code;
	rc = bpull_disk_open(b->engine, "ending", &o, &disk, &error);
	if (rc)
		return complain_library("open", &error, rc);
	unlink("gone");
	return stall_time_end(b, disk, STALL_FINALIZE, bpull_job_finalize);
}

static int stall_flatten(struct stall *b, enum stall_phase phase,
			 int (*end)(struct bpull_disk *disk))
{
	struct bpull_disk_options o = scene_disk_options(BPULL_FORMAT_RAW, BPULL_DISK_READ_ONLY);
	struct bpull_error error = { 0 };
	struct bpull_disk *disk;
	int rc;

	unlink("flat");
	rc = bpull_flatten_open(b->engine, "base", &o, "flat", NULL, &disk, &error);
	return rc ? complain_library("flatten", &error, rc) : stall_time_end(b, disk, phase, end);
}

static int stall_end_jobs(struct stall *b)
{
	int code = stall_finalize(b);

	if (!code)
		code = stall_flatten(b, STALL_FINALIZE_FLAT, bpull_job_finalize);
	if (!code)
		code = stall_flatten(b, STALL_ABORT_FLAT, bpull_job_abort);
	return code;
}

int stall_run_others(struct stall *b)
{
	int code = 0;

	usleep(ALONE_NS / 1000);
	for (uint64_t i = 0; i < b->times && !code; i++) {
		code = stall_open_and_close(b, "big", BPULL_DISK_GUEST_IO);
		if (!code)
			code = stall_be_refused(b);
		if (!code)
			code = stall_open_and_close(b, "above", 0);
		if (!code)
			code = stall_open_and_close(b, "own", 0);
		if (!code)
			code = stall_start_beside_guest(b, i % 2 == 0);
		if (!code)
			code = stall_end_jobs(b);
	}
	return code;
}

int stall_make(const struct stall *b)
{
	int code = scene_raw("base", STALL_GUEST_LEN, 0, STALL_GUEST_LEN);

	if (!code)
		code = scene_overlay("guest", BPULL_FORMAT_QCOW2, STALL_GUEST_LEN, 65536, "base",
				     BPULL_FORMAT_RAW);
	if (!code)
		code = big_tables_make("big", b->size, NULL);
	if (!code)
		code = big_tables_make("own", b->size, "base");
	if (!code)
		code = scene_overlay("above", BPULL_FORMAT_QCOW2, b->size, 65536, "big",
				     BPULL_FORMAT_QCOW2);
	sync();
	return code;
}
