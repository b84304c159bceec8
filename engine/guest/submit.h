/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Making and submitting guest requests. */
#ifndef BLOCKPULL_GUEST_SUBMIT_H
#define BLOCKPULL_GUEST_SUBMIT_H

#include <stdint.h>
#include <sys/uio.h>

#include "engine/guest/request.h"
#include "io/base.h"

struct bpull_disk;
struct bpull_extent;

/* New requests; guest_submit() takes them over. They copy the vector, not the bytes it names. */
struct guest *guest_new_read(struct bpull_disk *disk, const struct iovec *iov, int n_iov,
			     uint64_t guest_off);
struct guest *guest_new_write(struct bpull_disk *disk, const struct iovec *iov, int n_iov,
			      uint64_t guest_off, uint32_t flags);
struct guest *guest_new_range(struct bpull_disk *disk, enum guest_kind kind, uint64_t guest_off,
			      uint64_t len, uint32_t flags);
struct guest *guest_new_status(struct bpull_disk *disk, uint64_t guest_off, uint64_t len,
			       struct bpull_extent *extents, int max);
/* A GUEST_WRITE, or GUEST_ZEROES that may give space back, of the library itself. NULL: no memory;
 * the other calls wait for it, this one does not, as its caller can do without. */
struct guest *guest_new_inner(struct bpull_disk *disk, enum guest_kind kind, void *buf,
			      uint64_t len, uint64_t guest_off);
/* Of a longer disk; no other is in flight. NULL: no memory. */
struct guest *guest_new_grow(struct bpull_disk *disk, uint64_t guest_len);
void guest_submit(struct guest *g);
/* One that waited while its disk was held (hold.c) begins. */
void guest_let_in(struct guest *g);
/* Queues the event of a read that succeeded without a request. */
void guest_end_now(struct bpull_disk *disk, void *user_data);

#endif
