/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Requests in layouts that no Linux driver makes: header, data and status lie
 * behind each other, and are cut into descriptors anywhere. "hotplug" needs QEMU:
 * test_serve_guest.py.
 */
#include "tests/serve/cases.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "tests/serve/block.h"

#define OK          0
#define IOERR       1
#define UNSUPP      2
#define HEADER_LEN  16u
#define UNMAP       1u
#define NOTHING_MS  50
#define CAPACITY_AT 0 /* in the configuration */
#define QUEUES_AT   34
#define SEGMENTS_AT 40 /* of a discard */

struct cut {
	bool indirect;
	unsigned n;
	uint32_t lens[3];
};

static void cases_describe(struct front *front, struct front_queue *q, const struct cut *cut,
			   uint32_t n_read)
{
	uint8_t *at = front_data(q, 0);
	struct vring_desc *table = q->desc;
	uint32_t off = 0;

	if (cut->indirect)
		table = (void *)(at + q->data_len / 2);
	for (unsigned i = 0; i < cut->n; i++) {
		unsigned flags =
			(off >= n_read ? VRING_WRITE : 0) | (i + 1 < cut->n ? VRING_NEXT : 0);

		table[i] = (struct vring_desc){ front_guest_addr(front, at + off), cut->lens[i],
						flags, i + 1 };
		off += cut->lens[i];
	}
	if (cut->indirect)
		q->desc[0] = (struct vring_desc){ front_guest_addr(front, table),
						  cut->n * sizeof(*table), VRING_INDIRECT, 0 };
}

static void cases_wait(struct front_queue *q, uint32_t wanted_len)
{
	uint64_t until = front_now_ns() + FRONT_PATIENCE_MS * UINT64_C(1000000);
	struct vring_used_elem *elem = &q->used->elems[q->used_idx & (q->size - 1)];

	while (__atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE) == q->used_idx) {
		if (front_now_ns() > until)
			front_fail("a request was never ended");
		usleep(100);
	}
	q->used_idx++;
	if (elem->head || elem->len != wanted_len)
		front_fail("head %u ended with %u bytes, not 0 with %u", elem->head, elem->len,
			   wanted_len);
}

/* Its status; `data` is what is written, then what was read. */
static int cases_do(struct front *front, struct front_queue *q, uint32_t type, uint64_t sector,
		    void *data, uint32_t len, const struct cut *cut)
{
	const uint32_t words[2] = { type, 1 };
	uint8_t *at = front_data(q, 0);

	memcpy(at, words, sizeof(words));
	memcpy(at + sizeof(words), &sector, sizeof(sector));
	memcpy(at + HEADER_LEN, data, len);
	at[HEADER_LEN + len] = 0xff;
	cases_describe(front, q, cut, HEADER_LEN + (type == BLOCK_READ ? 0 : len));
	q->avail->heads[q->avail_idx & (q->size - 1)] = 0;
	__atomic_store_n(&q->avail->idx, ++q->avail_idx, __ATOMIC_RELEASE);
	front_kick(q);
	cases_wait(q, 1 + (type == BLOCK_READ ? len : 0));
	memcpy(data, at + HEADER_LEN, len);
	return at[HEADER_LEN + len];
}

/* Writes and reads a sector, in these layouts. */
static void cases_sector(struct front *front, struct front_queue *q, uint64_t sector,
			 const struct cut *writes, const struct cut *reads)
{
	uint8_t text[BLOCK_SECTOR] = "TEST", back[BLOCK_SECTOR] = { 0 };

	text[BLOCK_SECTOR - 1] = (uint8_t)sector;
	if (cases_do(front, q, BLOCK_WRITE, sector, text, BLOCK_SECTOR, writes) != OK ||
	    cases_do(front, q, BLOCK_READ, sector, back, BLOCK_SECTOR, reads) != OK ||
	    memcmp(back, text, BLOCK_SECTOR) != 0)
		front_fail("sector %u can't be written and read", (unsigned)sector);
}

static const struct cut three = { false, 3, { HEADER_LEN, BLOCK_SECTOR, 1 } };
static const struct cut two_out = { false, 2, { HEADER_LEN + BLOCK_SECTOR, 1 } };
static const struct cut two_in = { false, 2, { HEADER_LEN, BLOCK_SECTOR + 1 } };

static int cases_range(struct front *front, uint32_t type, const struct block_range *ranges,
		       unsigned n)
{
	struct block_range copy[40];
	uint32_t len = n * sizeof(*ranges);
	const struct cut cut = { false, 3, { HEADER_LEN, len, 1 } };

	memcpy(copy, ranges, len);
	return cases_do(front, &front->queues[0], type, 0, copy, len, &cut);
}

static void cases_wrong_ranges(struct front *front, uint32_t type, uint64_t n_sectors)
{
	static struct block_range many[40];
	const struct block_range too_long = { 0, UINT32_MAX, 0 }, outside = { n_sectors + 1, 1, 0 };
	const struct block_range flags = { 0, 1, ~UNMAP }, unmap = { 0, 1, UNMAP };
	unsigned max = front->config[SEGMENTS_AT];

	for (unsigned i = 0; i < 40; i++)
		many[i] = (struct block_range){ n_sectors - 64 + i, 1, 0 };
	if (max < 1 || max >= 40)
		front_fail("%u ranges a request", max);
	if (cases_range(front, type, many, max) != OK)
		front_fail("type %u: as many ranges as were told are refused", type);
	if (cases_range(front, type, many, max + 1) == OK)
		front_fail("type %u: more ranges than were told are taken", type);
	if (cases_range(front, type, &too_long, 1) != IOERR ||
	    cases_range(front, type, &outside, 1) != IOERR)
		front_fail("type %u: a range outside the disk", type);
	if (cases_range(front, type, &flags, 1) != UNSUPP ||
	    (type == BLOCK_DISCARD && cases_range(front, type, &unmap, 1) != UNSUPP))
		front_fail("type %u: a flag that there is not", type);
}

