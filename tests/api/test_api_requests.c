/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the header and docs/embedding.md promise of requests and of waiting:
 * limits of vectors, requests of no bytes, their order, draining, edge-triggered polling,
 * another thread taking the engine over, waiting for a job that is paused.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/blockpull.h"
#include "tests/api/api_rig.h"
#include "tests/support/files/overlay.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

#define BASE_LEN  (8u * MiB)
#define N_ENTRIES 1024

static struct bpull_disk *disk;
static char id;

static void make_files(void)
{
	uint8_t *bytes = malloc(BASE_LEN);

	scratch_make();
	for (size_t i = 0; i < BASE_LEN; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 4096);
	scratch_file("base", bytes, BASE_LEN);
	free(bytes);
	make_overlay("top", BPULL_FORMAT_QCOW2, "base");
}

TIME_LIMIT(120);
TestSuite(api_requests, .init = make_files, .fini = api_rig_end, .timeout = TIME_LIMIT_CLOCK(120));

/* Entries of 1 to 61 bytes, so that none begins on a sector. Returns the sum. */
static size_t scatter(uint8_t *bytes, struct iovec *iov)
{
	size_t at = 0;

	for (unsigned i = 0; i < N_ENTRIES; i++) {
		iov[i] = (struct iovec){ bytes + at, 1 + i % 61 };
		at += iov[i].iov_len;
	}
	return at;
}

/* As many entries as there may be, in space that is new: the library adds head and tail to them. */
Test(api_requests, the_longest_vector_fits_into_new_space)
{
	static uint8_t out[64 * N_ENTRIES], in[64 * N_ENTRIES];
	static struct iovec to[N_ENTRIES + 1], from[N_ENTRIES + 1];
	const uint64_t offs[] = { 3 * MiB + 777, BASE_LEN - 40000 };
	size_t len = scatter(out, to);

	disk = api_rig_begin_guest(BPULL_ENGINE_THREAD);
	cr_assert_eq(scatter(in, from), len);
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(i * 31 + 5);
	for (unsigned k = 0; k < 2; k++) {
		memset(in, 0, sizeof(in));
		cr_assert_eq(bpull_pwritev(disk, to, N_ENTRIES, offs[k], 0), 0);
		cr_assert_eq(bpull_preadv(disk, from, N_ENTRIES, offs[k]), 0);
		cr_assert_eq(memcmp(in, out, len), 0, "at %llu", (unsigned long long)offs[k]);
		memset(in, 0, sizeof(in));
		cr_assert_eq(bpull_pread(disk, in, len, offs[k]), 0);
		cr_assert_eq(memcmp(in, out, len), 0);
		/* The bytes around it are the base's. */
		cr_assert_eq(bpull_pread(disk, in, 1, offs[k] - 1), 0);
		cr_assert_eq(in[0], (uint8_t)((offs[k] - 1) * 7 + (offs[k] - 1) / 4096));
	}
	to[N_ENTRIES] = from[N_ENTRIES] = (struct iovec){ in, 1 };
	cr_assert_eq(bpull_pwritev(disk, to, N_ENTRIES + 1, 0, 0), -EINVAL);
	cr_assert_eq(bpull_preadv(disk, from, N_ENTRIES + 1, 0), -EINVAL);
	cr_assert_eq(bpull_preadv(disk, from, -1, 0), -EINVAL);
	cr_assert_eq(bpull_pwritev(disk, to, 1, 0, 1u << 31), -EINVAL);
}

/* The whole disk in one request, and one byte more. */
Test(api_requests, a_request_may_be_of_the_whole_disk_and_no_more)
{
	uint8_t *bytes = calloc(1, BASE_LEN);
	struct iovec wraps[2] = { { bytes, SIZE_MAX }, { bytes, 2 } };

	disk = api_rig_begin_guest(BPULL_ENGINE_THREAD);
	cr_assert_eq(bpull_pread(disk, bytes, BASE_LEN, 0), 0);
	cr_assert_eq(bytes[BASE_LEN - 1], (uint8_t)((BASE_LEN - 1) * 7u + (BASE_LEN - 1) / 4096));
	cr_assert_eq(bpull_pwrite(disk, bytes, BASE_LEN, 0, 0), 0);
	cr_assert_eq(bpull_pread(disk, bytes, BASE_LEN, 1), -EINVAL);
	cr_assert_eq(bpull_pwrite(disk, bytes, 1, BASE_LEN, 0), -EINVAL);
	cr_assert_eq(bpull_pwrite(disk, bytes, 1, UINT64_MAX, 0), -EINVAL);
	cr_assert_eq(bpull_preadv(disk, wraps, 2, 0), -EINVAL, "a sum that wraps");
	free(bytes);
}

