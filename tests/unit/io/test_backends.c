/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What every backend promises: the bytes, the lengths, each request its own
 * result, and a descriptor that wakes the thread that waits on it.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

#include "tests/support/rigs/backend.h"

BACKEND_TEST(one_write_one_read)
{
	struct file *file = backend_file(b, "disk", NULL, 0, true);
	struct io_req req = { .owner = b };
	char buf[6] = "";

	io_req_write(&req, file, "hello", 6, 1000);
	backend_run(b, &req, 1);
	cr_assert_eq(req.result, 6);
	cr_assert_eq(req.owner, b);
	io_req_read(&req, file, buf, 6, 1000);
	backend_run(b, &req, 1);
	cr_assert_eq(req.result, 6);
	cr_assert_str_eq(buf, "hello");
	file_close(file);
}

/* Batches of writes that do not overlap, then reads of anything, against an array. */
BACKEND_TEST(any_sizes_against_an_array)
{
	enum {
		N = 32,
		SLOT = 8192,
		LEN = N * SLOT
	};
	static char want[LEN], bufs[N][3 * SLOT];
	struct file *file = backend_file(b, "disk", NULL, LEN, true);
	struct io_req reqs[N] = { 0 };

	for (unsigned round = 0; round < 30; round++) {
		for (unsigned i = 0; i < N; i++) {
			uint64_t at = backend_below(b, SLOT), n = backend_below(b, SLOT - at + 1);
			for (uint64_t j = 0; j < n; j++)
				want[i * SLOT + at + j] = bufs[i][j] = (char)backend_below(b, 256);
			io_req_write(&reqs[i], file, bufs[i], n, i * SLOT + at);
		}
		backend_run(b, reqs, N);
		for (unsigned i = 0; i < N; i++)
			cr_assert_eq(reqs[i].result, (int64_t)reqs[i].len);
		for (unsigned i = 0; i < N; i++)
			io_req_read(&reqs[i], file, bufs[i], backend_below(b, 3 * SLOT),
				    backend_below(b, LEN));
		backend_run(b, reqs, N);
		for (unsigned i = 0; i < N; i++) {
			uint64_t here = MIN(reqs[i].len, (uint64_t)LEN - reqs[i].off);
			cr_assert_eq(reqs[i].result, (int64_t)here);
			cr_assert_eq(memcmp(bufs[i], want + reqs[i].off, here), 0);
		}
	}
	file_close(file);
}

/* One more buffer than a system call takes, of odd lengths, some empty. */
BACKEND_TEST(long_vectors)
{
	enum {
		N = 2500
	};
	static char out[N][7], in[N][7];
	static struct iovec wr[N], rd[N];
	struct file *file = backend_file(b, "disk", NULL, 0, true);
	uint64_t len = 0;

	for (unsigned i = 0; i < N; i++) {
		size_t n = backend_below(b, 8);
		memset(out[i], (int)i, sizeof(out[i]));
		wr[i] = (struct iovec){ out[i], n };
		rd[i] = (struct iovec){ in[i], n };
		len += n;
	}
	struct io_req req = { .kind = IO_WRITE, .file = file, .off = 3, .len = len };
	req.iov = wr;
	req.n_iov = N;
	backend_run(b, &req, 1);
	cr_assert_eq(req.result, (int64_t)len);
	req = (struct io_req){ .kind = IO_READ, .file = file, .off = 3, .len = len };
	req.iov = rd;
	req.n_iov = N;
	backend_run(b, &req, 1);
	cr_assert_eq(req.result, (int64_t)len);
	for (unsigned i = 0; i < N; i++)
		cr_assert_eq(memcmp(in[i], out[i], rd[i].iov_len), 0, "buffer %u", i);
	file_close(file);
}

BACKEND_TEST(reads_end_where_the_file_ends)
{
	struct file *file = backend_file(b, "disk", "0123456789", 10, false);
	char buf[4][16];
	struct io_req reqs[4] = { 0 };

	io_req_read(&reqs[0], file, buf[0], 16, 0);
	io_req_read(&reqs[1], file, buf[1], 16, 7);
	io_req_read(&reqs[2], file, buf[2], 16, 10);
	io_req_read(&reqs[3], file, buf[3], 16, UINT64_C(1) << 40);
	backend_run(b, reqs, 4);
	cr_assert_eq(reqs[0].result, 10);
	cr_assert_eq(reqs[1].result, 3);
	cr_assert_eq(reqs[2].result, 0);
	cr_assert_eq(reqs[3].result, 0);
	cr_assert_eq(memcmp(buf[0], "0123456789", 10), 0);
	cr_assert_eq(memcmp(buf[1], "789", 3), 0);
	file_close(file);
}

