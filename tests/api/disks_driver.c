/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Threads that open, start, map and close disks of one engine at once, over one
 * template, while a guest of another disk over it reads, copies on reading and
 * writes. Through the public interface alone, and without Criterion, whose
 * processes the thread sanitizer does not survive.
 *
 *   disks_driver N_ROUNDS [threads]
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/blockpull.h"

#define DISK_LEN (UINT64_C(4) << 20)
#define PIECE    UINT64_C(65536)
#define N_PIECES (DISK_LEN / PIECE)

static const char *const names[] = { "template", "guest", "top0", "top1", "top2" };
static char dir[] = "/tmp/disks_driver.XXXXXX";
static struct bpull_engine *engine;
static unsigned n_rounds;
static atomic_bool stop;

static void clean(void)
{
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink(names[i]);
	rmdir(dir);
}

static void die(const char *what, int rc, const char *why)
{
	fprintf(stderr, "disks_driver: %s: %s %s\n", what, strerror(-rc), why);
	_exit(1);
}

static void create(const char *name, const char *backing)
{
	struct bpull_create_options o = { .size = sizeof(o),
					  .format = BPULL_FORMAT_QCOW2,
					  .virtual_size = DISK_LEN,
					  .backing_name = backing,
					  .backing_format = BPULL_FORMAT_QCOW2 };
	struct bpull_error error = { 0 };
	int rc;

	if (!backing)
		o.backing_format = BPULL_FORMAT_UNKNOWN;
	rc = bpull_create(name, &o, &error);
	if (rc)
		die("create", rc, error.message);
}

static struct bpull_disk *open_disk(const char *name, uint32_t flags)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.format = BPULL_FORMAT_QCOW2,
					.flags = flags };
	struct bpull_error error = { 0 };
	struct bpull_disk *disk;
	int rc = bpull_disk_open(engine, name, &o, &disk, &error);

	if (rc)
		die("open", rc, error.message);
	return disk;
}

static void fill(void)
{
	struct bpull_disk *disk = open_disk("template", BPULL_DISK_GUEST_IO);
	char buf[PIECE];

	for (uint64_t i = 0; i < N_PIECES; i++) {
		memset(buf, (int)i + 1, PIECE);
		if (bpull_pwrite(disk, buf, PIECE, i * PIECE, 0))
			die("fill", -EIO, "");
	}
	bpull_disk_close(disk);
}

static void check(struct bpull_disk *disk, uint64_t piece)
{
	char buf[4096];
	int rc = bpull_pread(disk, buf, sizeof(buf), piece * PIECE + 8192);

	for (unsigned i = 0; !rc && i < sizeof(buf); i++)
		rc = buf[i] != (char)(piece + 1) ? -EBADMSG : 0;
	if (rc)
		die("read", rc, "");
}

/* Reads what the template has; writes beside what it reads. */
static void *run_guest(void *opaque)
{
	struct bpull_disk *disk = opaque;

	for (uint64_t i = 0; !atomic_load(&stop); i++) {
		check(disk, i % N_PIECES);
		if (i % 16 == 0 && bpull_pwrite(disk, "x", 1, i % N_PIECES * PIECE, 0))
			die("write", -EIO, "");
	}
	return NULL;
}

static void run_job(struct bpull_disk *disk, unsigned i)
{
	struct bpull_job_options o = { .size = sizeof(o), .flags = BPULL_JOB_MANUAL_FINALIZE };
	struct bpull_error error = { 0 };
	struct bpull_extent extents[4];
	int rc = i % 2 ? bpull_job_check(disk, &o, &error) : 0;

	if (!rc)
		rc = bpull_job_start(disk, &o, &error);
	if (rc)
		die("start", rc, error.message);
	rc = bpull_disk_map(disk, 0, extents, 4, &error);
	if (rc < 1)
		die("map", rc, error.message);
	if (i % 4 == 1)
		bpull_job_wait(disk, 2);
	if (i % 4 == 2)
		bpull_job_abort(disk);
}

static void *run_disk(void *opaque)
{
	for (unsigned i = 0; i < n_rounds; i++) {
		uint32_t flags = i % 3 ? 0 : BPULL_DISK_GUEST_IO | BPULL_DISK_COPY_ON_READ;
		struct bpull_disk *disk = open_disk(opaque, flags);

		if (flags)
			check(disk, i % N_PIECES);
		if (i % 5)
			run_job(disk, i);
		bpull_disk_close(disk);
	}
	return NULL;
}

static void make(void)
{
	if (!mkdtemp(dir) || chdir(dir))
		die(dir, -errno, "");
	create("template", NULL);
	fill();
	for (unsigned i = 1; i < sizeof(names) / sizeof(names[0]); i++)
		create(names[i], "template");
}

int main(int argc, char **argv)
{
	struct bpull_engine_options eo = { .size = sizeof(eo),
					   .memory = 8 << 20,
					   .flags = BPULL_ENGINE_THREAD };
	struct bpull_error error = { 0 };
	struct bpull_disk *guest;
	pthread_t threads[4];

	if (argc < 2)
		return 2;
	n_rounds = (unsigned)strtoul(argv[1], NULL, 10);
	eo.io = argc > 2 ? BPULL_IO_THREADS : BPULL_IO_AUTO;
	if (bpull_engine_open(&eo, &engine, &error))
		die("engine", error.code, error.message);
	make();
	guest = open_disk("guest", BPULL_DISK_GUEST_IO | BPULL_DISK_COPY_ON_READ);
	pthread_create(&threads[3], NULL, run_guest, guest);
	for (unsigned i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, run_disk, (void *)names[2 + i]);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&stop, true);
	pthread_join(threads[3], NULL);
	bpull_engine_close(engine);
	clean();
	return 0;
}
