/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Jobs of one compression type and the other start on a disk whose guest writes, reads and flushes
 * in a thread of its own: each start looks at every table and writes the header, with other threads
 * let in and commits of the disk held back. Every flush ends, every start finds its type, and what
 * the guest wrote is there at the end.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tests/support/effort.h"
#include "tests/support/files/scratch.h"
#include "tests/support/random.h"
#include "tests/support/time_limit.h"

#define DISK_LEN (4u << 20)
#define MAX_LEN  (96u << 10)
#define N_STARTS 40
#define TYPE_OFF 104 /* of the compression type in the header */

TIME_LIMIT(120);
TestSuite(types_thread, .init = scratch_make, .fini = scratch_remove,
	  .timeout = TIME_LIMIT_CLOCK(120));

struct guest {
	pthread_t thread;
	struct bpull_disk *disk;
	uint64_t seed, state;
	uint8_t *model, *buf;
	atomic_bool ends;
	atomic_uint n_flushes;
	char wrong[100]; /* "": nothing */
};

static void go(struct guest *g)
{
	uint64_t off = random_below(&g->state, DISK_LEN / 512) * 512;
	uint64_t len = 512 + random_below(&g->state, MAX_LEN / 512) * 512;
	int rc = 0;

	if (len > DISK_LEN - off)
		len = DISK_LEN - off;
	if (random_below(&g->state, 3)) {
		memset(g->model + off, (int)random_below(&g->state, 256), len);
		rc = bpull_pwrite(g->disk, g->model + off, len, off, 0);
	} else {
		rc = bpull_pread(g->disk, g->buf, len, off);
		if (!rc && memcmp(g->buf, g->model + off, len) != 0)
			rc = -1;
	}
	if (!rc && !random_below(&g->state, 3)) {
		rc = bpull_pflush(g->disk);
		g->n_flushes++;
	}
	if (rc)
		snprintf(g->wrong, sizeof(g->wrong), "%" PRIu64 " bytes at %" PRIu64 ": %d", len,
			 off, rc);
}

static void *guest_main(void *opaque)
{
	struct guest *g = opaque;

	while (!g->ends && !g->wrong[0])
		go(g);
	return NULL;
}

static uint8_t type_on_disk(void)
{
	int fd = open(scratch("top"), O_RDONLY | O_CLOEXEC);
	uint8_t type = 0xff;

	cr_assert_eq(pread(fd, &type, 1, TYPE_OFF), 1);
	close(fd);
	return type;
}

/* Nothing is copied: the next one may change the type again. */
static void start_and_abort(struct guest *g, enum bpull_compression type)
{
	struct bpull_job_options o = { .size = sizeof(o),
				       .flags = BPULL_JOB_START_PAUSED,
				       .compression = type };
	struct bpull_error error = { 0 };

	cr_assert_eq(bpull_job_check(g->disk, &o, &error), 0, "seed %" PRIu64 ": %s", g->seed,
		     error.message);
	cr_assert_eq(bpull_job_start(g->disk, &o, &error), 0, "seed %" PRIu64 ": %s", g->seed,
		     error.message);
	cr_assert_eq(type_on_disk(), type == BPULL_COMPRESSION_ZSTD, "seed %" PRIu64, g->seed);
	cr_assert_eq(bpull_job_abort(g->disk), 0);
	bpull_job_wait(g->disk, -1);
}

static void judge(struct bpull_engine *engine, struct guest *g)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.flags = BPULL_DISK_GUEST_IO | BPULL_DISK_READ_ONLY };
	struct bpull_disk *disk;

	cr_assert_eq(bpull_disk_open(engine, scratch("top"), &o, &disk, NULL), 0);
	cr_assert_eq(bpull_disk_depth(disk), 1);
	cr_assert_eq(bpull_pread(disk, g->buf, DISK_LEN, 0), 0);
	cr_assert_eq(memcmp(g->buf, g->model, DISK_LEN), 0, "seed %" PRIu64 ": other bytes",
		     g->seed);
	bpull_disk_close(disk);
}

/* Of clusters so small that a look at its tables takes many reads. */
static void make_top(void)
{
	struct bpull_create_options o = { .size = sizeof(o),
					  .format = BPULL_FORMAT_QCOW2,
					  .cluster_size = 512,
					  .backing_name = "base",
					  .backing_format = BPULL_FORMAT_RAW };
	struct bpull_error error = { 0 };

	unlink(scratch("top"));
	cr_assert_eq(bpull_create(scratch("top"), &o, &error), 0, "%s", error.message);
}

static void trial(uint64_t seed)
{
	struct bpull_engine_options eo = { .size = sizeof(eo), .flags = BPULL_ENGINE_THREAD };
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO };
	struct bpull_job_options job = { .size = sizeof(job),
					 .compression = BPULL_COMPRESSION_ZSTD };
	struct guest g = { .seed = seed, .state = seed | 1 };
	struct bpull_engine *engine;

	g.model = malloc(DISK_LEN);
	g.buf = malloc(DISK_LEN);
	memset(g.model, 0x5a, DISK_LEN);
	scratch_filled("base", 0x5a, DISK_LEN);
	make_top();
	cr_assert_eq(bpull_engine_open(&eo, &engine, NULL), 0);
	cr_assert_eq(bpull_disk_open(engine, scratch("top"), &o, &g.disk, NULL), 0);
	cr_assert_eq(pthread_create(&g.thread, NULL, guest_main, &g), 0);
	for (unsigned i = 0; i < EFFORT(N_STARTS); i++)
		start_and_abort(&g, i % 2 ? BPULL_COMPRESSION_ZLIB : BPULL_COMPRESSION_ZSTD);
	cr_assert_eq(bpull_job_start(g.disk, &job, NULL), 0);
	cr_assert_eq(bpull_job_wait(g.disk, -1), 0);
	while (!g.n_flushes && !g.wrong[0])
		usleep(1000);
	g.ends = true;
	pthread_join(g.thread, NULL);
	cr_assert_str_empty(g.wrong, "seed %" PRIu64 ": %s", seed, g.wrong);
	bpull_disk_close(g.disk);
	judge(engine, &g);
	bpull_engine_close(engine);
	free(g.model);
	free(g.buf);
}

Test(types_thread, a_type_changes_beside_a_guest)
{
	uint64_t seed = (uint64_t)time(NULL);

	for (unsigned i = 0; i < 3; i++) {
		cr_log_info("seed %" PRIu64, seed + i);
		trial(seed + i);
		scratch_run("rm", scratch("base"), NULL);
	}
	/* What QEMU thinks of the last one. */
	cr_assert_leq(scratch_run("qemu-img", "check", "-f", "qcow2", scratch("top"), NULL), 0);
}
