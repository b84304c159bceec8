/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A disk whose requests are held: those that run end, those that come wait, whatever
 * kind they are of and however they are submitted, and go on in their order.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/core/disk.h"
#include "engine/core/lock.h"
#include "engine/guest/hold.h"
#include "engine/guest/request.h"
#include "io/base.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

#define BASE_LEN (4 * MiB)
#define N_BEFORE 300
#define MAX_SEEN 64
#define N_ROUNDS 50

TIME_LIMIT(60);
TestSuite(guest_hold, .init = scratch_make, .fini = scratch_remove,
	  .timeout = TIME_LIMIT_CLOCK(60));

static struct bpull_engine *engine;
static struct bpull_disk *disk;

static void start(uint32_t flags)
{
	struct bpull_engine_options eo = { .size = sizeof(eo), .flags = flags };
	struct bpull_disk_options o = { .size = sizeof(o), .flags = BPULL_DISK_GUEST_IO };
	struct bpull_error error = { 0 };
	char *bytes = malloc(BASE_LEN);

	memset(bytes, 0x5a, BASE_LEN);
	scratch_file("base.raw", bytes, BASE_LEN);
	free(bytes);
	make_overlay("top.qcow2", BPULL_FORMAT_QCOW2, "base.raw");
	cr_assert_eq(bpull_engine_open(&eo, &engine, &error), 0, "%s", error.message);
	cr_assert_eq(bpull_disk_open(engine, scratch("top.qcow2"), &o, &disk, &error), 0, "%s",
		     error.message);
}

/* What has ended, in order; of those before the hold, which have no number, how many. */
struct seen {
	struct bpull_event events[MAX_SEEN];
	unsigned n, n_before;
};

static void take(struct seen *seen, int wait_ms)
{
	struct bpull_event events[16];
	int got = bpull_engine_wait(engine, events, 16, wait_ms);

	for (int i = 0; i < got; i++) {
		if (!events[i].user_data) {
			cr_assert_eq(events[i].error, 0);
			seen->n_before++;
		} else {
			seen->events[seen->n++] = events[i];
		}
	}
}

static void *number(uintptr_t n)
{
	return (void *)n;
}

struct held_requests {
	char put[4096], before[4096], after[4096];
	struct bpull_extent extents[4];
};

/* A read that the page cache could answer at once, then a write to the same bytes, and so on. The
 * last is behind the disk's end. */
static void submit_held(struct held_requests *r)
{
	struct iovec before = { r->before, 4096 }, put = { r->put, 4096 },
		     after = { r->after, 4096 };

	memset(r->put, 0x77, sizeof(r->put));
	bpull_read(disk, &before, 1, 65536, number(1));
	bpull_write(disk, &put, 1, 65536, 0, number(2));
	bpull_flush(disk, number(3));
	bpull_read(disk, &after, 1, 65536, number(4));
	bpull_block_status(disk, 0, BASE_LEN, r->extents, 4, number(5));
	bpull_write_zeroes(disk, 131072, 65536, 0, number(6));
	bpull_discard(disk, 262144, 65536, number(7));
	bpull_read(disk, &after, 1, BASE_LEN, number(8));
}
#define N_HELD 8

static void submit_before(char *bytes)
{
	struct iovec iov = { bytes, 512 };

	for (unsigned i = 0; i < N_BEFORE; i++)
		bpull_write(disk, &iov, 1, i * UINT64_C(8192) + 512, 0, NULL);
}

Test(guest_hold, those_that_run_end_and_those_that_come_wait)
{
	static struct held_requests r;
	struct seen seen = { 0 };
	char bytes[512] = { 1 };

	start(0);
	submit_before(bytes);
	guest_hold(disk);
	cr_assert_not(guest_is_held_quiet(disk), "nothing runs: this shows nothing");
	submit_held(&r);
	while (!guest_is_held_quiet(disk))
		take(&seen, 100);
	for (unsigned i = 0; i < N_ROUNDS || seen.n_before < N_BEFORE; i++)
		take(&seen, 1);
	cr_assert_eq(seen.n_before, N_BEFORE);
	cr_assert_eq(seen.n, 0, "a request did not wait");
	cr_assert_eq(disk->guests.stats.read.requests + disk->guests.stats.flush.requests, 0);
	cr_expect_eq(bpull_disk_drain(disk, 20), -ETIMEDOUT, "what waits was not waited for");
	guest_release(disk);
	cr_assert_not(guest_is_held_quiet(disk));
	cr_assert_eq(bpull_disk_drain(disk, 60000), 0);
	while (seen.n < N_HELD)
		take(&seen, 1000);
	for (unsigned i = 0; i < N_HELD; i++) {
		uintptr_t n = (uintptr_t)seen.events[i].user_data;

		cr_expect_eq(seen.events[i].error, n == N_HELD ? -EINVAL : 0, "%zu: %d", (size_t)n,
			     seen.events[i].error);
	}
	bpull_engine_close(engine);
}

