/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The peer of the guest path: the same requests by io_uring, at the very bytes
 * of the image's file that the library would find. A file of its own was
 * rejected: its layout, and what of it is cached, would differ.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/rig/load.h"
#include "bench/rig/timed.h"
#include "engine/blockpull.h"

struct raw_ring {
	struct io_uring ring;
	int fd;
	const struct bpull_extent *extents;
	unsigned n_extents;
	uint64_t begin_ns[LOAD_MAX_DEPTH];
};

int raw_ring_open(const char *path, const struct bpull_extent *extents, unsigned n_extents,
		  unsigned depth, struct raw_ring **out)
{
	struct raw_ring *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return -ENOMEM;
	r->extents = extents;
	r->n_extents = n_extents;
	r->fd = open(path, O_RDWR | O_CLOEXEC);
	rc = r->fd < 0 ? -errno : io_uring_queue_init(depth, &r->ring, 0);
	if (rc < 0) {
		if (r->fd >= 0)
			close(r->fd);
		free(r);
		return rc;
	}
	*out = r;
	return 0;
}

void raw_ring_close(struct raw_ring *r)
{
	if (!r)
		return;
	io_uring_queue_exit(&r->ring);
	close(r->fd);
	free(r);
}

/* Extents are sorted and without gaps: guest.c has made sure. */
static uint64_t raw_ring_file_off(const struct raw_ring *r, uint64_t guest_off)
{
	unsigned low = 0, high = r->n_extents;

	if (!high)
		return guest_off;
	while (high - low > 1) {
		unsigned mid = low + (high - low) / 2;

		if (r->extents[mid].start <= guest_off)
			low = mid;
		else
			high = mid;
	}
	return r->extents[low].offset + (guest_off - r->extents[low].start);
}

static int raw_ring_put(struct raw_ring *r, struct load *load, unsigned slot)
{
	uint64_t guest_off = load_next(load);
	struct io_uring_sqe *sqe;
	uint8_t *buf;

	if (guest_off == LOAD_END)
		return 0;
	sqe = io_uring_get_sqe(&r->ring);
	buf = load->bufs + (size_t)slot * LOAD_LEN;

	if (load->kind == LOAD_READ)
		io_uring_prep_read(sqe, r->fd, buf, LOAD_LEN, raw_ring_file_off(r, guest_off));
	else
		io_uring_prep_write(sqe, r->fd, buf, LOAD_LEN, raw_ring_file_off(r, guest_off));
	sqe->user_data = slot;
	r->begin_ns[slot] = timed_now_ns();
	return 1;
}

int raw_ring_slice(struct raw_ring *r, struct load *load, uint64_t until_ns, struct histogram *h,
		   uint64_t *n_done)
{
	unsigned n_busy = 0;

	for (unsigned slot = 0; slot < load->depth; slot++)
		n_busy += raw_ring_put(r, load, slot);
	while (n_busy) {
		struct io_uring_cqe *cqe;
		int rc = io_uring_submit_and_wait(&r->ring, 1);

		if (rc < 0 && rc != -EINTR)
			return rc;
		while (!io_uring_peek_cqe(&r->ring, &cqe)) {
			unsigned slot = (unsigned)cqe->user_data;
			int result = cqe->res;
			uint64_t now_ns = timed_now_ns();

			io_uring_cqe_seen(&r->ring, cqe);
			if (result != LOAD_LEN)
				return result < 0 ? result : -EIO;
			histogram_add(h, now_ns - r->begin_ns[slot]);
			++*n_done;
			n_busy--;
			if (now_ns < until_ns)
				n_busy += raw_ring_put(r, load, slot);
		}
	}
	return 0;
}
