/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What one attempt means: resuming, retrying, ending. No backend, no disk.
 */
#include <criterion/criterion.h>
#include <errno.h>

#include "io/base.h"
#include "io/io.h"

static struct file buffered = { .len = 1 << 20, .io_align = 1, .fd = -1 };
static struct file direct = { .len = 1 << 20, .io_align = 4096, .fd = -1 };
static struct file device = { .len = 8192, .io_align = 1, .is_block = true, .fd = -1 };
static char buf[64 * 1024];

Test(io_req, a_whole_transfer_ends_at_once)
{
	struct io_req req = { 0 };
	io_req_read(&req, &buffered, buf, 1000, 5);
	cr_assert(io_req_attempt(&req, 1000));
	cr_assert_eq(req.result, 1000);
	io_req_write(&req, &buffered, buf, 0, 5);
	cr_assert(io_req_attempt(&req, 0));
	cr_assert_eq(req.result, 0);
}

Test(io_req, a_short_transfer_is_resumed_where_it_stopped)
{
	struct io_req req = { 0 };
	unsigned n;
	for (int write = 0; write < 2; write++) {
		if (write)
			io_req_write(&req, &buffered, buf, 1000, 5);
		else
			io_req_read(&req, &buffered, buf, 1000, 5);
		cr_assert_not(io_req_attempt(&req, 1));
		cr_assert_eq(req.done_len, 1);
		const struct iovec *rest = io_req_rest(&req, &n);
		cr_assert(n == 1 && rest->iov_base == buf + 1 && rest->iov_len == 999);
		cr_assert_not(io_req_attempt(&req, 998));
		rest = io_req_rest(&req, &n);
		cr_assert(n == 1 && rest->iov_base == buf + 999 && rest->iov_len == 1);
		cr_assert(io_req_attempt(&req, 1));
		cr_assert_eq(req.result, 1000);
	}
}

/* Every way to cut 3 + 0 + 5 + 0 + 2 bytes names the same bytes in the same order. */
Test(io_req, the_rest_of_a_vector_is_exact)
{
	struct iovec iov[] = {
		{ buf, 3 }, { buf + 100, 0 }, { buf + 200, 5 }, { buf + 300, 0 }, { buf + 400, 2 }
	};
	static const int want[] = { 0, 1, 2, 200, 201, 202, 203, 204, 400, 401 };
	for (uint64_t first = 0; first <= 10; first++) {
		struct io_req req = { .kind = IO_WRITE, .file = &buffered, .iov = iov };
		req.n_iov = ARRAY_LEN(iov);
		req.len = 10;
		req.done_len = first;
		for (unsigned at = (unsigned)first; at < 10;) {
			unsigned n;
			const struct iovec *rest = io_req_rest(&req, &n);
			cr_assert_gt(n, 0);
			for (unsigned i = 0; i < n; i++)
				for (size_t j = 0; j < rest[i].iov_len; j++, at++)
					cr_assert_eq((char *)rest[i].iov_base + j, buf + want[at]);
			req.done_len = at;
		}
		unsigned n;
		io_req_rest(&req, &n);
		cr_assert_eq(n, 0);
	}
}

Test(io_req, a_read_of_nothing_is_the_end_of_the_file)
{
	struct io_req req = { 0 };
	io_req_read(&req, &buffered, buf, 1000, 5);
	cr_assert_not(io_req_attempt(&req, 300));
	cr_assert(io_req_attempt(&req, 0));
	cr_assert_eq(req.result, 300);
}

Test(io_req, a_write_of_nothing_is_an_error)
{
	struct io_req req = { 0 };
	io_req_write(&req, &buffered, buf, 1000, 5);
	cr_assert_not(io_req_attempt(&req, 300));
	cr_assert(io_req_attempt(&req, 0));
	cr_assert_eq(req.result, -EIO);

	io_req_write(&req, &device, buf, 4096, 6144);
	cr_assert_not(io_req_attempt(&req, 2048));
	cr_assert(io_req_attempt(&req, 0));
	cr_assert_eq(req.result, -ENOSPC);
}

Test(io_req, interruptions_are_retried_so_many_times)
{
	static const int codes[] = { -EINTR, -EAGAIN };
	for (unsigned i = 0; i < ARRAY_LEN(codes); i++) {
		for (int kind = 0; kind < 3; kind++) {
			struct io_req req = { 0 };
			if (kind == 0)
				io_req_read(&req, &buffered, buf, 1000, 5);
			else if (kind == 1)
				io_req_write(&req, &buffered, buf, 1000, 5);
			else
				io_req_sync(&req, &buffered);
			unsigned n = 1;
			while (!io_req_attempt(&req, codes[i]))
				cr_assert_lt(n++, 1000);
			cr_assert_gt(n, 10);
			cr_assert_eq(req.result, -EIO);
		}
	}
}

Test(io_req, progress_starts_the_count_again)
{
	struct io_req req = { 0 };
	io_req_write(&req, &buffered, buf, 1000, 5);
	for (unsigned i = 0; i < 999; i++) {
		for (unsigned j = 0; j < 10; j++)
			cr_assert_not(io_req_attempt(&req, -EINTR));
		cr_assert_not(io_req_attempt(&req, 1));
	}
	cr_assert(io_req_attempt(&req, 1));
	cr_assert_eq(req.result, 1000);
}

Test(io_req, an_error_ends_it)
{
	struct io_req req = { 0 };
	io_req_write(&req, &buffered, buf, 1000, 5);
	cr_assert_not(io_req_attempt(&req, 999));
	cr_assert(io_req_attempt(&req, -ENOSPC));
	cr_assert_eq(req.result, -ENOSPC);
	io_req_sync(&req, &buffered);
	cr_assert(io_req_attempt(&req, -EIO));
	cr_assert_eq(req.result, -EIO);
}

