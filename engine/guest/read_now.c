/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A read that need not wait. Most of a guest's reads are one piece of one file,
 * and much of that is in the page cache: a plain system call that refuses to
 * wait costs less there than a request's way through the queues and the ring.
 * What is not that simple (a table that is missing, a piece on the device, a
 * copy that is to follow) becomes a request, which begins at the beginning.
 *
 * It may run wherever a request may be submitted, on any thread that is inside:
 * it changes nothing, and nothing can change beside it.
 *
 * Writes were rejected: ext4 waits in them, for its journal and for pages that are
 * on their way to the device, whatever it is told.
 */
#include "engine/guest/read_now.h"

#include "engine/blockpull.h"
#include "engine/core/disk.h"
#include "engine/core/iov.h"
#include "engine/guest/chain_read.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/file.h"

/* Longer ones would hold up others of this engine's; the ring's copies do, too, but in turn. */
#define MAX_NOW_LEN (128 * KiB)

static bool may_be_read(const struct bpull_disk *disk, uint64_t guest_off, uint64_t len)
{
	uint64_t guest_len = disk_overlay(disk)->guest_len;

	return disk->flags & BPULL_DISK_GUEST_IO && len && len <= MAX_NOW_LEN &&
	       guest_off <= guest_len && len <= guest_len - guest_off;
}

bool guest_read_now(struct bpull_disk *disk, const struct iovec *iov, int n_iov, uint64_t guest_off)
{
	uint64_t len = iov_is_sound(iov, n_iov) ? iov_len(iov, n_iov) : 0;
	struct table_need need;
	struct extent e;

	if (!may_be_read(disk, guest_off, len) || gather_map(disk, guest_off, len, &e, &need) ||
	    e.len != len)
		return false;
	if (e.kind == EXTENT_ZERO) {
		iov_zero(iov, n_iov, 0, len);
	} else {
		struct file *file = disk->chain->layers[e.depth]->data;

		if (e.kind != EXTENT_DATA || (e.depth && atomic_load(&disk->guests.copy_on_read)) ||
		    file_read_now(file, iov, n_iov, e.host_off) != (ssize_t)len)
			return false;
	}
	disk->engine->guest_seen = true;
	return true;
}