static void cases_basic(struct front *front, uint8_t first, uint64_t n_sectors)
{
	struct front_queue *q = &front->queues[0];
	uint8_t back[BLOCK_SECTOR] = { 1 }, wanted[BLOCK_SECTOR] = { 0 };
	const struct block_range zero = { 0, 1, 0 };
	uint64_t capacity;

	memcpy(&capacity, front->config + CAPACITY_AT, sizeof(capacity));
	if (capacity != n_sectors)
		front_fail("the disk has %u sectors", (unsigned)capacity);
	cases_sector(front, q, 0, &three, &three);
	if (cases_range(front, BLOCK_ZEROES, &zero, 1) != OK ||
	    cases_do(front, q, BLOCK_READ, 0, back, BLOCK_SECTOR, &three) != OK ||
	    memcmp(back, wanted, BLOCK_SECTOR) != 0)
		front_fail("zeros are not there");
	cases_wrong_ranges(front, BLOCK_ZEROES, n_sectors);
	if (cases_range(front, BLOCK_DISCARD, &zero, 1) != OK)
		front_fail("a discard fails");
	cases_wrong_ranges(front, BLOCK_DISCARD, n_sectors);
	cases_sector(front, q, 1, &two_out, &two_in);
	memset(wanted, first, BLOCK_SECTOR);
	if (cases_do(front, q, BLOCK_READ, 2, back, BLOCK_SECTOR, &two_in) != OK ||
	    memcmp(back, wanted, BLOCK_SECTOR) != 0)
		front_fail("the sector behind was changed");
}

static void cases_indirect(struct front *front)
{
	const struct cut out = { true, 2, { HEADER_LEN + BLOCK_SECTOR, 1 } };
	const struct cut in = { true, 2, { HEADER_LEN, BLOCK_SECTOR + 1 } };

	cases_sector(front, &front->queues[0], 3, &out, &in);
}

static bool cases_is_called(struct front_queue *q, int timeout_ms)
{
	struct pollfd called = { .fd = q->call_fd, .events = POLLIN };
	uint64_t count;

	return poll(&called, 1, timeout_ms) == 1 && read(q->call_fd, &count, sizeof(count)) > 0;
}

/* "idx": the guest is told of the second end, and not of the first. */
static void cases_event_idx(struct front *front)
{
	struct front_queue *q = &front->queues[0];
	uint8_t bytes[BLOCK_SECTOR];

	if (!q->event_idx)
		front_fail("EVENT_IDX is not offered");
	cases_is_called(q, NOTHING_MS);
	__atomic_store_n(&q->avail->heads[q->size], q->used_idx + 1, __ATOMIC_SEQ_CST);
	cases_do(front, q, BLOCK_READ, 0, bytes, BLOCK_SECTOR, &three);
	if (cases_is_called(q, NOTHING_MS))
		front_fail("the guest was told of an end that it does not wait for");
	cases_do(front, q, BLOCK_READ, 0, bytes, BLOCK_SECTOR, &three);
	if (!cases_is_called(q, FRONT_PATIENCE_MS))
		front_fail("the guest was not told");
}

/* "nxvirtq": the addresses of a queue that there is not. */
static void cases_no_queue(struct front *front)
{
	const struct vhost_ring_addr addr = { .index = front->queue_num + 1 };
	struct vhost_message answer;

	if (!front_send(front, VHOST_SET_VRING_ADDR, VHOST_NEED_REPLY, &addr, sizeof(addr), NULL,
			0) ||
	    !front_receive(front, VHOST_SET_VRING_ADDR, &answer, NULL) || !answer.payload.u64)
		front_fail("a queue that there is not has addresses");
	cases_sector(front, &front->queues[0], 4, &three, &three);
}

static void cases_queues(struct front *front)
{
	uint16_t told;

	memcpy(&told, front->config + QUEUES_AT, sizeof(told));
	if (told != front->n_queues || front->queue_num != told ||
	    !(front->features & VHOST_BIT(VIRTIO_BLK_MQ)))
		front_fail("%u queues", told);
	for (unsigned i = 0; i < front->n_queues; i++)
		cases_sector(front, &front->queues[i], 8 + i, &three, &three);
}

void cases_run(struct front *front, const struct order *order, const char *socket, uint8_t first,
	       uint64_t disk_len)
{
	if (!front_connect(front, socket, FRONT_PATIENCE_MS) || !order_connect(front, order) ||
	    !order_start(front, order))
		front_fail("the backend refuses");
	cases_basic(front, first, disk_len / BLOCK_SECTOR);
	cases_indirect(front);
	cases_event_idx(front);
	cases_no_queue(front);
	cases_queues(front);
	if (!order_stop(front, order))
		front_fail("the backend does not stop");
}
