/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * How the ring is opened: restricted to what is used, and only where it works, which
 * no list of features tells. A filter may let it be made and refuse to enter it; a
 * limit on processes lets it run until a request needs a thread of the kernel's.
 */
#include "io/backends/uring_open.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "io/backends/uring.h"

#define URING_PROBE_S 2 /* seconds in which the kernel's threads must have answered */

/* Operations that the backend submits, with those that probe the ring. */
static const uint8_t ops_used[] = {
	IORING_OP_READ,       IORING_OP_WRITE,    IORING_OP_READV,           IORING_OP_WRITEV,
	IORING_OP_READ_FIXED, IORING_OP_FSYNC,    IORING_OP_SYNC_FILE_RANGE, IORING_OP_WRITE_FIXED,
	IORING_OP_NOP,        IORING_OP_POLL_ADD, IORING_OP_TIMEOUT,         IORING_OP_ASYNC_CANCEL,
};

/* Calls of io_uring_register(): for uring_tables.c, the eventfd, the probe, and enabling the
 * ring. */
static const uint8_t registers_used[] = {
	IORING_REGISTER_ENABLE_RINGS, IORING_REGISTER_EVENTFD,      IORING_REGISTER_PROBE,
	IORING_REGISTER_FILES2,       IORING_REGISTER_FILES_UPDATE, IORING_UNREGISTER_FILES,
	IORING_REGISTER_BUFFERS,      IORING_UNREGISTER_BUFFERS,
};

/* Some liburings (2.3 of Debian 12) declare the functions for these two and export none. */
static int register_with(struct io_uring *ring, unsigned opcode, const void *arg, unsigned n)
{
	return syscall(__NR_io_uring_register, ring->ring_fd, opcode, arg, n) < 0 ? -errno : 0;
}

/* A ring opens files and sockets, too, past any filter of system calls. This one can't: an intruder
 * in the process must not get out through it. It was made disabled, so nothing came before. */
static int restrict_ring(struct io_uring *ring)
{
	struct io_uring_restriction rules[ARRAY_LEN(ops_used) + ARRAY_LEN(registers_used) + 1] = {
		0
	};
	unsigned n = 0;
	int rc;

	for (size_t i = 0; i < ARRAY_LEN(ops_used); i++) {
		rules[n].opcode = IORING_RESTRICTION_SQE_OP;
		rules[n++].sqe_op = ops_used[i];
	}
	for (size_t i = 0; i < ARRAY_LEN(registers_used); i++) {
		rules[n].opcode = IORING_RESTRICTION_REGISTER_OP;
		rules[n++].register_op = registers_used[i];
	}
	rules[n].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	rules[n++].sqe_flags = IOSQE_FIXED_FILE | IOSQE_ASYNC;
	rc = register_with(ring, IORING_REGISTER_RESTRICTIONS, rules, n);
	return rc ? rc : register_with(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

/* LINKED_FILE dates it to 5.19 or later: earlier ones
 * corrupted or hung direct I/O on btrfs, and the threads serve those well. */
static int check_supported(struct io_uring *ring)
{
	unsigned needed = IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_LINKED_FILE;
	struct io_uring_probe *probe;
	int rc;

	if ((ring->features & needed) != needed)
		return -EOPNOTSUPP;
	probe = io_uring_get_probe_ring(ring);
	rc = probe ? 0 : -EOPNOTSUPP;
	for (size_t i = 0; probe && i < ARRAY_LEN(ops_used); i++)
		if (!io_uring_opcode_supported(probe, ops_used[i]))
			rc = -EOPNOTSUPP;
	io_uring_free_probe(probe);
	return rc;
}

/* A filter may let the ring be made and then refuse to enter it: only a round trip tells. */
static int try_round_trip(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	int rc;

	if (!sqe)
		return -EIO;
	io_uring_prep_nop(sqe);
	io_uring_sqe_set_data(sqe, NULL);
	rc = io_uring_submit(ring);
	if (rc == 1)
		rc = io_uring_wait_cqe(ring, &cqe);
	else if (rc >= 0)
		rc = -EIO;
	if (rc < 0)
		return rc;
	rc = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return rc;
}

/* Asks for two requests that the kernel runs on threads of its own: an fsync of any file, and what
 * is flagged as asynchronous. 0: they ended; -EAGAIN: its threads do not come. */
static int check_threads(struct io_uring *ring, int any_fd)
{
	struct __kernel_timespec limit = { .tv_sec = URING_PROBE_S };
	struct io_uring_sqe *nop, *sync;
	struct io_uring_cqe *cqe;
	bool missing = false;
	int rc;

	if (io_uring_sq_space_left(ring) < 2) /* of a ring of one entry nothing is asked */
		return 0;
	nop = io_uring_get_sqe(ring);
	sync = io_uring_get_sqe(ring);
	io_uring_prep_nop(nop);
	nop->flags |= IOSQE_ASYNC;
	io_uring_prep_fsync(sync, any_fd, IORING_FSYNC_DATASYNC);
	rc = io_uring_submit(ring);
	if (rc != 2)
		return rc < 0 ? rc : -EIO;
	for (int i = 0; i < 2; i++) {
		do
			rc = io_uring_wait_cqe_timeout(ring, &cqe, &limit);
		while (rc == -EINTR);
		if (rc < 0)
			return rc == -ETIME ? -EAGAIN : rc;
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
	int rc = io_uring_queue_init_params(u->depth, &u->ring, &params);

	if (rc == -EINVAL) {
		params = (struct io_uring_params){ .flags = IORING_SETUP_CLAMP |
							    IORING_SETUP_R_DISABLED };
		rc = io_uring_queue_init_params(u->depth, &u->ring, &params);
	}
	if (rc < 0)
		return rc;
	u->depth = MIN(u->depth, params.sq_entries);
	rc = check_supported(&u->ring);
	if (!rc)
		rc = restrict_ring(&u->ring);
	if (!rc)
		rc = try_round_trip(&u->ring);
	if (!rc)
		rc = check_threads(&u->ring, u->wake_fd);
	if (!rc)
		rc = io_uring_register_eventfd(&u->ring, u->wake_fd);
	if (rc < 0)
		io_uring_queue_exit(&u->ring);
	return rc;
}
