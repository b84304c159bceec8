/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * An engine with a thread of its own, under threads of every kind at once: guests
 * that wait for their requests, one that takes events, one that steers the job, one
 * that opens, pulls and closes another disk over the same base. Wherever a lock, a
 * condition or a descriptor is used the thread may lose its turn, by a seed: so the
 * few instructions between two of them, in which a wake-up can be lost or a state
 * be half changed, become long.
 *
 * The kernel still chooses who runs next, so a seed is not the same run twice, only
 * the same storm; the orders themselves are the simulated machine's to draw
 * (test_model.c), where no thread is needed.
 *
 *   STORM_SEEDS=n STORM_SEED=first   more of them, or one again
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "io/base.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"
#include "tests/support/random.h"

#define N_GUESTS 4 /* the last one's requests end by events */
#define PART_LEN (256u << 10)
#define LEN      (N_GUESTS * PART_LEN)
#define MAX_LEN  (40u << 10)
#define N_OPS    60
#define HANG_MS  60000

TestSuite(thread_storm, .init = scratch_make, .fini = scratch_remove, .timeout = 600);

static uint64_t seed;
static atomic_uint n_threads;
static atomic_bool is_over; /* the guests are */
static struct bpull_engine *engine;
static struct bpull_disk *disk;
static uint8_t want[LEN];

static struct {
	atomic_uint completed, canceled, others;
} met;

static void check(bool ok, const char *what, int error)
{
	if (ok)
		return;
	fprintf(stderr, "STORM_SEED=%llu: %s: %s\n", (unsigned long long)seed, what,
		strerror(error < 0 ? -error : error));
	abort();
}

/* Each thread's own, by its number. */
static uint64_t roll(uint64_t n)
{
	static _Thread_local uint64_t state, of;

	if (of != seed) {
		of = seed;
		state = (seed * 64 + atomic_fetch_add(&n_threads, 1)) *
				UINT64_C(0x9e3779b97f4a7c15) +
			1;
	}
	return (random_step(&state) * UINT64_C(2685821657736338717) >> 20) % n;
}

/* ---- where a turn can be lost ---- */

static void lose_turn(void)
{
	uint64_t r = roll(240);

	if (r < 60)
		sched_yield();
	else if (r < 62)
		usleep((useconds_t)roll(400));
}

#define WRAP(type, name, parameters, ...)            \
	type __real_##name parameters;               \
	type __wrap_##name parameters;               \
	type __wrap_##name parameters                \
	{                                            \
		type result;                         \
                                                     \
		lose_turn();                         \
		result = __real_##name(__VA_ARGS__); \
		lose_turn();                         \
		return result;                       \
	}

WRAP(int, pthread_mutex_lock, (pthread_mutex_t * m), m)
WRAP(int, pthread_mutex_trylock, (pthread_mutex_t * m), m)
WRAP(int, pthread_mutex_unlock, (pthread_mutex_t * m), m)
WRAP(int, pthread_cond_signal, (pthread_cond_t * c), c)
WRAP(int, pthread_cond_broadcast, (pthread_cond_t * c), c)
WRAP(int, pthread_cond_wait, (pthread_cond_t * c, pthread_mutex_t *m), c, m)
WRAP(int, pthread_cond_timedwait,
     (pthread_cond_t * c, pthread_mutex_t *m, const struct timespec *end), c, m, end)
WRAP(int, poll, (struct pollfd * fds, nfds_t n, int timeout_ms), fds, n, timeout_ms)

/* ---- guests ---- */

static void draw(unsigned part, uint64_t *off, uint64_t *len)
{
	*len = 1 + roll(MAX_LEN);
	*off = part * (uint64_t)PART_LEN + roll(PART_LEN - *len + 1);
}