Test(guest_hold, what_waits_begins_in_its_order)
{
	static char bytes[16][4096];
	struct seen seen = { 0 };
	const struct guest *g;

	start(0);
	guest_hold(disk);
	for (unsigned i = 0; i < 16; i++) {
		struct iovec iov = { bytes[i], 4096 };

		bpull_read(disk, &iov, 1, i * UINT64_C(65536), number(i + 1));
	}
	cr_assert(guest_is_held_quiet(disk));
	guest_release(disk);
	cr_assert_null(disk->guests.hold.first);
	g = disk->guests.first;
	for (unsigned i = 0; i < 16; i++, g = g->list.next)
		cr_assert_eq(g->user_data, number(i + 1), "%u", i);
	while (seen.n < 16)
		take(&seen, 1000);
	/* Held again, and once more with nothing that waits. */
	guest_hold(disk);
	guest_release(disk);
	guest_hold(disk);
	guest_release(disk);
	bpull_engine_close(engine);
}

/* A job is to come nearer to what the guest writes. */
Test(guest_hold, what_changes_no_data_does_not_wait_for_a_hold_of_changes)
{
	static const uintptr_t wanted[] = { 2, 6, 7 };
	static struct held_requests r;
	struct seen seen = { 0 };
	const struct guest *g;

	start(0);
	guest_hold_changes(disk);
	submit_held(&r);
	while (seen.n < N_HELD - ARRAY_LEN(wanted))
		take(&seen, 1000);
	for (unsigned i = 0; i < N_ROUNDS; i++)
		take(&seen, 1);
	cr_assert_eq(seen.n, N_HELD - ARRAY_LEN(wanted), "a change did not wait");
	cr_expect_eq(r.before[0], 0x5a);
	g = disk->guests.hold.first;
	for (unsigned i = 0; i < ARRAY_LEN(wanted); i++, g = g->room.next)
		cr_assert_eq(g->user_data, number(wanted[i]), "%u", i);
	guest_release(disk);
	while (seen.n < N_HELD)
		take(&seen, 1000);
	guest_hold(disk); /* of all, after one of changes */
	submit_held(&r);
	for (unsigned i = 0; i < N_ROUNDS; i++)
		take(&seen, 1);
	cr_assert_eq(seen.n, N_HELD, "a request did not wait");
	guest_release(disk);
	while (seen.n < 2 * N_HELD)
		take(&seen, 1000);
	bpull_engine_close(engine);
}

struct caller {
	pthread_t thread;
	char buf[4096];
	atomic_int began, ended;
	int rc;
	unsigned which;
};

static void *call(void *arg)
{
	struct caller *c = arg;

	atomic_store(&c->began, 1);
	switch (c->which) {
	case 0: c->rc = bpull_pread(disk, c->buf, sizeof(c->buf), 65536); break;
	case 1: c->rc = bpull_pwrite(disk, c->buf, sizeof(c->buf), 131072, 0); break;
	case 2: c->rc = bpull_pflush(disk); break;
	case 3: c->rc = bpull_presize(disk, BASE_LEN + MiB, NULL); break;
	}
	atomic_store(&c->ended, 1);
	return NULL;
}

Test(guest_hold, calls_that_wait_for_their_result_wait_longer)
{
	static struct caller callers[4];

	start(BPULL_ENGINE_THREAD);
	cr_assert_eq(bpull_pread(disk, callers[0].buf, 4096, 65536), 0); /* it is in the cache */
	engine_enter(engine);
	guest_hold(disk);
	engine_leave(engine);
	for (unsigned i = 0; i < 4; i++) {
		callers[i].which = i;
		cr_assert_eq(pthread_create(&callers[i].thread, NULL, call, &callers[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++)
		while (!atomic_load(&callers[i].began))
			sched_yield();
	nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
	for (unsigned i = 0; i < 4; i++)
		cr_expect_not(atomic_load(&callers[i].ended), "call %u did not wait", i);
	engine_enter(engine);
	cr_expect(guest_is_held_quiet(disk));
	cr_expect_not(disk->guests.is_growing, "it was looked at on layers that may go");
	guest_release(disk);
	engine_leave(engine);
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(callers[i].thread, NULL);
		cr_expect_eq(callers[i].rc, 0, "call %u: %d", i, callers[i].rc);
	}
	cr_expect_eq(bpull_disk_size(disk), BASE_LEN + MiB);
	bpull_engine_close(engine);
}
