/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Memory, rings and chains: what a hostile guest may say of them. */
#include <errno.h>
#include <string.h>

#include <criterion/criterion.h>

#include "tools/vhost/chain.h"
#include "tools/vhost/memory.h"
#include "tools/vhost/ring.h"

#define SIZE 8u
#define KB   1024u

/* Two regions that touch, and one behind a hole, in three places of ours. */
static uint8_t first[64 * KB], second[64 * KB], third[64 * KB];

static struct vhost_memory make_memory(void)
{
	struct vhost_memory memory = { .n = 3 };

	memory.regions[0] = (struct vhost_region){
		.guest_addr = 0, .len = sizeof(first), .user_addr = 0x10000000, .host = first
	};
	memory.regions[1] = (struct vhost_region){ .guest_addr = sizeof(first),
						   .len = sizeof(second),
						   .user_addr = 0x20000000,
						   .host = second };
	memory.regions[2] = (struct vhost_region){ .guest_addr = UINT64_MAX - sizeof(third),
						   .len = sizeof(third),
						   .user_addr = 0x30000000,
						   .host = third };
	return memory;
}

Test(vhost_memory, ranges_run_from_region_to_region)
{
	struct vhost_memory memory = make_memory();
	struct iovec iov[4];

	cr_assert_eq(vhost_memory_guest(&memory, 100, 50, iov, 4), 1);
	cr_assert_eq(iov[0].iov_base, first + 100);
	cr_assert_eq(iov[0].iov_len, 50);
	cr_assert_eq(vhost_memory_guest(&memory, sizeof(first) - 10, 30, iov, 4), 2);
	cr_assert_eq(iov[0].iov_len, 10);
	cr_assert_eq(iov[1].iov_base, second);
	cr_assert_eq(iov[1].iov_len, 20);
	cr_assert_eq(vhost_memory_guest(&memory, sizeof(first) - 10, 30, iov, 1), -E2BIG);
	cr_assert_eq(vhost_memory_guest(&memory, 5, 0, iov, 4), 0);
}

Test(vhost_memory, ranges_that_lead_out_are_none)
{
	struct vhost_memory memory = make_memory();
	uint64_t end = sizeof(first) + sizeof(second);
	struct iovec iov[4];

	cr_assert_eq(vhost_memory_guest(&memory, end, 1, iov, 4), -EFAULT);
	cr_assert_eq(vhost_memory_guest(&memory, end - 1, 2, iov, 4), -EFAULT);
	cr_assert_eq(vhost_memory_guest(&memory, end - 1, 1, iov, 4), 1);
	cr_assert_eq(vhost_memory_guest(&memory, UINT64_MAX, 1, iov, 4), -EFAULT);
	cr_assert_eq(vhost_memory_guest(&memory, UINT64_MAX - 1, 1, iov, 4), 1);
	cr_assert_eq(vhost_memory_guest(&memory, UINT64_MAX - 10, 20, iov, 4), -EFAULT);
	cr_assert_eq(vhost_memory_guest(&memory, 10, UINT64_MAX, iov, 4), -EFAULT);
}

Test(vhost_memory, the_frontends_addresses_lie_in_one_region)
{
	struct vhost_memory memory = make_memory();

	cr_assert_eq(vhost_memory_user(&memory, 0x20000010, 16), second + 16);
	cr_assert_eq(vhost_memory_user(&memory, 0x20000000, sizeof(second)), second);
	cr_assert_null(vhost_memory_user(&memory, 0x20000000, sizeof(second) + 1));
	cr_assert_null(vhost_memory_user(&memory, 0x20000010, UINT64_MAX));
	cr_assert_null(vhost_memory_user(&memory, 0x1fffffff, 1));
	cr_assert_eq(vhost_memory_addr_of(&memory, second + 7), sizeof(first) + 7);
	cr_assert_eq(vhost_memory_addr_of(&memory, &memory), UINT64_MAX);
}

Test(vhost_memory, regions_that_can_not_be_are_refused)
{
	struct vhost_memory memory = make_memory();
	struct vhost_region_message m = { 1u << 30, 4096, 1u << 30, 0 };

	cr_assert_null(vhost_region_wrong(&memory, &m));
	m.guest_addr = sizeof(first) - 1;
	cr_assert_not_null(vhost_region_wrong(&memory, &m), "overlaps for the guest");
	m = (struct vhost_region_message){ 1u << 30, 4096, 0x20000001, 0 };
	cr_assert_not_null(vhost_region_wrong(&memory, &m), "overlaps for the frontend");
	m = (struct vhost_region_message){ UINT64_MAX - 4, 8, 1u << 30, 0 };
	cr_assert_not_null(vhost_region_wrong(&memory, &m));
	m = (struct vhost_region_message){ 1u << 30, 4096, 1u << 30, UINT64_MAX - 4000 };
	cr_assert_not_null(vhost_region_wrong(&memory, &m));
	m = (struct vhost_region_message){ 1u << 30, 0, 1u << 30, 0 };
	cr_assert_not_null(vhost_region_wrong(&memory, &m));
	memory.n = VHOST_MAX_REGIONS;
	m = (struct vhost_region_message){ 1u << 30, 4096, 1u << 30, 0 };
	cr_assert_not_null(vhost_region_wrong(&memory, &m));
}

