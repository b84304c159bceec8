/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Guest I/O as the program calls it: requests that end in an event. What is
 * wrong with a request is its result, too: a program has one place to look.
 */
#include <errno.h>

#include "engine/guest.h"
#include "io/base.h"

static void submit(struct guest *g, void *user_data)
{
	g->user_data = user_data;
	guest_submit(g);
}

void bpull_read(struct bpull_disk *disk, const struct iovec *iov, int n_iov, uint64_t guest_off,
		void *user_data)
{
	submit(guest_new_read(disk, iov, n_iov, guest_off), user_data);
}

void bpull_write(struct bpull_disk *disk, const struct iovec *iov, int n_iov, uint64_t guest_off,
		 uint32_t flags, void *user_data)
{
	submit(guest_new_write(disk, iov, n_iov, guest_off, flags), user_data);
}

void bpull_write_zeroes(struct bpull_disk *disk, uint64_t guest_off, uint64_t len, uint32_t flags,
			void *user_data)
{
	submit(guest_new_range(disk, GUEST_ZEROES, guest_off, len, flags), user_data);
}

void bpull_discard(struct bpull_disk *disk, uint64_t guest_off, uint64_t len, void *user_data)
{
	submit(guest_new_range(disk, GUEST_DISCARD, guest_off, len, 0), user_data);
}

void bpull_flush(struct bpull_disk *disk, void *user_data)
{
	submit(guest_new_range(disk, GUEST_FLUSH, 0, 0, 0), user_data);
}

void bpull_block_status(struct bpull_disk *disk, uint64_t guest_off, uint64_t len,
			struct bpull_extent *extents, int max, void *user_data)
{
	submit(guest_new_status(disk, guest_off, len, extents, max), user_data);
}

int bpull_disk_set_copy_on_read(struct bpull_disk *disk, int on)
{
	if (!(disk->flags & BPULL_DISK_GUEST_IO))
		return -EINVAL;
	if (disk->flags & BPULL_DISK_READ_ONLY)
		return -EROFS;
	atomic_store(&disk->guests.copy_on_read, on != 0);
	return 0;
}
