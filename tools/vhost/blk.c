/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The layout of a request is free: the header is the first 16 bytes that the
 * device reads, the status the last byte that it writes, whatever descriptors
 * they are in. What is wrong with a request that has a place for its status is
 * told there; it is no fault of the ring's.
 */
#include "tools/vhost/blk.h"

#include <string.h>

struct header {
	uint32_t type, priority;
	uint64_t sector;
};

/* As on the wire. */
struct range {
	uint64_t sector;
	uint32_t n_sectors, flags;
};

enum type {
	TYPE_IN = 0,
	TYPE_OUT = 1,
	TYPE_FLUSH = 4,
	TYPE_GET_ID = 8,
	TYPE_DISCARD = 11,
	TYPE_ZEROES = 13,
};
#define RANGE_UNMAP 1u

/* Copies the first bytes of vectors, and cuts them off. False: there are fewer. */
static bool blk_take(struct iovec **iov, unsigned *n, void *out, size_t len)
{
	uint8_t *to = out;

	while (len && *n) {
		size_t here = (*iov)->iov_len < len ? (*iov)->iov_len : len;

		memcpy(to, (*iov)->iov_base, here);
		to += here;
		len -= here;
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + here;
		(*iov)->iov_len -= here;
		if (!(*iov)->iov_len) {
			(*iov)++;
			(*n)--;
		}
	}
	return !len;
}

/* Vectors of guest memory are never empty, so that the last one has the last byte. */
static uint8_t *blk_cut_status(struct iovec *iov, unsigned *n)
{
	struct iovec *last = *n ? &iov[*n - 1] : NULL;

	if (!last)
		return NULL;
	if (!--last->iov_len)
		--*n;
	return (uint8_t *)last->iov_base + last->iov_len;
}

static void blk_answer(struct blk_request *r, enum blk_status status)
{
	r->act = BLK_ANSWER;
	r->status = status;
	r->used_len = r->status_at ? 1 : 0;
}

static bool blk_has(const struct blk_disk *disk, enum virtio_bit bit)
{
	return disk->features & VHOST_BIT(bit);
}

static bool blk_is_inside(const struct blk_disk *disk, uint64_t sector, uint64_t len)
{
	return sector <= disk->len / BLK_SECTOR && len <= disk->len - sector * BLK_SECTOR;
}

static void blk_transfer(const struct blk_disk *disk, struct blk_request *r, enum blk_act act,
			 uint64_t sector)
{
	if (r->len % BLK_SECTOR || !blk_is_inside(disk, sector, r->len) ||
	    r->n_iov > VHOST_CHAIN_VECTORS - 2 || (act == BLK_WRITE && disk->read_only)) {
		blk_answer(r, BLK_IOERR);
		return;
	}
	r->act = act;
	r->off = sector * BLK_SECTOR;
}

static bool blk_take_range(const struct blk_disk *disk, struct blk_request *r,
			   const struct range *range, enum blk_status *status)
{
	uint64_t len = (uint64_t)range->n_sectors * BLK_SECTOR;

	*status = BLK_UNSUPP;
	if (range->flags & ~(r->act == BLK_ZEROES ? RANGE_UNMAP : 0))
		return false;
	*status = BLK_IOERR;
	if (range->n_sectors > disk->max_sectors || !blk_is_inside(disk, range->sector, len))
		return false;
	r->ranges[r->n_ranges++] = (struct blk_range){ .off = range->sector * BLK_SECTOR,
						       .len = len,
						       .unmap = range->flags & RANGE_UNMAP };
	return true;
}

static void blk_take_ranges(const struct blk_disk *disk, struct blk_request *r, enum blk_act act)
{
	enum blk_status status = BLK_IOERR;
	struct range range;

	r->act = act;
	if (disk->read_only || !r->len || r->len % sizeof(range) ||
	    r->len / sizeof(range) > BLK_MAX_RANGES) {
		blk_answer(r, BLK_IOERR);
		return;
	}
	while (r->n_iov) {
		if (!blk_take(&r->iov, &r->n_iov, &range, sizeof(range)) ||
		    !blk_take_range(disk, r, &range, &status)) {
			blk_answer(r, status);
			return;
		}
	}
}

/* What a type wants that writes nothing but the status. */
static void blk_decode_out(const struct blk_disk *disk, struct blk_request *r,
			   const struct header *h)
{
	switch (h->type) {
	case TYPE_OUT: blk_transfer(disk, r, BLK_WRITE, h->sector); return;
	case TYPE_FLUSH: r->act = BLK_FLUSH; return;
	case TYPE_DISCARD:
		if (!blk_has(disk, VIRTIO_BLK_DISCARD))
			break;
		blk_take_ranges(disk, r, BLK_DISCARD);
		return;
	case TYPE_ZEROES:
		if (!blk_has(disk, VIRTIO_BLK_WRITE_ZEROES))
			break;
		blk_take_ranges(disk, r, BLK_ZEROES);
		return;
	default: break;
	}
	blk_answer(r, BLK_UNSUPP);
}

void blk_decode(const struct blk_disk *disk, struct vhost_chain *chain, struct blk_request *r)
{
	struct iovec *in = chain->iov, *out = chain->iov + chain->n_in;
	unsigned n_in = chain->n_in, n_out = chain->n_out;
	struct header h;

	*r = (struct blk_request){ .used_len = 1 };
	r->status_at = blk_cut_status(out, &n_out);
	if (!r->status_at || !blk_take(&in, &n_in, &h, sizeof(h))) {
		blk_answer(r, BLK_IOERR);
		return;
	}
	if (h.type != TYPE_IN && h.type != TYPE_GET_ID) {
		r->iov = in;
		r->n_iov = n_in;
		r->len = chain->in_len - sizeof(h);
		blk_decode_out(disk, r, &h);
		return;
	}
	r->iov = out;
	r->n_iov = n_out;
	r->len = chain->out_len - 1;
	r->act = BLK_ID;
	if (h.type == TYPE_IN)
		blk_transfer(disk, r, BLK_READ, h.sector);
	if (r->act == BLK_READ)
		r->used_len += r->len;
	else if (r->act == BLK_ID)
		r->used_len += r->len < BLK_ID_LEN ? r->len : BLK_ID_LEN;
}

void blk_put_id(const struct blk_request *r, const char *serial)
{
	char id[BLK_ID_LEN] = { 0 };
	size_t len = strlen(serial), at = 0;

	memcpy(id, serial, len < sizeof(id) ? len : sizeof(id));
	for (unsigned i = 0; i < r->n_iov && at < sizeof(id); i++) {
		size_t here = r->iov[i].iov_len;

		if (here > sizeof(id) - at)
			here = sizeof(id) - at;
		memcpy(r->iov[i].iov_base, id + at, here);
		at += here;
	}
}