Test(api_requests, requests_of_no_bytes_end_well_inside_the_disk)
{
	const uint64_t offs[] = { 0, 777, BASE_LEN, BASE_LEN + 1, UINT64_MAX };
	struct bpull_extent extent;
	struct iovec empty = { NULL, 0 };

	disk = api_rig_begin_guest(0);
	for (unsigned i = 0; i < sizeof(offs) / sizeof(offs[0]); i++) {
		int wanted = offs[i] <= BASE_LEN ? 0 : -EINVAL;

		for (int n_iov = 0; n_iov < 2; n_iov++) {
			bpull_read(disk, &empty, n_iov, offs[i], &id);
			cr_assert_eq(api_rig_request(&id), wanted, "read %u", i);
			bpull_write(disk, &empty, n_iov, offs[i], BPULL_IO_FUA, &id);
			cr_assert_eq(api_rig_request(&id), wanted, "write %u", i);
		}
		bpull_write_zeroes(disk, offs[i], 0, BPULL_IO_UNMAP, &id);
		cr_assert_eq(api_rig_request(&id), wanted, "zeroes %u", i);
		bpull_discard(disk, offs[i], 0, &id);
		cr_assert_eq(api_rig_request(&id), wanted, "discard %u", i);
		bpull_block_status(disk, offs[i], 0, &extent, 1, &id);
		cr_assert_eq(api_rig_request(&id), wanted, "status %u", i);
	}
}

/* The image can't grow, by a limit of the process here: as without space, the guest may try
 * again. */
Test(api_requests, an_image_that_cannot_grow_lets_its_guest_try_again)
{
	struct rlimit limit, less;
	struct stat st;
	char block[4096] = { 1 };

	disk = api_rig_begin_guest(BPULL_ENGINE_THREAD);
	signal(SIGXFSZ, SIG_IGN); /* the program's to do */
	cr_assert_eq(stat(scratch("top"), &st), 0);
	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
	less = limit;
	less.rlim_cur = (rlim_t)st.st_size;
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &less), 0);
	cr_assert_eq(bpull_pwrite(disk, block, sizeof(block), MiB, 0), -EFBIG);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	cr_assert_eq(bpull_pwrite(disk, block, sizeof(block), MiB, 0), 0);
	cr_assert_eq(bpull_pflush(disk), 0);
}

/* Requests that wait for a table of the image, or behind one that makes a cluster, go on in the
 * order in which they came. The header promises programs no order; the page of `serve` does, of
 * requests that a killed server has left. */
Test(api_requests, those_that_wait_for_a_table_keep_their_order)
{
	static char blocks[8][4096], ids[8];
	struct bpull_event event;
	struct iovec iov[8];

	disk = api_rig_begin_guest(0);
	for (int i = 0; i < 8; i++) {
		memset(blocks[i], i + 1, sizeof(blocks[i]));
		iov[i] = (struct iovec){ blocks[i], sizeof(blocks[i]) };
		bpull_write(disk, &iov[i], 1, MiB, 0, &ids[i]);
	}
	for (int i = 0; i < 8; i++) {
		cr_assert_eq(bpull_engine_wait(engine, &event, 1, -1), 1);
		cr_assert_eq(event.error, 0);
		cr_assert_eq(event.user_data, &ids[i], "the end of request %td in place of %d",
			     (char *)event.user_data - ids, i);
	}
	bpull_read(disk, &iov[0], 1, MiB, &id);
	cr_assert_eq(api_rig_request(&id), 0);
	cr_assert_eq(blocks[0][0], 8, "the last one's bytes stay");
}

/* ---- drain ---- */

Test(api_requests, drain_waits_and_loses_no_event)
{
	static char blocks[32][4096];
	struct bpull_disk *plain;
	struct bpull_event events[64];
	struct iovec iov[32];

	make_overlay("plain", BPULL_FORMAT_QCOW2, "base");
	disk = api_rig_begin_guest(0);
	cr_assert_eq(bpull_disk_drain(disk, -1), 0, "nothing is in flight");
	for (unsigned i = 0; i < 32; i++) {
		iov[i] = (struct iovec){ blocks[i], 4096 };
		bpull_write(disk, &iov[i], 1, i * 200000, i % 2 ? BPULL_IO_FUA : 0, &id);
	}
	cr_assert_eq(bpull_disk_drain(disk, -1), 0);
	/* All are over: no wait is needed any more. */
	cr_assert_eq(bpull_engine_process(engine, events, 64), 32);
	for (unsigned i = 0; i < 32; i++)
		cr_assert(events[i].type == BPULL_EVENT_IO && !events[i].error);
	cr_assert_eq(bpull_disk_open(engine, scratch("plain"), NULL, &plain, &error), 0);
	cr_assert_eq(bpull_disk_drain(plain, -1), -EINVAL, "it has no guest");
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + now.tv_nsec / 1e9;
}

static atomic_bool is_over;

static void *submit_for_ever(void *opaque)
{
	char block[512];

	(void)opaque;
	while (!is_over)
		bpull_pread(disk, block, sizeof(block), 5 * MiB);
	return NULL;
}

