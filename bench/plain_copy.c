// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * What pulls are measured against: the same bytes copied plainly into a new file, until durable.
 *
 *   plain_copy ceiling FROM TO   1 MiB pread and pwrite, fallocate, write-back started every 8 MiB
 *   plain_copy ref FROM TO       io_uring, 16 times 1 MiB in flight, written with O_DIRECT
 *   plain_copy touch MIB         dirties that much memory and frees it, so that the host has given it
 *                                to this machine before a measured run needs it
 *
 * `dd` was rejected: it can't start write-back early. touch is a process of its own because a child's
 * peak memory, as wait4 tells it, begins with that of the process that started it.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK_LEN      (1u << 20)
#define WRITE_BACK_LEN (8u << 20)
#define N_SLOTS        16

static int die(const char *what, int error)
{
	fprintf(stderr, "plain_copy: %s: %s\n", what, strerror(error));
	exit(1);
}

static void ceiling(int from, int to, uint64_t len, char *buf)
{
	for (uint64_t off = 0; off < len; off += CHUNK_LEN) {
		if (pread(from, buf, CHUNK_LEN, off) != CHUNK_LEN)
			die("read", errno);
		if (pwrite(to, buf, CHUNK_LEN, off) != CHUNK_LEN)
			die("write", errno);
		uint64_t end = off + CHUNK_LEN;
		if (end % WRITE_BACK_LEN == 0)
			sync_file_range(to, end - WRITE_BACK_LEN, WRITE_BACK_LEN,
					SYNC_FILE_RANGE_WRITE);
	}
}

static void submit_copy(struct io_uring *ring, int from, int to, char *buf, uint64_t off,
			uint64_t slot)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	io_uring_prep_read(sqe, from, buf, CHUNK_LEN, off);
	sqe->flags |= IOSQE_IO_LINK; /* a short read cancels its write */
	sqe->user_data = N_SLOTS;
	sqe = io_uring_get_sqe(ring);
	io_uring_prep_write(sqe, to, buf, CHUNK_LEN, off);
	sqe->user_data = slot;
	int rc = io_uring_submit(ring);
	if (rc < 0)
		die("submit", -rc);
}

/* Returns the slot whose write has ended. */
static uint64_t wait_write(struct io_uring *ring)
{
	for (;;) {
		struct io_uring_cqe *cqe;
		int rc = io_uring_wait_cqe(ring, &cqe);
		if (rc < 0)
			die("wait", -rc);
		uint64_t slot = cqe->user_data;
		if (cqe->res != CHUNK_LEN)
			die("copy", cqe->res < 0 ? -cqe->res : EIO);
		io_uring_cqe_seen(ring, cqe);
		if (slot < N_SLOTS)
			return slot;
	}
}

static void ref(int from, int to, uint64_t len, char *bufs)
{
	struct io_uring ring;
	int rc = io_uring_queue_init(2 * N_SLOTS, &ring, 0);
	if (rc < 0)
		die("io_uring", -rc);
	uint64_t n_busy = 0;
	for (uint64_t off = 0; off < len; off += CHUNK_LEN) {
		uint64_t slot = n_busy < N_SLOTS ? n_busy++ : wait_write(&ring);
		submit_copy(&ring, from, to, bufs + slot * CHUNK_LEN, off, slot);
	}
	while (n_busy--)
		wait_write(&ring);
	io_uring_queue_exit(&ring);
}

static int touch(const char *arg)
{
	size_t len = strtoull(arg, NULL, 10) << 20;
	void *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		die("touch", errno);
	memset(mem, 1, len);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "touch"))
		return touch(argv[2]);
	if (argc != 4 || (strcmp(argv[1], "ceiling") && strcmp(argv[1], "ref"))) {
		fprintf(stderr, "usage: plain_copy ceiling|ref FROM TO, or plain_copy touch MIB\n");
		return 2;
	}
	int direct = !strcmp(argv[1], "ref");
	struct stat st;
	int from = open(argv[2], O_RDONLY | O_CLOEXEC);
	if (from < 0 || fstat(from, &st))
		die(argv[2], errno);
	if (st.st_size % CHUNK_LEN)
		die("source is not whole MiB", EINVAL);
	int to = open(argv[3], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | (direct ? O_DIRECT : 0),
		      0600);
	if (to < 0)
		die(argv[3], errno);
	char *bufs = aligned_alloc(4096, (size_t)N_SLOTS * CHUNK_LEN);
	if (!bufs)
		die("memory", ENOMEM);
	if (st.st_size && fallocate(to, 0, 0, st.st_size) && errno != EOPNOTSUPP)
		die("fallocate", errno);
	if (direct)
		ref(from, to, st.st_size, bufs);
	else
		ceiling(from, to, st.st_size, bufs);
	if (fsync(to))
		die("fsync", errno);
	free(bufs);
	return 0;
}