static void *run_guest(void *opaque)
{
	unsigned part = (unsigned)(uintptr_t)opaque;
	uint8_t *buf = malloc(MAX_LEN);

	for (unsigned i = 0; i < N_OPS; i++) {
		uint64_t off, len, kind = roll(16);
		int rc;

		draw(part, &off, &len);
		if (kind < 8) {
			rc = bpull_pread(disk, buf, len, off);
			check(rc || !memcmp(buf, want + off, len), "a read is wrong", EIO);
		} else if (kind < 13) {
			memset(want + off, (int)roll(256), len);
			rc = bpull_pwrite(disk, want + off, len, off, 0);
		} else if (kind < 15) {
			memset(want + off, 0, len);
			rc = bpull_pwrite_zeroes(disk, off, len, BPULL_IO_UNMAP);
		} else {
			rc = bpull_pflush(disk);
		}
		check(!rc, "a request failed", rc);
	}
	free(buf);
	return NULL;
}

static void *run_steering(void *opaque)
{
	struct bpull_job_info info = { .size = sizeof(info) };

	while (!atomic_load(&is_over)) {
		switch (roll(9)) {
		case 0: bpull_job_pause(disk); break;
		case 1: bpull_job_abort(disk); break;
		case 2: bpull_job_set_speed(disk, roll(3) * (64u << 20), 0); break;
		case 3: bpull_disk_set_copy_on_read(disk, (int)roll(2)); break;
		case 4: bpull_job_get_info(disk, &info); break;
		case 5: bpull_engine_set_speed(engine, roll(3) * (64u << 20), 0); break;
		default: bpull_job_resume(disk); break;
		}
		usleep((useconds_t)roll(300));
	}
	bpull_engine_set_speed(engine, 0, 0);
	bpull_job_set_speed(disk, 0, 0);
	bpull_job_resume(disk);
	return opaque;
}

static struct bpull_disk *open_disk(const char *path, uint32_t flags)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.format = BPULL_FORMAT_QCOW2,
					.flags = flags };
	struct bpull_error error = { 0 };
	struct bpull_disk *opened = NULL;
	int rc = bpull_disk_open(engine, path, &o, &opened, &error);

	check(!rc, error.message, rc);
	return opened;
}

/* Another disk over the same base comes and goes; closed in the middle of its job, or after it. */
static void *run_other(void *path)
{
	while (!atomic_load(&is_over)) {
		struct bpull_disk *other = open_disk(path, 0);
		int rc = bpull_job_start(other, NULL, NULL);

		check(!rc || bpull_disk_depth(other) == 1, "the other's job is refused", rc);
		if (roll(2))
			bpull_job_wait(other, (int)roll(4));
		if (roll(4) == 0)
			bpull_job_abort(other);
		bpull_disk_close(other);
		atomic_fetch_add(&met.others, 1);
	}
	return NULL;
}

/* ---- events, and jobs one after the other ---- */

struct events {
	uint8_t buf[MAX_LEN];
	uint64_t off, len;
	bool reads, job_runs, is_done;
	unsigned n_ops;
};

static void start_job(struct events *e)
{
	struct bpull_job_options o = { .size = sizeof(o),
				       .flags = roll(3) ? 0 : BPULL_JOB_VERIFY,
				       .guest_share = roll(2) * 100 };
	int rc = bpull_job_start(disk, &o, NULL);

	check(!rc, "a job is refused", rc);
	e->job_runs = true;
}

static void submit(struct events *e)
{
	struct iovec iov = { e->buf, 0 };

	draw(N_GUESTS - 1, &e->off, &e->len);
	iov.iov_len = e->len;
	e->reads = true;
	e->n_ops++;
	bpull_read(disk, &iov, 1, e->off, e);
}

static void take(struct events *e, const struct bpull_event *event)
{
	if (event->type == BPULL_EVENT_IO) {
		check(event->user_data == e && e->reads, "an event for no request", EIO);
		check(!event->error, "a request failed", event->error);
		check(!memcmp(e->buf, want + e->off, e->len), "a read is wrong", EIO);
		e->reads = false;
		return;
	}
	if (event->user_data != &disk) /* the other disk's, closed by now or soon */
		return;
	check(e->job_runs, "an event for no job", EIO);
	check(event->status != BPULL_JOB_FAILED, event->message, event->error);
	e->job_runs = false;
	e->is_done = event->status == BPULL_JOB_COMPLETED;
	atomic_fetch_add(e->is_done ? &met.completed : &met.canceled, 1);
}

