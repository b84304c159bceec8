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

/* Make a request, for guest_submit(), which takes it over. They copy the vector, not the bytes that
 * it leads to. Without memory they wait until there is some. */
struct guest *guest_new_read(struct bpull_disk *disk, const struct iovec *iov, int n_iov,
			     uint64_t guest_off);
struct guest *guest_new_write(struct bpull_disk *disk, const struct iovec *iov, int n_iov,
			      uint64_t guest_off, uint32_t flags);
struct guest *guest_new_range(struct bpull_disk *disk, enum guest_kind kind, uint64_t guest_off,
			      uint64_t len, uint32_t flags);
struct guest *guest_new_status(struct bpull_disk *disk, uint64_t guest_off, uint64_t len,
			       struct bpull_extent *extents, int max);
/* Makes a request of the library itself (inner.h): GUEST_WRITE, or GUEST_ZEROES that may give space
 * back. NULL: no memory; it does not wait for some, since its caller can report an error. */
struct guest *guest_new_inner(struct bpull_disk *disk, enum guest_kind kind, void *buf,
			      uint64_t len, uint64_t guest_off);
/* Makes the request for a longer disk, and sets guests.is_growing; no other such request is in
 * flight. NULL: no memory. */
struct guest *guest_new_grow(struct bpull_disk *disk, uint64_t guest_len);
void guest_submit(struct guest *g);
/* Begins a request: checks it, gives it its number, and admits it. For guest_submit(), and for
 * hold.c when requests were held. */
void guest_let_in(struct guest *g);
/* Queues the event of a read or write that succeeded without a request. */
void guest_end_now(struct bpull_disk *disk, void *user_data);

#endif
