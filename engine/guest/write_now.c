/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A write that need not wait, as read_now.c has reads. Most guest writes overwrite bytes of one
 * extent of one file, and go into the page cache. Where the file system can't begin a write and
 * tell of its end later, a backend would hand each to another thread, which costs half as much as
 * the write itself. A write that meets another request, a missing table or new space becomes a
 * request and starts from its beginning.
 *
 * In memory no write waits. On ext4 one may, for the journal or while too much is in the page
 * cache, and everything else of the engine with it. So a write is done here only while none has
 * waited lately (core/rate/calm.h), and not beside a job, whose copies hold the file's own lock.
 *
 * Only where the engine has no thread, so that the caller's is the one that runs it: the caller of
 * an engine with a thread is promised that it does not wait, and the thread's lock would be held
 * meanwhile.
 */
#include "engine/guest/write_now.h"

#include "engine/blockpull.h"
#include "engine/core/clock.h"
#include "engine/core/disk.h"
#include "engine/core/ranges/iov.h"
#include "engine/core/ranges/range_lock.h"
#include "engine/core/rate/calm.h"
#include "engine/core/rate/stats.h"
#include "engine/guest/hold.h"
#include "engine/guest/request.h"
#include "formats/core/layer.h"
#include "formats/core/layer_guest.h"
#include "formats/core/layer_header.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/file.h"
#include "io/now.h"

static bool takes_writes(const struct bpull_disk *disk)
{
	const struct guests *all = &disk->guests;

	return disk->flags & BPULL_DISK_GUEST_IO && !(disk->flags & BPULL_DISK_READ_ONLY) &&
	       !disk->poisoned && !disk->exclusive && all->rest == DISK_ACTIVE &&
	       !guest_is_held(disk, true) &&
	       (all->prepare == GUESTS_PREPARED || !layer_has_claims(disk_overlay(disk)));
}

/* A write to this file costs less here than on its way to another thread, and no job is at work. */
static bool may_be_here(const struct bpull_disk *disk)
{
	const struct file *data = disk_overlay(disk)->data;

	return !disk->engine->thread.is_on && !disk_has_job(disk) &&
	       (data->now.always || data->now.no_writes);
}

/* The file's writes never wait, or none has lately. */
static bool takes_no_waiting(const struct bpull_disk *disk, uint64_t now_ns)
{
	return disk_overlay(disk)->data->now.always || calm_may_write(&disk->guests.calm, now_ns);
}

/* One extent holds all of the range, and no other operation is at work there. */
static bool find_written(struct bpull_disk *disk, uint64_t guest_off, uint64_t len,
			 struct write_extent *e)
{
	struct layer *overlay = disk_overlay(disk);
	uint64_t off = round_down(guest_off, overlay->cluster_len);
	uint64_t end = round_up(guest_off + len, overlay->cluster_len);
	struct table_need need;

	return range_lock_is_free(&disk->locks, off, end) &&
	       !layer_map_write(overlay, guest_off, len, e, &need) && e->kind == WRITE_IN_PLACE &&
	       e->len == len;
}

static void count_write(struct bpull_disk *disk, uint64_t end, uint64_t len, uint64_t took_ns)
{
	struct bpull_disk_stats *stats = &disk->guests.stats;

	stats_note_end(&stats->write, 0, len, took_ns);
	stats->write_end = MAX(stats->write_end, end);
	disk->engine->guests.n_over++;
}

bool guest_write_now(struct bpull_disk *disk, const struct iovec *iov, int n_iov,
		     uint64_t guest_off, uint32_t flags)
{
	uint64_t len = iov_is_sound(iov, n_iov) ? iov_len(iov, n_iov) : 0;
	uint64_t began_ns, ended_ns;
	struct write_extent e;
	bool done;

	if (flags || !len || len > GUEST_NOW_LEN || !may_be_here(disk) || !takes_writes(disk) ||
	    !disk_has_range(disk, guest_off, len))
		return false;
	began_ns = engine_now_ns();
	if (!takes_no_waiting(disk, began_ns) || !find_written(disk, guest_off, len, &e))
		return false;
	done = file_write_now(disk_overlay(disk)->data, iov, n_iov, len, e.host_off);
	disk_wrote(disk, DISK_DATA);
	disk->engine->loop.is_settled = false; /* its round looks whether a commit is due */
	ended_ns = engine_now_ns();
	calm_note(&disk->guests.calm, began_ns, ended_ns);
	if (done)
		count_write(disk, guest_off + len, len, ended_ns - began_ns);
	return done;
}
