/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Short writes that others wait for, to files whose writes wait, and a job's to files in memory: a
 * thread beside the ring does them, and several do those of files that the ring has none of.
 * Whichever way the owner waits, it is told of their ends, and each byte is there.
 */
#include <poll.h>
#include <string.h>

#include <criterion/criterion.h>

#include "io/backends/backend.h"
#include "io/backends/uring.h"
#include "io/file/opener.h"
#include "io/posix/opener.h"
#include "tests/support/files/scratch.h"
#include "tests/support/time_limit.h"

#define MAX_N 64u
#define LEN   4096u

TIME_LIMIT(60);
TestSuite(writer, .init = scratch_make, .fini = scratch_remove, .timeout = TIME_LIMIT_CLOCK(60));

static struct io *io;
static struct io_req reqs[MAX_N];
static _Alignas(4096) uint8_t bufs[MAX_N][LEN];

static const struct uring *ring(void)
{
	return (const struct uring *)io;
}

static struct file *make_file(const char *name)
{
	struct file_opener *opener = file_opener_posix();
	struct file *file;

	cr_assert_eq(opener->create(opener, scratch(name), &file, NULL), 0);
	/* wherever the scratch directory lies */
	file->now.no_writes = true;
	file->now.in_turn = true;
	file->now.always = false;
	return file;
}

static struct file *start(void)
{
	if (io_open(IO_CHOICE_URING, 8, &io, NULL))
		scratch_skip("no io_uring here");
	return make_file("disk");
}

static void submit(struct file *file, unsigned i, bool is_prompt)
{
	io_req_write(&reqs[i], file, memset(bufs[i], rand(), LEN), LEN, i * (uint64_t)LEN);
	reqs[i].prompt = is_prompt;
	io_submit(io, &reqs[i]);
}

static void wait_on_descriptor(void)
{
	struct pollfd pfd = { .fd = io_fd(io), .events = POLLIN };

	io_set_notify(io, true);
	cr_assert_eq(poll(&pfd, 1, 30000), 1, "the end is not told");
	io_set_notify(io, false);
}

static void wait_in_ring(void)
{
	io_set_notify(io, false);
	io_feed(io);
	cr_assert_eq(io_wait(io, io_fd(io), 30000), 0);
}

static void look(void)
{
}

static void reap_all(void (*wait)(void), unsigned n)
{
	struct io_req *out[MAX_N];

	io_kick(io);
	while (n) {
		unsigned got = io_reap(io, out, MAX_N);

		for (unsigned i = 0; i < got; i++)
			cr_assert_eq(out[i]->result, LEN);
		n -= got;
		if (n && !got)
			wait();
	}
}

static void expect_written(struct file *file, unsigned n)
{
	uint8_t got[LEN];

	for (unsigned i = 0; i < n; i++) {
		file->len = n * (uint64_t)LEN;
		cr_assert_eq(file_read(file, got, LEN, i * (uint64_t)LEN), 0);
		cr_assert_arr_eq(got, bufs[i], LEN);
	}
}

static void write_batches(void (*wait)(void))
{
	struct file *file = start();

	for (unsigned n = 1; n <= MAX_N; n++) {
		for (unsigned i = 0; i < n; i++)
			submit(file, i, true);
		cr_assert_eq(ring()->n_writing, n);
		reap_all(wait, n);
		cr_assert_eq(ring()->n_writing, 0);
		expect_written(file, n);
	}
	file_close(file);
	io_close(io);
}

Test(writer, its_ends_wake_who_sleeps_on_the_descriptor)
{
	write_batches(wait_on_descriptor);
}

Test(writer, its_ends_wake_who_sleeps_in_the_ring)
{
	write_batches(wait_in_ring);
}

Test(writer, its_ends_are_there_for_who_looks)
{
	write_batches(look);
}

/* Where it had both, a file that is slow would keep the other one's writes. */
Test(writer, it_has_one_file_at_a_time)
{
	struct file *file = start(), *other = make_file("other");

	submit(file, 0, true);
	submit(other, 1, true);
	submit(file, 2, true);
	cr_assert_eq(ring()->n_writing, 2);
	cr_assert_eq(ring()->waiting.n, 1);
	reap_all(wait_on_descriptor, 3);
	submit(other, 1, true);
	cr_assert_eq(ring()->n_writing, 1, "now it is free");
	reap_all(wait_on_descriptor, 1);
	file_close(file);
	file_close(other);
	io_close(io);
}

Test(writer, other_writes_are_the_ring_s)
{
	struct file *file = start();

	submit(file, 0, false);
	cr_assert_eq(ring()->waiting.n, 1);
	file->now.no_writes = false;
	submit(file, 1, true);
	cr_assert_eq(ring()->waiting.n, 2);
	file->now.no_writes = true;
	file->io_align = 512;
	submit(file, 2, true);
	cr_assert_eq(ring()->waiting.n, 3, "a direct one does not wait");
	cr_assert_null(ring()->writer, "there is no thread before there is work for it");
	reap_all(wait_on_descriptor, 3);
	file->io_align = 1;
	expect_written(file, 3);
	file_close(file);
	io_close(io);
}

