/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A read that need not wait. Most guest reads are one extent of one file, and
 * the page cache has much of it. There a system call that refuses to wait costs
 * less than a request's way through the queues and the ring. If a table is
 * missing, the bytes are on the device, or a copy must follow, the read becomes
 * a request and starts from its beginning.
 *
 * The thread that submits runs this, under the engine's lock if there is one. It
 * changes nothing but the counters.
 *
 * Writes this way wait on ext4 for its journal and for pages under write-back, even when told not
 * to: write_now.c has what is done all the same.
 */
#include "engine/guest/read_now.h"

#include "engine/blockpull.h"
#include "engine/core/clock.h"
#include "engine/core/disk.h"
#include "engine/core/ranges/iov.h"
#include "engine/core/rate/latency.h"
#include "engine/core/rate/stats.h"
#include "engine/guest/chain_read.h"
#include "engine/guest/hold.h"
#include "engine/guest/request.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/file.h"
#include "io/now.h"

/* One read of so many is timed, and its time counts for the ones that follow: looking at the clock
 * twice takes a twentieth of the time of a read. */
#define TIMED_OF 8u

static bool may_be_read(const struct bpull_disk *disk, uint64_t guest_off, uint64_t len)
{
	return disk->flags & BPULL_DISK_GUEST_IO && disk->guests.rest == DISK_ACTIVE &&
	       !guest_is_held(disk, false) && len && len <= GUEST_NOW_LEN &&
	       disk_has_range(disk, guest_off, len);
}

/* began_ns 0: the read was not timed, and counts with the time of the last one that was. */
static void count_read(struct bpull_disk *disk, uint64_t len, uint64_t began_ns)
{
	struct guests *all = &disk->guests;

	if (began_ns) {
		all->read_now.took_ns = engine_now_ns() - began_ns;
		all->read_now.n_untimed = TIMED_OF;
	}
	all->read_now.n_untimed--;
	stats_note_end(&all->stats.read, 0, len, all->read_now.took_ns);
	if (all->recent.mark_ns)
		latency_note(&all->recent, all->read_now.took_ns);
}

bool guest_read_now(struct bpull_disk *disk, const struct iovec *iov, int n_iov, uint64_t guest_off)
{
	uint64_t len = iov_is_sound(iov, n_iov) ? iov_len(iov, n_iov) : 0;
	uint64_t began_ns = disk->guests.read_now.n_untimed ? 0 : engine_now_ns();
	struct table_need need;
	struct extent e;

	if (!may_be_read(disk, guest_off, len) || chain_read_map(disk, guest_off, len, &e, &need) ||
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
	disk->engine->guests.n_over++;
	count_read(disk, len, began_ns);
	return true;
}