Test(io_req, a_hint_may_be_unknown_but_not_fail_silently)
{
	struct io_req req = { 0 };
	io_req_writeback(&req, &buffered, 1000, 5);
	cr_assert(io_req_attempt(&req, -EINVAL));
	cr_assert_eq(req.result, 0);
	io_req_writeback(&req, &buffered, 1000, 5);
	cr_assert(io_req_attempt(&req, -EIO));
	cr_assert_eq(req.result, -EIO);
}

/* Where it is unaligned a direct transfer cannot go on: it goes back to the last whole block. */
Test(io_req, direct_transfers_stay_on_their_grid)
{
	struct io_req req = { 0 };
	io_req_write(&req, &direct, buf, 16384, 4096);
	cr_assert_not(io_req_attempt(&req, 5000));
	cr_assert_eq(req.done_len, 4096);
	cr_assert_not(io_req_attempt(&req, 4096));
	cr_assert_eq(req.done_len, 8192);
	cr_assert(io_req_attempt(&req, 8192));
	cr_assert_eq(req.result, 16384);

	io_req_write(&req, &direct, buf, 16384, 4096);
	unsigned n = 1;
	while (!io_req_attempt(&req, 512))
		cr_assert_lt(n++, 1000, "the same piece for ever");
	cr_assert_eq(req.result, -EIO);

	struct file odd = direct;
	odd.len = 5000;
	io_req_read(&req, &odd, buf, 16384, 0);
	cr_assert(io_req_attempt(&req, 5000));
	cr_assert_eq(req.result, 5000);
}

static int work(struct io_req *req)
{
	return -EINTR;
}

Test(io_req, work_is_never_run_twice)
{
	struct io_req req = { 0 };
	io_req_work(&req, work);
	cr_assert(io_req_attempt(&req, -EINTR));
	cr_assert_eq(req.result, -EINTR);
	cr_assert(io_req_attempt(&req, 42));
	cr_assert_eq(req.result, 42);
}

Test(io_req, constructors_keep_the_owner)
{
	struct io_req req = { .owner = buf, .done_len = 7, .n_retries = 9 };
	io_req_read(&req, &buffered, buf, 10, 1);
	cr_assert(req.owner == buf && !req.done_len && !req.n_retries && req.kind == IO_READ);
	cr_assert(req.iov == &req.one && req.n_iov == 1 && req.len == 10 && req.off == 1);
	io_req_sync(&req, &buffered);
	cr_assert(req.owner == buf && req.kind == IO_SYNC && !req.n_iov);
}

/* Uncached writing is a hint: where it is refused the write happens all the same. */
Test(io_req, an_uncached_write_falls_back_and_no_other)
{
	struct io_req req;

	io_req_write(&req, &buffered, buf, 1000, 0);
	cr_assert_not(req.uncached);
	req.uncached = true;
	cr_assert_not(io_req_attempt(&req, -EOPNOTSUPP));
	cr_assert(!req.uncached && req.uncached_refused);
	cr_assert(io_req_attempt(&req, 1000));
	cr_assert_eq(req.result, 1000);

	io_req_write(&req, &buffered, buf, 1000, 0);
	cr_assert(io_req_attempt(&req, -EOPNOTSUPP));
	cr_assert_eq(req.result, -EOPNOTSUPP);
}

/* ---- past the page cache ---- */

static struct file cold = {
	.len = 1 << 20, .io_align = 1, .past_cache = { .fd = 7, .align = 4096 }, .fd = 3
};

static struct io_req past(void)
{
	struct io_req req = { 0 };

	io_req_read(&req, &cold, buf, sizeof(buf), 8192);
	req.past_cache = true;
	return req;
}

Test(io_req, whole_blocks_come_past_the_cache)
{
	struct io_req req = past();

	cr_assert_eq(io_req_fd(&req), 7);
	cr_assert_not(io_req_attempt(&req, 8192));
	cr_assert_not(io_req_attempt(&req, -EINTR));
	cr_assert_not(io_req_attempt(&req, -EAGAIN));
	cr_assert_eq(io_req_fd(&req), 7);
	cr_assert(io_req_attempt(&req, (int64_t)sizeof(buf) - 8192));
	cr_assert_eq(req.result, (int64_t)sizeof(buf));
	cr_assert_not(req.past_cache_refused);
}

/* Each is resumed where it was, by the other descriptor, and ends as any read does. */
Test(io_req, the_cache_has_the_last_word)
{
	static const int64_t gots[] = { 0, 1, 4095, 4097, -EINVAL, -EOPNOTSUPP, -EIO, -ENOMEM };

	for (size_t i = 0; i < ARRAY_LEN(gots); i++) {
		struct io_req req = past();
		uint64_t done = 4096 + (uint64_t)MAX(gots[i], (int64_t)0);

		cr_assert_not(io_req_attempt(&req, 4096));
		cr_assert_not(io_req_attempt(&req, gots[i]), "%lld", (long long)gots[i]);
		cr_assert_eq(io_req_fd(&req), 3);
		cr_assert_eq(req.done_len, done);
		cr_assert_eq(req.past_cache_refused, gots[i] == -EINVAL || gots[i] == -EOPNOTSUPP);
		if (i % 2) {
			cr_assert(io_req_attempt(&req, (int64_t)(sizeof(buf) - done)));
			cr_assert_eq(req.result, (int64_t)sizeof(buf));
		} else {
			cr_assert(io_req_attempt(&req, -EIO));
			cr_assert_eq(req.result, -EIO);
		}
	}
}