/* ---- buffered writes to several files ---- */

static unsigned n_in_ring(const struct file *file)
{
	return ring()->ring_writes.file == file ? ring()->ring_writes.n : 0;
}

/* In the kernel one file's write may wait for another's. */
Test(writer, the_ring_has_writes_of_one_file_and_workers_those_of_others)
{
	struct file *file = start(), *other = make_file("other"), *third = make_file("third");

	for (unsigned i = 0; i < 3; i++)
		submit(file, i, false);
	cr_assert(n_in_ring(file) == 3 && !ring()->lanes.pool);
	submit(other, 3, false);
	submit(third, 4, false);
	submit(file, 5, false);
	cr_assert_eq(n_in_ring(file), 4);
	cr_assert(ring()->lanes.pool && ring()->waiting.n == 4);
	reap_all(wait_on_descriptor, 6);
	cr_assert_eq(n_in_ring(file), 0);
	submit(other, 0, false);
	cr_assert_eq(n_in_ring(other), 1, "now it is free");
	submit(file, 1, false);
	cr_assert_eq(n_in_ring(other), 1);
	reap_all(wait_in_ring, 2);
	cr_assert_eq(ring()->ring_writes.n, 0);
	file_close(file);
	file_close(other);
	file_close(third);
	io_close(io);
}

Test(writer, direct_writes_and_such_as_begin_at_once_are_the_ring_s)
{
	struct file *file = start(), *other = make_file("other");

	submit(file, 0, false);
	other->now.in_turn = false;
	submit(other, 1, false);
	other->now.in_turn = true;
	other->io_align = 512;
	submit(other, 2, false);
	cr_assert(ring()->waiting.n == 3 && n_in_ring(file) == 1 && !ring()->lanes.pool);
	reap_all(wait_on_descriptor, 3);
	file_close(file);
	file_close(other);
	io_close(io);
}

Test(writer, workers_write_what_the_ring_would)
{
	struct file *files[2] = { start(), make_file("other") };

	for (unsigned n = 1; n <= MAX_N / 2; n++) {
		for (unsigned k = 0; k < 2; k++)
			for (unsigned i = 0; i < n; i++) {
				io_req_write(&reqs[k * n + i], files[k],
					     memset(bufs[i], (int)(n + i), LEN), LEN,
					     i * (uint64_t)LEN);
				io_submit(io, &reqs[k * n + i]);
			}
		reap_all(n % 2 ? wait_on_descriptor : wait_in_ring, 2 * n);
		expect_written(files[0], n);
		expect_written(files[1], n);
	}
	file_close(files[0]);
	file_close(files[1]);
	io_close(io);
}

/* ---- files in memory ---- */

static struct file *start_in_memory(void)
{
	struct file *file = start();

	file->now.no_writes = false;
	file->now.always = true;
	return file;
}

Test(writer, a_job_s_writes_to_memory_are_its)
{
	struct file *file = start_in_memory();

	submit(file, 0, false);
	cr_assert_eq(ring()->n_writing, 1);
	reap_all(wait_in_ring, 1);
	expect_written(file, 1);
	file_close(file);
	io_close(io);
}

/* Whatever the owner does there a guest would wait for. */
static void expect_left_to_ring(void (*mark)(struct io_req *req))
{
	struct file *file = start_in_memory();

	for (unsigned i = 0; i < 2; i++) {
		if (i)
			io_req_read(&reqs[i], file, bufs[i], LEN, 0);
		else
			io_req_write(&reqs[i], file, memset(bufs[i], 7, LEN), LEN, 0);
		mark(&reqs[i]);
		io_submit(io, &reqs[i]);
		cr_assert_eq(ring()->waiting.n, 1, "request %u", i);
		reap_all(wait_on_descriptor, 1);
		file->len = LEN;
	}
	file_close(file);
	io_close(io);
}

static void mark_guest_s(struct io_req *req)
{
	req->for_guest = true;
}

static void mark_beside_guest(struct io_req *req)
{
	req->offload = true;
}

Test(writer, what_a_guest_waits_for_is_left_to_the_ring)
{
	expect_left_to_ring(mark_guest_s);
}

Test(writer, beside_a_guest_all_is_left_to_the_ring)
{
	expect_left_to_ring(mark_beside_guest);
}

Test(writer, a_job_s_reads_of_memory_are_over_at_once)
{
	struct file *file = start_in_memory();
	struct io_req *out;

	submit(file, 0, false);
	reap_all(wait_in_ring, 1);
	file->len = LEN;
	io_req_read(&reqs[1], file, memset(bufs[1], 0, LEN), LEN, 0);
	io_submit(io, &reqs[1]);
	cr_assert_eq(ring()->waiting.n, 0);
	cr_assert_eq(io_reap(io, &out, 1), 1);
	cr_assert_eq(out->result, LEN);
	cr_assert_arr_eq(bufs[1], bufs[0], LEN);
	file_close(file);
	io_close(io);
}