BACKEND_TEST(nothing_to_move)
{
	struct file *file = backend_file(b, "disk", "abc", 3, true);
	struct io_req reqs[4] = { 0 };
	io_req_read(&reqs[0], file, NULL, 0, 1);
	io_req_write(&reqs[1], file, NULL, 0, 100);
	io_req_writeback(&reqs[2], file, 0, 0);
	reqs[3] = (struct io_req){ .kind = IO_WRITE, .file = file };
	backend_run(b, reqs, 4);
	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(reqs[i].result, 0, "request %u", i);
	io_req_read(&reqs[0], file, &(char[8]){ 0 }, 8, 0);
	backend_run(b, reqs, 1);
	cr_assert_eq(reqs[0].result, 3, "an empty write must not grow the file");
	file_close(file);
}

/* Offsets an image may have made up: an answer for each, no more. */
BACKEND_TEST(impossible_ranges_are_errors)
{
	static const uint64_t offs[] = { UINT64_MAX, UINT64_MAX - 3, (uint64_t)INT64_MAX + 1 };
	struct file *file = backend_file(b, "disk", "abc", 3, true);
	struct io_req reqs[7] = { 0 };
	char buf[8];

	for (unsigned i = 0; i < 3; i++) {
		io_req_read(&reqs[i], file, buf, 4, offs[i]);
		io_req_write(&reqs[3 + i], file, "evil", 4, offs[i]);
	}
	io_req_read(&reqs[6], file, buf + 4, 3, 0);
	backend_run(b, reqs, 7);
	for (unsigned i = 0; i < 6; i++)
		cr_assert_eq(reqs[i].result, -EINVAL, "request %u", i);
	cr_assert_eq(reqs[6].result, 3);
	cr_assert_eq(memcmp(buf + 4, "abc", 3), 0);
	file_close(file);
}

BACKEND_TEST(many_more_requests_than_depth)
{
	enum {
		N = 4000,
		LEN = 512
	};
	static char out[N][LEN], in[N][LEN];
	static struct io_req reqs[N];
	struct file *file = backend_file(b, "disk", NULL, 0, true);

	for (unsigned i = 0; i < N; i++) {
		memset(out[i], (int)(i * 7 + 1), LEN);
		memcpy(out[i], &i, sizeof(i));
		io_req_write(&reqs[i], file, out[i], LEN, (uint64_t)i * LEN);
	}
	backend_run(b, reqs, N);
	for (unsigned i = 0; i < N; i++) {
		cr_assert_eq(reqs[i].result, LEN, "write %u", i);
		io_req_read(&reqs[i], file, in[i], LEN, (uint64_t)i * LEN);
	}
	backend_run(b, reqs, N);
	for (unsigned i = 0; i < N; i++)
		cr_assert_eq(reqs[i].result, LEN, "read %u", i);
	cr_assert_eq(memcmp(in, out, sizeof(in)), 0);
	file_close(file);
}

/* Everything at once: each request gets what is its own. */
BACKEND_TEST(errors_go_to_their_own_request)
{
	enum {
		N = 300
	};
	static char bufs[N][64];
	struct file *good = backend_file(b, "good", NULL, N * 64, true);
	struct file *bad = backend_file(b, "bad", NULL, N * 64, false);
	static struct io_req reqs[N];

	for (unsigned i = 0; i < N; i++) {
		struct file *file = i % 3 == 1 ? bad : good;
		if (i % 3 == 2)
			io_req_read(&reqs[i], file, bufs[i], 64, i * 64);
		else
			io_req_write(&reqs[i], file, bufs[i], 64, i * 64);
	}
	backend_run(b, reqs, N);
	for (unsigned i = 0; i < N; i++)
		cr_assert_eq(reqs[i].result, i % 3 == 1 ? -EBADF : 64, "request %u", i);
	file_close(good);
	file_close(bad);
}

BACKEND_TEST(sync_and_writeback_return_nothing)
{
	static char data[100000];
	struct file *file = backend_file(b, "disk", NULL, 0, true);
	struct io_req reqs[3] = { 0 };

	io_req_write(&reqs[0], file, data, sizeof(data), 0);
	backend_run(b, reqs, 1);
	cr_assert_eq(reqs[0].result, (int64_t)sizeof(data));
	io_req_sync(&reqs[0], file);
	io_req_writeback(&reqs[1], file, sizeof(data), 0);
	io_req_writeback(&reqs[2], file, UINT64_C(1) << 40, 4096);
	reqs[0].result = reqs[1].result = reqs[2].result = 77;
	backend_run(b, reqs, 3);
	cr_assert_eq(reqs[0].result, 0);
	cr_assert_eq(reqs[1].result, 0);
	cr_assert_eq(reqs[2].result, 0);
	file_close(file);
}

/* A write that hits a limit half way: the part that fitted, then the error. */
BACKEND_TEST(a_short_write_goes_on_to_its_error)
{
	enum {
		LIMIT = 10000
	};
	static char out[3 * LIMIT], in[3 * LIMIT];
	struct file *file = backend_file(b, "disk", NULL, 0, true);
	struct io_req req = { 0 };
	struct rlimit before;

	memset(out, 'o', sizeof(out));
	getrlimit(RLIMIT_FSIZE, &before);
	if (b->sim) {
		sim_file_limit(b->sim, "disk", LIMIT);
	} else {
		signal(SIGXFSZ, SIG_IGN);
		setrlimit(RLIMIT_FSIZE, &(struct rlimit){ LIMIT, before.rlim_max });
	}
	io_req_write(&req, file, out, sizeof(out), 100);
	backend_run(b, &req, 1);
	setrlimit(RLIMIT_FSIZE, &before);
	cr_assert_eq(req.result, b->sim ? -ENOSPC : -EFBIG);
	io_req_read(&req, file, in, sizeof(in), 0);
	backend_run(b, &req, 1);
	cr_assert_eq(req.result, LIMIT);
	file_close(file);
}

