/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Threads that use one disk at once, each its own range, by calls that wait;
 * one more that steers the job. For the sanitizers, and for test_guest.py.
 *
 *   thread_driver IMAGE FORMAT FLAT SEED N_OPS [threads]
 *
 * FLAT holds the disk's content, and is written back as it must be at the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tests/support/random.h"

#define N_THREADS 4
#define MAX_LEN   (100 * 1024)

struct guest {
	pthread_t thread;
	uint64_t state, off, len;
	unsigned n_ops;
};

static struct bpull_disk *disk;
static uint8_t *flat;
static uint64_t flat_len;
static atomic_int stop;

static void die(const char *what, int error)
{
	fprintf(stderr, "thread_driver: %s: %s\n", what, strerror(-error));
	exit(1);
}

static uint64_t draw_below(uint64_t *state, uint64_t n)
{
	return n ? (random_step(state) * UINT64_C(2685821657736338717) >> 11) % n : 0;
}

static void transfer_file(const char *path, int write_it)
{
	int fd = open(path, write_it ? O_WRONLY : O_RDONLY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		die(path, -errno);
	if (!write_it) {
		flat_len = st.st_size;
		flat = malloc(flat_len + 1);
	}
	for (uint64_t at = 0; at < flat_len;) {
		ssize_t n = write_it ? pwrite(fd, flat + at, flat_len - at, at)
				     : pread(fd, flat + at, flat_len - at, at);

		if (n <= 0)
			die(path, n ? -errno : -EIO);
		at += n;
	}
	close(fd);
}

static void one_op(struct guest *g, uint8_t *buf)
{
	uint64_t len = 1 + draw_below(&g->state, g->len < MAX_LEN ? g->len : MAX_LEN);
	uint64_t off = g->off + draw_below(&g->state, g->len - len + 1);
	uint64_t kind = draw_below(&g->state, 20);
	int rc = 0;

	if (kind < 9) {
		rc = bpull_pread(disk, buf, len, off);
		if (!rc && memcmp(buf, flat + off, len))
			die("a read is wrong", -EIO);
	} else if (kind < 17) {
		memset(flat + off, (int)draw_below(&g->state, 256), len);
		rc = bpull_pwrite(disk, flat + off, len, off, kind == 16 ? BPULL_IO_FUA : 0);
	} else if (kind < 19) {
		memset(flat + off, 0, len);
		rc = bpull_pwrite_zeroes(disk, off, len, BPULL_IO_UNMAP);
	} else {
		rc = bpull_pflush(disk);
	}
	if (rc)
		die("a request failed", rc);
}

static void *run_guest(void *opaque)
{
	uint8_t *buf = malloc(MAX_LEN);
	struct guest *g = opaque;

	for (unsigned i = 0; i < g->n_ops; i++)
		one_op(g, buf);
	free(buf);
	return NULL;
}

static void *run_steering(void *opaque)
{
	struct guest *g = opaque;
	struct bpull_job_info info = { .size = sizeof(info) };
	uint64_t cur = 0;

	while (!atomic_load(&stop)) {
		switch (draw_below(&g->state, 5)) {
		case 0: bpull_job_set_speed(disk, draw_below(&g->state, 50) << 20, 0); break;
		case 1: bpull_job_pause(disk); break;
		case 2: bpull_job_resume(disk); break;
		case 3: bpull_disk_set_copy_on_read(disk, (int)draw_below(&g->state, 2)); break;
		default:
			bpull_job_get_info(disk, &info);
			if (info.cur < cur || info.cur > info.end)
				die("the cursor went back", -EIO);
			cur = info.cur;
		}
		usleep(500);
	}
	bpull_job_resume(disk);
	bpull_job_set_speed(disk, 0, 0);
	return NULL;
}

/* It takes no events: each time its wait is over, and must touch nothing that the engine's thread
 * works on. */
static void *run_waiting(void *opaque)
{
	struct bpull_engine *engine = opaque;

	for (int ms = 0; !atomic_load(&stop); ms = (ms + 1) % 3) {
		int rc = bpull_engine_wait(engine, NULL, 0, ms);

		if (rc)
			die("a wait for no event ends", rc);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct bpull_engine_options eo = { .size = sizeof(eo),
					   .memory = 16 << 20,
					   .flags = BPULL_ENGINE_THREAD };
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO };
	/* So that it can't be over before the second start. */
	struct bpull_job_options job = { .size = sizeof(job), .flags = BPULL_JOB_START_PAUSED };
	struct guest guests[N_THREADS + 1];
	struct bpull_engine *engine;
	struct bpull_error error;
	struct bpull_event event;
	pthread_t waiting;
	int rc;

	if (argc < 6)
		return 2;
	transfer_file(argv[3], 0);
	eo.io = argc > 6 ? BPULL_IO_THREADS : BPULL_IO_AUTO;
	o.format = bpull_format_by_name(argv[2]);
	if (bpull_engine_open(&eo, &engine, &error) ||
	    bpull_disk_open(engine, argv[1], &o, &disk, &error) ||
	    bpull_job_start(disk, &job, &error)) {
		fprintf(stderr, "thread_driver: %s\n", error.message);
		return 1;
	}
	if (bpull_job_start(disk, NULL, NULL) != -EBUSY)
		die("a second start is not refused", -EIO);
	rc = bpull_job_resume(disk);
	if (rc)
		die("the job can't be resumed", rc);
	pthread_create(&waiting, NULL, run_waiting, engine);
	for (unsigned i = 0; i <= N_THREADS; i++) {
		struct guest *g = &guests[i];

		*g = (struct guest){
			.state = (strtoull(argv[4], NULL, 0) * 8 + i) *
					 UINT64_C(0x9e3779b97f4a7c15) +
				 1,
			.off = flat_len / N_THREADS * i,
			.len = flat_len / N_THREADS,
			.n_ops = (unsigned)strtoul(argv[5], NULL, 0),
		};
		pthread_create(&g->thread, NULL, i < N_THREADS ? run_guest : run_steering, g);
	}
	for (unsigned i = 0; i < N_THREADS; i++)
		pthread_join(guests[i].thread, NULL);
	atomic_store(&stop, 1);
	pthread_join(guests[N_THREADS].thread, NULL);
	pthread_join(waiting, NULL);
	if (bpull_job_wait(disk, 30000))
		die("the job does not end", -ETIMEDOUT);
	rc = bpull_engine_wait(engine, &event, 1, 10000);
	if (rc != 1 || event.type != BPULL_EVENT_JOB || event.status != BPULL_JOB_COMPLETED)
		die("no event of completion", rc < 0 ? rc : -EIO);
	bpull_disk_close(disk);
	bpull_engine_close(engine);
	transfer_file(argv[3], 1);
	free(flat);
	return 0;
}