/* ---- rings ---- */

static struct vring make_ring(void)
{
	memset(first, 0, sizeof(first));
	memset(second, 0, sizeof(second));
	return (struct vring){ .desc = (void *)first,
			       .avail = (void *)(first + 4096),
			       .used = (void *)(first + 8192),
			       .size = SIZE };
}

Test(vhost_ring, heads_are_taken_in_order_and_around)
{
	struct vring ring = make_ring();
	uint16_t head;

	ring.last_avail = ring.avail->idx = UINT16_MAX - 1;
	cr_assert_eq(vring_take(&ring, &head), 0);
	for (unsigned i = 0; i < 4; i++)
		ring.avail->heads[(uint16_t)(UINT16_MAX - 1 + i) % SIZE] = i;
	ring.avail->idx += 4;
	for (unsigned i = 0; i < 4; i++) {
		cr_assert_eq(vring_take(&ring, &head), 1);
		cr_assert_eq(head, i);
	}
	cr_assert_eq(vring_take(&ring, &head), 0);
}

Test(vhost_ring, what_makes_no_sense_is_found)
{
	struct vring ring = make_ring();
	uint16_t head;

	ring.avail->idx = SIZE + 1;
	cr_assert_eq(vring_take(&ring, &head), -EPROTO, "more than there is room for");
	ring.avail->idx = 1;
	ring.avail->heads[0] = SIZE;
	cr_assert_eq(vring_take(&ring, &head), -EPROTO);
}

Test(vhost_ring, the_guest_is_told_when_it_asks)
{
	struct vring ring = make_ring();

	cr_assert(!vring_claim_signal(&ring), "there is nothing to tell");
	vring_fill(&ring, 3, 513);
	cr_assert_eq(ring.used->idx, 0);
	vring_publish(&ring);
	cr_assert_eq(ring.used->idx, 1);
	cr_assert_eq(ring.used->elems[0].head, 3);
	cr_assert_eq(ring.used->elems[0].len, 513);
	cr_assert(vring_claim_signal(&ring));
	ring.avail->flags = VRING_NO_INTERRUPT;
	vring_fill(&ring, 4, 1);
	cr_assert(!vring_claim_signal(&ring));
}

Test(vhost_ring, event_idx_says_how_many_ends_are_waited_for)
{
	struct vring ring = make_ring();

	ring.event_idx = true;
	ring.avail->heads[SIZE] = 2; /* tell me of the third */
	for (unsigned i = 0; i < 4; i++) {
		vring_fill(&ring, i, 1);
		vring_publish(&ring);
		cr_assert_eq(vring_claim_signal(&ring), i == 2, "end %u", i);
	}
}

/* It has n requests for us, n_begun are in flight, and n_ended have ended that it was not told
 * of. */
static bool tells_later(unsigned n, unsigned n_begun, unsigned n_ended)
{
	struct vring ring = make_ring();

	ring.size = 256;         /* no element is touched */
	ring.last_avail = 65530; /* so that the counts go around */
	ring.next_used = ring.signalled = 65533;
	ring.avail->idx = ring.last_avail + n;
	ring.next_used += n_ended;
	return vring_tells_later(&ring, n_begun);
}

Test(vhost_ring, the_guest_is_told_once_of_several_while_there_is_more_to_do)
{
	cr_assert(!tells_later(0, 0, 1), "there is nothing else to do");
	cr_assert(tells_later(1, 0, 1));
	cr_assert(!tells_later(1, 0, 2), "the guest is to send more before this one is done");
	cr_assert(tells_later(12, 0, 17));
	cr_assert(!tells_later(12, 0, 18), "three fifths of all");
	cr_assert(tells_later(4, 8, 17));
	cr_assert(!tells_later(0, 12, 18), "what is in flight counts like the rest");
	cr_assert(tells_later(256, 0, 63));
	cr_assert(!tells_later(256, 0, 64), "however much there is");
	cr_assert(!tells_later(257, 0, 1), "the ring makes no sense");
}

/* ---- chains ---- */

static void describe(unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	((struct vring_desc *)first)[i] = (struct vring_desc){ addr, len, flags, next };
}

static int read_chain(uint16_t head, struct vhost_chain *chain)
{
	struct vhost_memory memory = make_memory();
	struct vring ring = { .desc = (void *)first, .size = SIZE };

	return vhost_chain_read(&ring, &memory, head, chain);
}