/* Hints about files and memory change nothing but speed. */
BACKEND_TEST(registered_files_and_memory)
{
	enum {
		N = 64,
		LEN = 4096
	};
	static char pool[N * LEN] __attribute__((aligned(4096))), want[N * LEN];
	struct file *files[3];
	static struct io_req reqs[N];

	b->io->ops->use_memory(b->io, pool, sizeof(pool));
	for (unsigned i = 0; i < 3; i++) {
		char name[8];
		snprintf(name, sizeof(name), "disk%u", i);
		files[i] = backend_file(b, name, NULL, 0, true);
		b->io->ops->add_file(b->io, files[i]);
	}
	for (unsigned i = 0; i < N * LEN; i++)
		pool[i] = want[i] = (char)backend_below(b, 256);
	for (unsigned i = 0; i < N; i++)
		io_req_write(&reqs[i], files[i % 3], pool + i * LEN, LEN, (uint64_t)i * LEN);
	backend_run(b, reqs, N);
	memset(pool, 0, sizeof(pool));
	b->io->ops->forget_file(b->io, files[1]);
	b->io->ops->add_file(b->io, files[1]);
	for (unsigned i = 0; i < N; i++) {
		cr_assert_eq(reqs[i].result, LEN);
		io_req_read(&reqs[i], files[i % 3], pool + i * LEN, LEN, (uint64_t)i * LEN);
	}
	backend_run(b, reqs, N);
	for (unsigned i = 0; i < N; i++)
		cr_assert_eq(reqs[i].result, LEN);
	cr_assert_eq(memcmp(pool, want, sizeof(pool)), 0);
	for (unsigned i = 0; i < 3; i++) {
		b->io->ops->forget_file(b->io, files[i]);
		cr_assert_eq(files[i]->slot, -1);
		file_close(files[i]);
	}
	/* The memory may go away once it is given back. */
	b->io->ops->use_memory(b->io, NULL, 0);
}

/* Memory that begins in the registered part and ends outside is ordinary memory. */
BACKEND_TEST(memory_registered_in_part)
{
	static char pool[4 * 4096] __attribute__((aligned(4096))), in[3 * 4096];
	struct file *file = backend_file(b, "disk", NULL, 0, true);
	struct io_req req = { 0 };

	b->io->ops->use_memory(b->io, pool + 4096, 2 * 4096);
	for (unsigned at = 0; at < 4096 * 2; at += 2048) {
		for (unsigned i = 0; i < sizeof(pool); i++)
			pool[i] = (char)backend_below(b, 256);
		io_req_write(&req, file, pool + at, 2 * 4096, 0);
		backend_run(b, &req, 1);
		cr_assert_eq(req.result, 2 * 4096, "from %u: %d", at, (int)req.result);
		io_req_read(&req, file, in, sizeof(in), 0);
		backend_run(b, &req, 1);
		cr_assert_eq(memcmp(in, pool + at, 2 * 4096), 0);
	}
	file_close(file);
}

/* Reads in flight while others finish and new ones come: the life of a copy. */
BACKEND_TEST(a_window_that_slides)
{
	enum {
		WINDOW = 100,
		TOTAL = 5000,
		LEN = 256
	};
	static char bufs[WINDOW][LEN], want[TOTAL * 16];
	struct io_req reqs[WINDOW] = { 0 }, *out[8];
	unsigned n_done = 0, next = 0;

	for (unsigned i = 0; i < sizeof(want); i++)
		want[i] = (char)backend_below(b, 256);
	struct file *file = backend_file(b, "disk", want, sizeof(want), false);
	for (; next < WINDOW; next++) {
		io_req_read(&reqs[next], file, bufs[next], LEN, next * 16);
		io_submit(b->io, &reqs[next]);
	}
	io_kick(b->io);
	while (b->io->n_in_flight) {
		cr_assert(backend_readable(b, 20000));
		unsigned n = io_reap(b->io, out, 8);
		for (unsigned i = 0; i < n; i++, n_done++) {
			struct io_req *req = out[i];
			uint64_t here = MIN((uint64_t)LEN, sizeof(want) - req->off);
			cr_assert_eq(req->result, (int64_t)here);
			cr_assert_eq(memcmp(req->one.iov_base, want + req->off, here), 0);
			if (next == TOTAL)
				continue;
			io_req_read(req, file, req->one.iov_base, LEN, next++ * 16);
			io_submit(b->io, req);
		}
		io_kick(b->io);
	}
	cr_assert_eq(n_done, TOTAL);
	file_close(file);
}
