/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Guest I/O as the program calls it: requests that end in an event. The event
 * also tells of a request that was wrong, so that a program has one place to look.
 */
#include "engine/api/guest.h"

#include <errno.h>
#include <pthread.h>

#include "engine/api/options/args.h"
#include "engine/blockpull.h"
#include "engine/core/clock.h"
#include "engine/core/disk.h"
#include "engine/core/export.h"
#include "engine/core/lock.h"
#include "engine/core/loop.h"
#include "engine/guest/read_now.h"
#include "engine/guest/request.h"
#include "engine/guest/submit.h"
#include "engine/guest/write_now.h"
#include "engine/job/round.h"
#include "io/base.h"

static void submit_for(struct guest *g, void *user_data)
{
	g->user_data = user_data;
	guest_submit(g);
}

void bpull_read(struct bpull_disk *disk, const struct iovec *iov, int n_iov, uint64_t guest_off,
		void *user_data)
{
	DISK_SCOPE(disk);

	if (!disk)
		return;
	if (guest_read_now(disk, iov, n_iov, guest_off))
		guest_end_now(disk, user_data);
	else
		submit_for(guest_new_read(disk, iov, n_iov, guest_off), user_data);
}

void bpull_write(struct bpull_disk *disk, const struct iovec *iov, int n_iov, uint64_t guest_off,
		 uint32_t flags, void *user_data)
{
	DISK_SCOPE(disk);

	if (!disk)
		return;
	if (guest_write_now(disk, iov, n_iov, guest_off, flags))
		guest_end_now(disk, user_data);
	else
		submit_for(guest_new_write(disk, iov, n_iov, guest_off, flags), user_data);
}

void bpull_write_zeroes(struct bpull_disk *disk, uint64_t guest_off, uint64_t len, uint32_t flags,
			void *user_data)
{
	DISK_SCOPE(disk);

	if (disk)
		submit_for(guest_new_range(disk, GUEST_ZEROES, guest_off, len, flags), user_data);
}

void bpull_discard(struct bpull_disk *disk, uint64_t guest_off, uint64_t len, void *user_data)
{
	DISK_SCOPE(disk);

	if (disk)
		submit_for(guest_new_range(disk, GUEST_DISCARD, guest_off, len, 0), user_data);
}

void bpull_flush(struct bpull_disk *disk, void *user_data)
{
	DISK_SCOPE(disk);

	if (disk)
		submit_for(guest_new_range(disk, GUEST_FLUSH, 0, 0, 0), user_data);
}

void bpull_block_status(struct bpull_disk *disk, uint64_t guest_off, uint64_t len,
			struct bpull_extent *extents, int max, void *user_data)
{
	DISK_SCOPE(disk);

	if (disk)
		submit_for(guest_new_status(disk, guest_off, len, extents, max), user_data);
}

int bpull_disk_set_copy_on_read(struct bpull_disk *disk, int on)
{
	if (!disk || !(disk->flags & BPULL_DISK_GUEST_IO))
		return -EINVAL;
	if (disk->flags & BPULL_DISK_READ_ONLY)
		return -EROFS;
	atomic_store(&disk->guests.copy_on_read, on != 0);
	return 0;
}

int bpull_disk_get_stats(struct bpull_disk *disk, struct bpull_disk_stats *stats)
{
	DISK_SCOPE(disk);

	if (!disk ||
	    is_unfit(stats, "stats", RESULT_FIRST_LEN(struct bpull_disk_stats, write_end), NULL))
		return -EINVAL;
	result_export(stats, &disk->guests.stats, sizeof(disk->guests.stats));
	return 0;
}

/* ---- waiting for the result ---- */

bool guest_may_wait(const struct bpull_disk *disk)
{
	return disk && disk->engine->thread.is_on;
}

int guest_run_and_wait(struct guest *g, int *count)
{
	struct bpull_engine *engine = g->op.engine;
	struct waiter waiter = { .cond = PTHREAD_COND_INITIALIZER };

	g->waits.call = &waiter;
	guest_submit(g);
	waiter_wait(engine, &waiter);
	pthread_cond_destroy(&waiter.cond);
	if (count)
		*count = waiter.count;
	return waiter.result;
}