/* Others may go on submitting: only what came before is waited for. */
Test(api_requests, drain_ends_beside_a_guest_that_does_not)
{
	static char block[4096];
	struct iovec iov = { block, sizeof(block) };
	struct bpull_event event;
	pthread_t threads[2];

	disk = api_rig_begin_guest(BPULL_ENGINE_THREAD);
	for (unsigned i = 0; i < 2; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, submit_for_ever, NULL), 0);
	for (unsigned i = 0; i < 20; i++) {
		bpull_write(disk, &iov, 1, i * 70000, BPULL_IO_FUA, &id);
		cr_assert_eq(bpull_disk_drain(disk, 30000), 0, "%u", i);
		cr_assert_eq(bpull_engine_process(engine, &event, 1), 1, "%u", i);
	}
	is_over = true;
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

/* ---- descriptors and threads ---- */

/* Edge-triggered, with one event at a time taken until there is none. */
static void poll_edges(uint32_t engine_flags)
{
	struct epoll_event wanted = { .events = EPOLLIN | EPOLLET }, got;
	static char blocks[8][65536];
	struct iovec iov[8];
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	unsigned n_submitted = 0, n_over = 0;
	int n;

	disk = api_rig_begin_guest(engine_flags);
	cr_assert_eq(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, bpull_engine_fd(engine), &wanted), 0);
	cr_assert_eq(bpull_job_start(disk, NULL, &error), 0);
	while (n_over < 300) {
		struct bpull_event event;

		for (; n_submitted < 300 && n_submitted < n_over + 8; n_submitted++) {
			unsigned i = n_submitted % 8;

			iov[i] = (struct iovec){ blocks[i], 512u << i };
			if (n_submitted % 3)
				bpull_read(disk, &iov[i], 1, n_submitted * 20000, &id);
			else
				bpull_write(disk, &iov[i], 1, n_submitted * 20000, 0, &id);
		}
		/* The kernel's work for a ring may interrupt a sleep, as a signal does. */
		do
			n = epoll_wait(epoll_fd, &got, 1, 30000);
		while (n < 0 && errno == EINTR);
		cr_assert_eq(n, 1, "no edge after %u of %u: %d", n_over, n_submitted, n);
		while (bpull_engine_process(engine, &event, 1) == 1) {
			cr_assert_eq(event.error, 0);
			n_over += event.type == BPULL_EVENT_IO;
		}
	}
	close(epoll_fd);
}

Test(api_requests, a_loop_of_edges_misses_no_event)
{
	poll_edges(0);
}

Test(api_requests, edges_of_the_descriptor_of_an_engine_with_a_thread)
{
	poll_edges(BPULL_ENGINE_THREAD);
}

static void *take_over(void *opaque)
{
	struct bpull_event event;
	char *seen = opaque;

	for (unsigned n = 0; n < 9; n++) {
		cr_assert_eq(bpull_engine_wait(engine, &event, 1, 30000), 1);
		cr_assert_eq(event.error, 0);
		seen[event.type == BPULL_EVENT_JOB ? 8 : *(char *)event.user_data]++;
	}
	return NULL;
}

/* The one that handed it over lives on and makes no call meanwhile. */
Test(api_requests, another_thread_takes_the_engine_over)
{
	static char blocks[8][4096], ids[8], seen[9];
	struct iovec iov[8];
	pthread_t thread;

	disk = api_rig_begin_guest(0);
	cr_assert_eq(bpull_job_start(disk, NULL, &error), 0);
	for (char i = 0; i < 8; i++) {
		ids[(int)i] = i;
		iov[(int)i] = (struct iovec){ blocks[(int)i], 4096 };
		bpull_write(disk, &iov[(int)i], 1, i * 900000, BPULL_IO_FUA, &ids[(int)i]);
	}
	cr_assert_eq(pthread_create(&thread, NULL, take_over, seen), 0);
	pthread_join(thread, NULL);
	for (unsigned i = 0; i < 9; i++)
		cr_assert_eq(seen[i], 1, "%u", i);
	/* And back. */
	bpull_read(disk, iov, 1, 0, &id);
	cr_assert_eq(api_rig_request(&id), 0);
}

/* ---- waiting for jobs ---- */

Test(api_requests, waiting_for_a_job_that_waits)
{
	struct bpull_job_options o = { .size = sizeof(o),
				       .flags =
					       BPULL_JOB_START_PAUSED | BPULL_JOB_MANUAL_FINALIZE };
	struct bpull_job_info info = { .size = sizeof(info) };
	double begun = seconds();

	disk = api_rig_begin_guest(BPULL_ENGINE_THREAD);
	cr_assert_eq(bpull_job_wait(disk, -1), 0, "there is none");
	cr_assert_eq(bpull_job_start(disk, &o, &error), 0);
	cr_assert_eq(bpull_job_wait(disk, 300), -ETIMEDOUT, "it is paused");
	cr_assert_geq(seconds() - begun, 0.25);
	cr_assert_eq(bpull_job_resume(disk), 0);
	do {
		usleep(10000);
		bpull_job_get_info(disk, &info);
	} while (info.state != BPULL_JOB_WAITING);
	cr_assert_eq(bpull_job_wait(disk, 100), -ETIMEDOUT, "it is READY");
	cr_assert_eq(bpull_job_finalize(disk), 0);
	cr_assert_eq(bpull_job_wait(disk, -1), 0);
	cr_assert_eq(bpull_job_wait(disk, -1), 0, "it was concluded before");
}
