/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Reading back what was copied, before the backing link goes: from the device,
 * through the tables that are durable by then, and compared by digest with what
 * was read from the chain. So it finds what a memory, a cable or a device did to
 * the data on its way, and a table entry that leads elsewhere.
 *
 * The page cache is dropped first: everything was made durable before, so it
 * holds nothing else. O_DIRECT was rejected: it needs another description of the
 * file (a sandboxed program can't open one) and an alignment that small clusters
 * haven't got; what a file system keeps in spite of being told is in memory, and
 * then the comparison is of memory.
 *
 * A long list would outgrow the memory budget, so the job stops copying when it
 * is full, verifies, and goes on.
 */
#include "engine/job/verify.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/copy/walk/slots.h"
#include "engine/copy/walk/window.h"
#include "engine/core/copied.h"
#include "engine/core/disk.h"
#include "engine/core/fault.h"
#include "engine/core/loop.h"
#include "engine/core/op.h"
#include "engine/core/ranges/range_lock.h"
#include "engine/core/ranges/zero.h"
#include "engine/guest/chain_read.h"
#include "engine/job/chain/down.h"
#include "formats/core/layer.h"
#include "formats/core/table_cache.h"
#include "io/base.h"
#include "io/buf.h"
#include "io/file.h"
#include "io/io.h"

#define MAX_READING 8

/* A range of neighbours, at most a buffer long. */
struct read_back {
	struct op op;             /* of the disk whose image is read */
	struct bpull_disk *owner; /* the one that has the job */
	struct range_lock lock;   /* keeps the guest from writing here meanwhile */
	enum {
		READ_BACK_LOCK,
		READ_BACK_READ,
		READ_BACK_COMPARE,
		READ_BACK_UNCACHED, /* no reading: the page cache is dropped */
	} phase;
	bool locked;
	size_t first, n; /* items of the list */
	uint64_t guest_off, len;
	uint8_t *buf;
	struct iovec iov;
	struct chain_read chain_read;
	struct io_req req;
};

int verify_open(struct bpull_disk *disk)
{
	struct verify *verify = calloc(1, sizeof(*verify));

	if (!verify)
		return -ENOMEM;
	verify->is_below = down_is_on(disk);
	verify->max_items = disk->engine->budget.verify_len / sizeof(struct copied);
	disk->verify = verify;
	return 0;
}

void verify_close(struct bpull_disk *disk)
{
	if (disk->verify)
		copied_clear(&disk->verify->list);
	free(STEAL(disk->verify));
}

bool verify_is_busy(const struct bpull_disk *disk)
{
	const struct verify *verify = disk->verify;

	return verify && (verify->n_reading || verify->uncaching || verify->holes.reading);
}

/* ---- one range ---- */

static struct read_back *read_back_of(struct op *op)
{
	return (struct read_back *)op;
}

static void read_back_over(struct read_back *r)
{
	struct verify *verify = r->owner->verify;

	if (r->locked)
		range_lock_release(&r->op.disk->locks, &r->lock, op_granted);
	chain_read_end(&r->chain_read);
	if (r->buf) {
		buf_put(r->op.engine->bufs, r->buf);
		verify->n_reading--;
	} else {
		verify->uncaching = false;
	}
	engine_rerun(r->op.engine);
	free(r);
}

static const char *what_is_kept(const struct bpull_disk *disk)
{
	if (disk->flatten)
		return "nothing was made of it: look after the device and the memory";
	if (down_is_on(disk))
		return "what is above it stays as it was, and the chain reads the same: look after "
		       "the device and the memory before you use it";
	return "the backing link is kept, and the chain has the data: look after the device and "
	       "the memory before you use the image";
}

static void mismatch(const struct read_back *r, uint64_t guest_off, uint32_t len)
{
	struct shown shown;

	job_fail(r->owner, -EBADMSG,
		 "%s: what was copied to guest offset %#llx (%u bytes) is not what is read back "
		 "from the disk; %s",
		 file_show(disk_overlay(r->op.disk)->data, &shown), (unsigned long long)guest_off,
		 len, what_is_kept(r->owner));
}

static bool is_right(const struct read_back *r, const struct copied *item)
{
	const uint8_t *got = r->buf + (item->guest_off - r->guest_off);

	return item->is_zero ? zero_is(got, item->len)
			     : XXH128_isEqual(XXH3_128bits(got, item->len), item->digest);
}

static bool counts_as_copied(const struct read_back *r, const struct copied *item)
{
	return !item->is_zero && (!item->is_direct || disk_overlay(r->op.disk)->no_tables);
}

static enum step compare(struct read_back *r)
{
	const struct verify *verify = r->owner->verify;
	struct copied *items = verify->list.items;
	/* A pull's range is lost where the tables don't lead to it any more and the chain answered.
	 * A commit's lower image may read from what is below it. */
	bool is_lost = !verify->is_below && r->chain_read.below.lo != r->chain_read.below.hi;

	for (size_t i = r->first; i < r->first + r->n; i++) {
		struct copied *item = &items[i];

		if (!item->len) /* the guest was here first */
			continue;
		if (is_lost || !is_right(r, item)) {
			mismatch(r, item->guest_off, item->len);
			break;
		}
		if (counts_as_copied(r, item))
			r->owner->walk->counts.verified += item->len;
		item->len = 0; /* not again, if an earlier item fails and reading resumes there */
	}
	read_back_over(r);
	return STEP_WAIT;
}

static enum step read_directly(struct read_back *r, const struct copied *item)
{
	r->phase = READ_BACK_COMPARE;
	io_req_read(&r->req, disk_overlay(r->op.disk)->data, r->buf, r->len, item->host_off);
	op_submit(&r->op, &r->req);
	return STEP_WAIT;
}

/* Everything is durable, so tables that are read again are those on the disk. */
static enum step uncached(struct read_back *r)
{
	table_cache_drop_clean(r->op.engine->cache, disk_overlay(r->op.disk)->file);
	r->owner->verify->uncached = true;
	read_back_over(r);
	return STEP_WAIT;
}

static enum step read_back_step(struct op *op)
{
	struct read_back *r = read_back_of(op);
	const struct bpull_disk *owner = r->owner;
	const struct copied *item;

	/* The job was given up meanwhile, and copies that follow a guest's reads add to the list
	 * again: the items are elsewhere in it by now, and the job does not ask any more. */
	if (owner->job.step != JOB_VERIFYING && r->phase != READ_BACK_UNCACHED) {
		read_back_over(r);
		return STEP_WAIT;
	}
	switch (r->phase) {
	case READ_BACK_LOCK:
		r->phase = READ_BACK_READ;
		r->locked = true;
		return range_lock_take(&op->disk->locks, &r->lock) ? STEP_NEXT : STEP_WAIT;
	case READ_BACK_READ:
		item = &owner->verify->list.items[r->first];
		if (item->is_direct)
			return read_directly(r, item);
		if (chain_read_step(&r->chain_read) == STEP_WAIT)
			return STEP_WAIT;
		r->phase = READ_BACK_COMPARE;
		return STEP_NEXT;
	case READ_BACK_COMPARE: return compare(r);
	case READ_BACK_UNCACHED: return uncached(r);
	}
	abort();
}

static void read_back_fail(struct op *op)
{
	struct read_back *r = read_back_of(op);
	struct verify *verify = r->owner->verify;

	verify->next = MIN(verify->next, r->first); /* read again, if the job is resumed */
	if (r->chain_read.decoding)                 /* read, but nothing that can be decoded */
		mismatch(r, r->guest_off, r->len);
	else
		job_fail_op(r->owner, op);
	read_back_over(r);
}

static const struct op_kind read_back_kind = { "read-back", read_back_step, read_back_fail };

/* ---- all of them ---- */

/* b's bytes follow the len bytes from a on, and are read the same way. */
static bool follows(const struct copied *a, uint64_t len, const struct copied *b)
{
	if (!b->len || b->guest_off != a->guest_off + len || b->is_direct != a->is_direct)
		return false;
	return !b->is_direct || b->host_off == a->host_off + len;
}

/* How many items from `first` on one read takes. */
static size_t n_neighbours(const struct copied_list *list, size_t first, uint64_t *len)
{
	const struct copied *items = &list->items[first];
	size_t n = 1;

	*len = items->len;
	for (; first + n < list->n && follows(items, *len, &items[n]); n++) {
		if (*len + items[n].len > RUN_MAX_LEN)
			break;
		*len += items[n].len;
	}
	return n;
}

static struct read_back *new_read_back(struct bpull_disk *disk)
{
	struct read_back *r = calloc(1, sizeof(*r));

	if (r) {
		op_init(&r->op, &read_back_kind, disk->engine, job_written(disk));
		r->owner = disk;
	} else {
		job_fail(disk, -ENOMEM, "out of memory");
	}
	return r;
}

static bool start_reading(struct bpull_disk *disk)
{
	struct verify *verify = disk->verify;
	const struct copied *item = &verify->list.items[verify->next];
	uint32_t cluster_len = disk_overlay(job_written(disk))->cluster_len;
	struct read_back *r = new_read_back(disk);

	if (!r)
		return false;
	r->first = verify->next;
	r->n = n_neighbours(&verify->list, r->first, &r->len);
	r->guest_off = item->guest_off;
	r->buf = buf_get(disk->engine->bufs);
	r->iov = (struct iovec){ r->buf, r->len };
	chain_read_begin(&r->chain_read, &r->op, &r->iov, 1, r->guest_off, r->len);
	r->lock = (struct range_lock){ .guest_off = round_down(r->guest_off, cluster_len),
				       .owner = &r->op };
	r->lock.len = round_up(r->guest_off + r->len, cluster_len) - r->lock.guest_off;
	verify->next += r->n;
	verify->n_reading++;
	op_ready(&r->op);
	return true;
}

static int uncache_work(struct io_req *req)
{
	struct op *op = req->owner;

	file_uncache(disk_overlay(op->disk)->file);
	file_uncache(disk_overlay(op->disk)->data);
	return 0;
}

static void start_uncaching(struct bpull_disk *disk)
{
	struct read_back *r = new_read_back(disk);

	if (!r)
		return;
	disk->verify->uncaching = true;
	r->phase = READ_BACK_UNCACHED;
	io_req_work(&r->req, uncache_work);
	op_submit(&r->op, &r->req);
}

static bool may_read(const struct bpull_disk *disk)
{
	const struct verify *verify = disk->verify;

	return job_goes_on(&disk->job) &&
	       verify->n_reading < (cursor_gives_way(disk) ? 1 : MAX_READING) &&
	       slots_may_take(disk);
}

bool verify_run(struct bpull_disk *disk)
{
	struct verify *verify = disk->verify;

	if (!verify->uncached) {
		if (!verify->uncaching && may_read(disk))
			start_uncaching(disk);
		return false;
	}
	while (verify->next < verify->list.n && may_read(disk)) {
		if (!verify->list.items[verify->next].len)
			verify->next++;
		else if (!start_reading(disk))
			return false;
	}
	if (verify->next < verify->list.n || verify->n_reading)
		return false;
	verify->list.n = 0;
	verify->next = 0;
	verify->uncached = false;
	return true;
}