int bpull_preadv(struct bpull_disk *disk, const struct iovec *iov, int n_iov, uint64_t guest_off)
{
	DISK_SCOPE(disk);

	if (!guest_may_wait(disk))
		return -EINVAL;
	if (guest_read_now(disk, iov, n_iov, guest_off))
		return 0;
	return guest_run_and_wait(guest_new_read(disk, iov, n_iov, guest_off), NULL);
}

int bpull_pwritev(struct bpull_disk *disk, const struct iovec *iov, int n_iov, uint64_t guest_off,
		  uint32_t flags)
{
	DISK_SCOPE(disk);

	if (!guest_may_wait(disk))
		return -EINVAL;
	return guest_run_and_wait(guest_new_write(disk, iov, n_iov, guest_off, flags), NULL);
}

int bpull_pread(struct bpull_disk *disk, void *buf, size_t len, uint64_t guest_off)
{
	struct iovec iov = { buf, len };

	return bpull_preadv(disk, &iov, 1, guest_off);
}

int bpull_pwrite(struct bpull_disk *disk, const void *buf, size_t len, uint64_t guest_off,
		 uint32_t flags)
{
	struct iovec iov = { (void *)buf, len };

	return bpull_pwritev(disk, &iov, 1, guest_off, flags);
}

static int run_range(struct bpull_disk *disk, enum guest_kind kind, uint64_t guest_off,
		     uint64_t len, uint32_t flags)
{
	DISK_SCOPE(disk);

	if (!guest_may_wait(disk))
		return -EINVAL;
	return guest_run_and_wait(guest_new_range(disk, kind, guest_off, len, flags), NULL);
}

int bpull_pwrite_zeroes(struct bpull_disk *disk, uint64_t guest_off, uint64_t len, uint32_t flags)
{
	return run_range(disk, GUEST_ZEROES, guest_off, len, flags);
}

int bpull_pdiscard(struct bpull_disk *disk, uint64_t guest_off, uint64_t len)
{
	return run_range(disk, GUEST_DISCARD, guest_off, len, 0);
}

int bpull_pflush(struct bpull_disk *disk)
{
	return run_range(disk, GUEST_FLUSH, 0, 0, 0);
}

int bpull_pblock_status(struct bpull_disk *disk, uint64_t guest_off, uint64_t len,
			struct bpull_extent *extents, int max)
{
	DISK_SCOPE(disk);
	int rc, count;

	if (!guest_may_wait(disk))
		return -EINVAL;
	rc = guest_run_and_wait(guest_new_status(disk, guest_off, len, extents, max), &count);
	return rc ? rc : count;
}

static uint64_t timeout_end_ns(int timeout_ms)
{
	return timeout_ms < 0 ? UINT64_MAX : engine_now_ns() + timeout_ms * UINT64_C(1000000);
}

/* A request numbered below seq is in flight. */
static bool has_older(const struct bpull_disk *disk, uint64_t seq)
{
	return disk->guests.oldest_seq < seq;
}

int bpull_disk_drain(struct bpull_disk *disk, int timeout_ms)
{
	DISK_SCOPE(disk);
	uint64_t end_ns = timeout_end_ns(timeout_ms), seq;

	if (!disk || !(disk->flags & BPULL_DISK_GUEST_IO))
		return -EINVAL;
	while (disk->guests.hold.first) /* they have no number yet */
		if (!engine_wait_round(disk->engine, end_ns) && disk->guests.hold.first)
			return -ETIMEDOUT;
	seq = disk->guests.next_seq;
	engine_rerun(disk->engine); /* the next round starts requests that are only submitted */
	while (has_older(disk, seq))
		if (!engine_wait_round(disk->engine, end_ns) && has_older(disk, seq))
			return -ETIMEDOUT;
	return 0;
}

int bpull_job_wait(struct bpull_disk *disk, int timeout_ms)
{
	DISK_SCOPE(disk);
	uint64_t end_ns = timeout_end_ns(timeout_ms);

	if (!guest_may_wait(disk))
		return -EINVAL;
	while (disk_has_job(disk))
		if (!engine_wait_round(disk->engine, end_ns) && disk_has_job(disk))
			return -ETIMEDOUT;
	return 0;
}