/* Until the guests are over, and a job has completed. */
static void run_events(struct events *e)
{
	while (!atomic_load(&is_over) || e->reads || !e->is_done) {
		struct bpull_event events[3];
		int n;

		if (!e->job_runs && !e->is_done)
			start_job(e);
		if (!e->reads && !atomic_load(&is_over))
			submit(e);
		n = bpull_engine_wait(engine, events, 1 + (int)roll(3), e->reads ? HANG_MS : 1);
		check(n > 0 || !e->reads, "nothing happens", n < 0 ? n : ETIMEDOUT);
		for (int i = 0; i < n; i++)
			take(e, &events[i]);
	}
}

static void *wait_for_guests(void *threads)
{
	for (unsigned i = 0; i < N_GUESTS - 1; i++)
		pthread_join(((pthread_t *)threads)[i], NULL);
	atomic_store(&is_over, true);
	return NULL;
}

/* ---- a storm ---- */

static void judge(const char *path)
{
	static uint8_t got[LEN];
	int rc = bpull_pread(disk, got, LEN, 0);

	check(!rc && !memcmp(got, want, LEN), "the disk is not what it should be", rc);
	bpull_disk_close(disk);
	disk = open_disk(path, BPULL_DISK_READ_ONLY | BPULL_DISK_GUEST_IO);
	check(bpull_disk_depth(disk) == 1, "the link is there", EIO);
	rc = bpull_pread(disk, got, LEN, 0);
	check(!rc && !memcmp(got, want, LEN), "opened again it is not what it should be", rc);
}

static bool open_engine(void)
{
	struct bpull_engine_options o = { .size = sizeof(o),
					  .memory = 8u << 20,
					  .flags = BPULL_ENGINE_THREAD,
					  .io = seed % 2 ? BPULL_IO_AUTO : BPULL_IO_THREADS };

	return !bpull_engine_open(&o, &engine, NULL);
}

static void storm(const char *top, const char *other)
{
	struct bpull_disk_options o = { .size = sizeof(o),
					.format = BPULL_FORMAT_QCOW2,
					.user_data = &disk,
					.flags = BPULL_DISK_GUEST_IO };
	pthread_t guests[N_GUESTS - 1], steering, others, waits;
	struct events *e = calloc(1, sizeof(*e));

	check(open_engine(), "no engine", EIO);
	check(!bpull_disk_open(engine, top, &o, &disk, NULL), "it does not open", EIO);
	atomic_store(&is_over, false);
	for (unsigned i = 0; i < N_GUESTS - 1; i++)
		pthread_create(&guests[i], NULL, run_guest, (void *)(uintptr_t)i);
	pthread_create(&steering, NULL, run_steering, NULL);
	pthread_create(&others, NULL, run_other, (void *)other);
	pthread_create(&waits, NULL, wait_for_guests, guests);
	run_events(e);
	pthread_join(waits, NULL);
	pthread_join(steering, NULL);
	pthread_join(others, NULL);
	judge(top);
	bpull_engine_close(engine);
	free(e);
}

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

Test(thread_storm, guests_jobs_events_and_another_disk)
{
	uint64_t first = number("STORM_SEED", 1), n = number("STORM_SEEDS", 16);

	for (seed = first; seed < first + n; seed++) {
		for (size_t i = 0; i < LEN; i++)
			want[i] = (uint8_t)(i * 7 + i / 1000 + seed);
		memset(want + PART_LEN / 2, 0, PART_LEN / 2);
		scratch_file("base.raw", want, LEN);
		unlink(scratch("top"));
		unlink(scratch("other"));
		make_overlay("top", BPULL_FORMAT_QCOW2, "base.raw");
		make_overlay("other", BPULL_FORMAT_QCOW2, "base.raw");
		storm(scratch("top"), scratch("other"));
	}
	fprintf(stderr,
		"seeds %llu to %llu: %u pulls completed, %u canceled, %u times another disk\n",
		(unsigned long long)first, (unsigned long long)(first + n - 1), met.completed,
		met.canceled, met.others);
	cr_assert_geq(met.completed, n);
	cr_assert_gt(met.others, n);
}