static struct vhost_chain chain;

Test(vhost_chain, p12_a_chain_is_read_then_written)
{
	make_ring();
	describe(2, 20000, 16, VRING_NEXT, 7);
	describe(7, sizeof(first) - 100, 4096, VRING_NEXT | VRING_WRITE, 0);
	describe(0, 30000, 1, VRING_WRITE, 99);
	cr_assert_eq(read_chain(2, &chain), 0);
	cr_assert_eq(chain.n_in, 1);
	cr_assert_eq(chain.n_out, 3, "one of them runs over the end of a region");
	cr_assert_eq(chain.in_len, 16);
	cr_assert_eq(chain.out_len, 4097);
	describe(0, 30000, 1, 0, 0);
	cr_assert_eq(read_chain(2, &chain), -EPROTO, "read behind what is written");
}

Test(vhost_chain, p12_circles_and_places_outside_are_refused)
{
	make_ring();
	describe(0, 20000, 16, VRING_NEXT, 1);
	describe(1, 20000, 16, VRING_NEXT, 0);
	cr_assert_eq(read_chain(0, &chain), -EPROTO);
	describe(1, 20000, 0, VRING_NEXT, 1);
	cr_assert_eq(read_chain(0, &chain), -EPROTO, "of nothing at all, too");
	describe(1, 20000, 16, VRING_NEXT, SIZE);
	cr_assert_eq(read_chain(0, &chain), -EPROTO);
	describe(1, UINT64_MAX - 2, 16, 0, 0);
	cr_assert_eq(read_chain(0, &chain), -EFAULT);
	describe(1, 10, UINT32_MAX, 0, 0);
	cr_assert_eq(read_chain(0, &chain), -EFAULT);
}

static void describe_far(struct vring_desc *table, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		table[i] = (struct vring_desc){ 20000 + i, 1, i + 1 < n ? VRING_NEXT : 0, i + 1 };
}

Test(vhost_chain, p12_an_indirect_table_may_lie_across_two_regions)
{
	struct vring_desc table[4];

	make_ring();
	describe_far(table, 4);
	memcpy(first + sizeof(first) - 24, table, 24);
	memcpy(second, (uint8_t *)table + 24, sizeof(table) - 24);
	describe(0, sizeof(first) - 24, sizeof(table), VRING_INDIRECT, 0);
	cr_assert_eq(read_chain(0, &chain), 0);
	cr_assert_eq(chain.n_in, 4);
	describe(1, 20000, 3, VRING_NEXT, 0);
	cr_assert_eq(read_chain(1, &chain), 0, "a table may follow plain descriptors");
	cr_assert_eq(chain.n_in, 5);
}

Test(vhost_chain, p12_indirect_tables_that_can_not_be_are_refused)
{
	struct vring_desc *table = (void *)second;

	make_ring();
	describe_far(table, 4);
	table[2].flags = VRING_INDIRECT;
	describe(0, sizeof(first), 64, VRING_INDIRECT, 0);
	cr_assert_eq(read_chain(0, &chain), -EPROTO, "a table in a table");
	describe_far(table, 4);
	describe(0, sizeof(first), 63, VRING_INDIRECT, 0);
	cr_assert_eq(read_chain(0, &chain), -EPROTO);
	describe(0, sizeof(first), 0, VRING_INDIRECT, 0);
	cr_assert_eq(read_chain(0, &chain), -EPROTO);
	describe(0, sizeof(first), 48, VRING_INDIRECT, 0);
	cr_assert_eq(read_chain(0, &chain), -EPROTO, "it goes on behind its end");
	describe(0, sizeof(first), 64, VRING_INDIRECT | VRING_NEXT, 1);
	cr_assert_eq(read_chain(0, &chain), -EPROTO);
	describe(0, UINT64_MAX - 31, 64, VRING_INDIRECT, 0);
	cr_assert_eq(read_chain(0, &chain), -EPROTO);
	describe(0, UINT64_C(1) << 40, 64, VRING_INDIRECT, 0);
	cr_assert_eq(read_chain(0, &chain), -EFAULT);
	describe(0, 0, 0xfffffff0, VRING_INDIRECT, 0);
	cr_assert_eq(read_chain(0, &chain), -EPROTO, "longer than any ring");
}

Test(vhost_chain, p12_a_chain_has_no_more_vectors_than_the_library_takes)
{
	struct vring_desc *table = (void *)second;

	make_ring();
	describe_far(table, 1026);
	describe(0, sizeof(first), 1026 * 16, VRING_INDIRECT, 0);
	cr_assert_eq(read_chain(0, &chain), 0);
	cr_assert_eq(chain.n_in, 1026);
	describe_far(table, 1027);
	describe(0, sizeof(first), 1027 * 16, VRING_INDIRECT, 0);
	cr_assert_eq(read_chain(0, &chain), -E2BIG);
}
