/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How the ring is opened: restricted to what is used, and only where it works, which
 * no list of features tells. A filter may let it be made and refuse to enter it; a
 * limit on processes lets it run until a request needs a thread of the kernel's.
 */
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "io/uring.h"

#define URING_PROBE_S 2 /* what is asked of the kernel's threads takes no longer */

/* Everything that uring.c asks of the kernel, and the round trip's. */
static const uint8_t uring_ops_used[] = {
	IORING_OP_READ,       IORING_OP_WRITE,    IORING_OP_READV,           IORING_OP_WRITEV,
	IORING_OP_READ_FIXED, IORING_OP_FSYNC,    IORING_OP_SYNC_FILE_RANGE, IORING_OP_WRITE_FIXED,
	IORING_OP_NOP,        IORING_OP_POLL_ADD, IORING_OP_TIMEOUT,         IORING_OP_ASYNC_CANCEL,
};

/* And of the tables of uring_tables.c, as well as what enables the ring and its descriptor. */
static const uint8_t uring_registers_used[] = {
	IORING_REGISTER_ENABLE_RINGS, IORING_REGISTER_EVENTFD,      IORING_REGISTER_PROBE,
	IORING_REGISTER_FILES2,       IORING_REGISTER_FILES_UPDATE, IORING_UNREGISTER_FILES,
	IORING_REGISTER_BUFFERS,      IORING_UNREGISTER_BUFFERS,
};

/* Some liburings (2.3 of Debian 12) declare the functions for these two and export none. */
static int uring_register(struct io_uring *ring, unsigned opcode, const void *arg, unsigned n)
{
	return syscall(__NR_io_uring_register, ring->ring_fd, opcode, arg, n) < 0 ? -errno : 0;
}

/* A ring opens files and sockets, too, past any filter of system calls. This one can't: an intruder
 * in the process must not get out through it. It was made disabled, so nothing came before. */
static int uring_restrict(struct io_uring *ring)
{
	struct io_uring_restriction
		rules[ARRAY_LEN(uring_ops_used) + ARRAY_LEN(uring_registers_used) + 1] = { 0 };
	unsigned n = 0;

	for (size_t i = 0; i < ARRAY_LEN(uring_ops_used); i++) {
		rules[n].opcode = IORING_RESTRICTION_SQE_OP;
		rules[n++].sqe_op = uring_ops_used[i];
	}
	for (size_t i = 0; i < ARRAY_LEN(uring_registers_used); i++) {
		rules[n].opcode = IORING_RESTRICTION_REGISTER_OP;
		rules[n++].register_op = uring_registers_used[i];
	}
	rules[n].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	rules[n++].sqe_flags = IOSQE_FIXED_FILE | IOSQE_ASYNC;
	int ret = uring_register(ring, IORING_REGISTER_RESTRICTIONS, rules, n);
	return ret ? ret : uring_register(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

/* LINKED_FILE dates it to 5.19 or later: earlier ones
 * corrupted or hung direct I/O on btrfs, and the threads serve those well. */
static int uring_supported(struct io_uring *ring)
{
	unsigned needed = IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_LINKED_FILE;
	if ((ring->features & needed) != needed)
		return -EOPNOTSUPP;
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	int ret = probe ? 0 : -EOPNOTSUPP;
	for (size_t i = 0; probe && i < ARRAY_LEN(uring_ops_used); i++)
		if (!io_uring_opcode_supported(probe, uring_ops_used[i]))
			ret = -EOPNOTSUPP;
	io_uring_free_probe(probe);
	return ret;
}

/* A filter may let the ring be made and then refuse to enter it: only a round trip tells. */
static int uring_round_trip(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	if (!sqe)
		return -EIO;
	io_uring_prep_nop(sqe);
	io_uring_sqe_set_data(sqe, NULL);
	int ret = io_uring_submit(ring);
	if (ret == 1)
		ret = io_uring_wait_cqe(ring, &cqe);
	else if (ret >= 0)
		ret = -EIO;
	if (ret < 0)
		return ret;
	ret = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return ret;
}

/* Will the kernel's threads come? It does an fsync on one of those, whatever the file, and what is
 * said to be asynchronous. -EAGAIN: they do not. */
static int uring_has_threads(struct io_uring *ring, int any_fd)
{
	struct __kernel_timespec limit = { .tv_sec = URING_PROBE_S };
	struct io_uring_sqe *nop = io_uring_get_sqe(ring), *sync = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	bool missing = false;

	if (!nop || !sync) /* a ring of one: the same in turn */
		return 0;
	io_uring_prep_nop(nop);
	nop->flags |= IOSQE_ASYNC;
	io_uring_prep_fsync(sync, any_fd, IORING_FSYNC_DATASYNC);
	int ret = io_uring_submit(ring);
	if (ret != 2)
		return ret < 0 ? ret : -EIO;
	for (int i = 0; i < 2; i++) {
		do
			ret = io_uring_wait_cqe_timeout(ring, &cqe, &limit);
		while (ret == -EINTR);
		if (ret < 0)
			return ret == -ETIME ? -EAGAIN : ret;
		missing |= cqe->res == -ECANCELED || cqe->res == -EAGAIN;
		io_uring_cqe_seen(ring, cqe);
	}
	return missing ? -EAGAIN : 0;
}

int uring_ring_open(struct uring *u)
{
	struct io_uring_params params = { .flags = IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED |
						   IORING_SETUP_SUBMIT_ALL |
						   IORING_SETUP_COOP_TASKRUN |
						   IORING_SETUP_TASKRUN_FLAG };
	int ret = io_uring_queue_init_params(u->depth, &u->ring, &params);
	if (ret == -EINVAL) {
		params = (struct io_uring_params){ .flags = IORING_SETUP_CLAMP |
							    IORING_SETUP_R_DISABLED };
		ret = io_uring_queue_init_params(u->depth, &u->ring, &params);
	}
	if (ret < 0)
		return ret;
	u->depth = MIN(u->depth, params.sq_entries);
	ret = uring_supported(&u->ring);
	if (!ret)
		ret = uring_restrict(&u->ring);
	if (!ret)
		ret = uring_round_trip(&u->ring);
	if (!ret)
		ret = uring_has_threads(&u->ring, u->wake_fd);
	if (!ret)
		ret = io_uring_register_eventfd(&u->ring, u->wake_fd);
	if (ret < 0)
		io_uring_queue_exit(&u->ring);
	return ret;
}
