/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Any bytes as a guest's memory, with a ring in it: what a chain is made of lies
 * in memory, is not more than the descriptors said, and becomes a request inside
 * the disk or none. The first byte is the ring's size and whether it has events.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/world.h"
#include "tools/vhost/blk.h"
#include "tools/vhost/chain.h"

#define LEN  (32u * 1024)
#define DISK (UINT64_C(1) << 24)

/* Aligned as pages are. Two regions that touch for the guest, in another order than here. */
static uint8_t memory[2][LEN] __attribute__((aligned(4096)));
static struct vhost_chain chain;

static void check_vectors(const struct iovec *iov, unsigned n, uint64_t len)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++) {
		const uint8_t *at = iov[i].iov_base, *low = memory[0], *end = low + sizeof(memory);

		FUZZ_CHECK(iov[i].iov_len && at >= low && at < end &&
				   iov[i].iov_len <= (size_t)(end - at),
			   "a vector leads out of memory");
		sum += iov[i].iov_len;
	}
	FUZZ_CHECK(sum == len, "vectors of %llu bytes, and not %llu", (unsigned long long)sum,
		   (unsigned long long)len);
}

static void check_request(const struct blk_request *r)
{
	switch (r->act) {
	case BLK_READ:
	case BLK_WRITE:
		FUZZ_CHECK(r->off <= DISK && r->len <= DISK - r->off, "outside the disk");
		FUZZ_CHECK(r->n_iov <= 1024, "too many vectors");
		check_vectors(r->iov, r->n_iov, r->len);
		break;
	case BLK_DISCARD:
	case BLK_ZEROES:
		FUZZ_CHECK(r->n_ranges && r->n_ranges <= BLK_MAX_RANGES, "no ranges");
		for (unsigned i = 0; i < r->n_ranges; i++)
			FUZZ_CHECK(r->ranges[i].off <= DISK &&
					   r->ranges[i].len <= DISK - r->ranges[i].off,
				   "outside the disk");
		break;
	case BLK_ID: blk_put_id(r, "a serial number that is too long"); break;
	case BLK_FLUSH:
	case BLK_ANSWER: break;
	}
	if (r->status_at)
		*r->status_at = r->status;
}

static void take(struct vring *ring, const struct vhost_memory *m, const struct blk_disk *disk,
		 uint16_t head)
{
	struct blk_request r;

	if (vhost_chain_read(ring, m, head, &chain))
		return;
	check_vectors(chain.iov, chain.n_in, chain.in_len);
	check_vectors(chain.iov + chain.n_in, chain.n_out, chain.out_len);
	blk_decode(disk, &chain, &r);
	check_request(&r);
	vring_fill(ring, head, r.used_len);
	vring_publish(ring);
	vring_claim_signal(ring);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct vhost_memory m = {
		.regions = { { .guest_addr = 0, .len = LEN, .host = memory[1] },
			     { .guest_addr = LEN, .len = LEN, .host = memory[0] } },
		.n = 2,
	};
	struct blk_disk disk = { DISK, UINT64_MAX, false, 1u << 21 };
	struct vring ring = { .desc = (void *)memory[1],
			      .avail = (void *)(memory[1] + 4096),
			      .used = (void *)(memory[1] + 8192) };
	uint16_t head;

	if (!size)
		return 0;
	ring.size = 1u << (data[0] & 7);
	ring.event_idx = data[0] & 8;
	disk.read_only = data[0] & 16;
	memset(memory, 0, sizeof(memory));
	size--;
	memcpy(memory[1], data + 1, size < LEN ? size : LEN);
	if (size > LEN)
		memcpy(memory[0], data + 1 + LEN, size - LEN < LEN ? size - LEN : LEN);
	for (unsigned n = 0; n < 128 && vring_take(&ring, &head) == 1; n++)
		take(&ring, &m, &disk, head);
	vring_listen(&ring);
	return 0;
}
