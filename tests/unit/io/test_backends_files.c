/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Files in the real backends: what the ring registers is given back and not mixed up,
 * and direct I/O ends where the file does.
 */
#include <poll.h>

#include "io/backends/backend.h"
#include "io/file/lock.h"
#include "io/file/opener.h"
#include "io/posix/opener.h"
#include "tests/support/rigs/backend.h"
#include "tests/support/time_limit.h"

TestSuite(real_files, .init = scratch_make, .fini = scratch_remove,
	  .timeout = TIME_LIMIT_CLOCK(60));

/* The ring keeps a file a little longer than we do; its locks must not stay. */
Test(real_files, a_registered_file_gives_its_locks_back_at_once)
{
	struct file_opener *opener = file_opener_posix();
	const char *path = scratch_file("disk", "abc", 3);
	struct io *io;
	struct err err = { 0 };
	if (io_open(IO_CHOICE_URING, 8, &io, &err))
		scratch_skip("%s", err.message);
	for (int i = 0; i < 200; i++) {
		struct file *file;
		struct io_req req = { 0 }, *out;
		char buf[3];
		struct file_open how = {
			.name = path, .write = true, .lock = FILE_LOCK_OVERLAY, .outlives = true
		};
		cr_assert_eq(opener->open(opener, &how, &file, &err), 0, "round %d: %s", i,
			     err.message);
		io->ops->add_file(io, file);
		cr_assert_geq(file->slot, 0);
		io_req_read(&req, file, buf, 3, 0);
		io_submit(io, &req);
		io_kick(io);
		while (!io_reap(io, &out, 1))
			poll(&(struct pollfd){ .fd = io_fd(io), .events = POLLIN }, 1, 5000);
		io->ops->forget_file(io, file);
		file_close(file);
	}
	io_close(io);
}

/* A file that was given a slot by one ring must not be taken for another's. */
Test(real_files, slots_are_not_mixed_up_between_rings)
{
	struct file_opener *opener = file_opener_posix();
	struct file *a, *b;
	struct io *one, *two;
	struct err err = { 0 };
	if (io_open(IO_CHOICE_URING, 8, &one, &err))
		scratch_skip("%s", err.message);
	cr_assert_eq(io_open(IO_CHOICE_URING, 8, &two, &err), 0);
	struct file_open how = { .name = scratch_file("a", "aaa", 3) };
	cr_assert_eq(opener->open(opener, &how, &a, &err), 0);
	how.name = scratch_file("b", "bbb", 3);
	cr_assert_eq(opener->open(opener, &how, &b, &err), 0);
	one->ops->add_file(one, a);
	two->ops->add_file(two, b);
	cr_assert_eq(a->slot, b->slot);

	struct io_req req = { 0 }, *out;
	char buf[3];
	io_req_read(&req, a, buf, 3, 0);
	io_submit(two, &req);
	io_kick(two);
	while (!io_reap(two, &out, 1))
		poll(&(struct pollfd){ .fd = io_fd(two), .events = POLLIN }, 1, 5000);
	cr_assert_eq(req.result, 3);
	cr_assert_eq(memcmp(buf, "aaa", 3), 0);
	two->ops->forget_file(two, a);
	cr_assert_geq(a->slot, 0, "only its own ring takes it out");
	one->ops->forget_file(one, a);
	two->ops->forget_file(two, b);
	file_close(a);
	file_close(b);
	io_close(one);
	io_close(two);
}

/* Direct reads end at an odd end of file. */
static void direct(enum io_choice choice)
{
	static char buf[16384] __attribute__((aligned(4096)));
	struct file_opener *opener = file_opener_posix();
	struct file *file;
	struct io *io;
	struct err err = { 0 };
	struct io_req req = { 0 }, *out;
	memset(buf, 'd', sizeof(buf));
	struct file_open how = { .name = scratch_file("disk", buf, 5000), .direct = true };

	if (io_open(choice, 8, &io, &err))
		scratch_skip("%s", err.message);
	cr_assert_eq(opener->open(opener, &how, &file, &err), 0);
	for (uint64_t off = 0; off <= 8192; off += 4096) {
		memset(buf, 'x', sizeof(buf));
		io_req_read(&req, file, buf, 8192, off);
		io_submit(io, &req);
		io_kick(io);
		while (!io_reap(io, &out, 1))
			poll(&(struct pollfd){ .fd = io_fd(io), .events = POLLIN }, 1, 5000);
		int64_t here = off < 5000 ? 5000 - (int64_t)off : 0;
		cr_assert_eq(req.result, here, "at %d: %d", (int)off, (int)req.result);
		cr_assert(!here || (buf[0] == 'd' && buf[here - 1] == 'd'));
	}
	file_close(file);
	io_close(io);
}

Test(real_files, direct_reads_at_the_end_of_file_uring)
{
	direct(IO_CHOICE_URING);
}

Test(real_files, direct_reads_at_the_end_of_file_threads)
{
	direct(IO_CHOICE_THREADS);
}
