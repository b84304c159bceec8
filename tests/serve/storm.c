/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * At most one request for a block is in flight, so that each block's content is
 * known whenever none is. What was acknowledged must be there, also when the
 * backend was killed in the next moment; what was not yet must be done exactly
 * once after its return.
 */
#include "tests/serve/storm.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tests/serve/block.h"

#define ZEROS UINT32_MAX

#define MIN_DEATHS 3 /* of a storm with kills, and one more at its end */

static struct front_queue *storm_queue(struct storm *s, uint64_t i)
{
	return &s->front.queues[i % s->front.n_queues];
}

static unsigned storm_block(const struct front_slot *slot)
{
	return (uint32_t)slot->tag;
}

/* Of a write in flight: the version that the block has when it is over. */
static uint32_t storm_version(const struct front_slot *slot)
{
	return slot->tag >> 32;
}

static uint32_t storm_draw_type(struct storm *s)
{
	unsigned draw = world_draw(&s->world, 100);
	uint64_t has = s->front.features;

	if (draw < 4 && has & VHOST_BIT(VIRTIO_BLK_DISCARD))
		return BLOCK_DISCARD;
	if (draw < 8 && has & VHOST_BIT(VIRTIO_BLK_WRITE_ZEROES))
		return BLOCK_ZEROES;
	if (draw < 11 && has & VHOST_BIT(VIRTIO_BLK_FLUSH))
		return BLOCK_FLUSH;
	return draw < 45 ? BLOCK_READ : BLOCK_WRITE;
}

static void storm_begin(struct storm *s, struct front_queue *q, int at, uint32_t type,
			unsigned block)
{
	struct block_range range = { (uint64_t)block * (WORLD_BLOCK / BLOCK_SECTOR),
				     WORLD_BLOCK / BLOCK_SECTOR, 0 };
	uint32_t version = type == BLOCK_WRITE ? ++s->world.versions : ZEROS, len = WORLD_BLOCK;
	uint8_t *data = front_data(q, at);

	if (type == BLOCK_WRITE) {
		world_fill(&s->world, block, version, data);
	} else if (type == BLOCK_DISCARD || type == BLOCK_ZEROES) {
		memcpy(data, &range, sizeof(range));
		len = sizeof(range);
		range.sector = 0;
	} else if (type == BLOCK_FLUSH) {
		range.sector = len = 0;
	}
	if (type != BLOCK_FLUSH)
		s->world.blocks[block].is_busy = true;
	q->slots[at].tag = (uint64_t)version << 32 | block;
	front_submit(&s->front, q, at, type, range.sector, len);
}

/* False: no slot or block was free. */
static bool storm_begin_one(struct storm *s, uint64_t turn)
{
	struct front_queue *q = storm_queue(s, turn);
	unsigned block = world_draw(&s->world, s->world.n);
	int at = front_slot(q);

	if (at < 0 || s->world.blocks[block].is_busy)
		return false;
	storm_begin(s, q, at, storm_draw_type(s), block);
	return true;
}

static void storm_end(struct storm *s, struct front_queue *q, int at, uint8_t status)
{
	const struct front_slot *slot = &q->slots[at];
	struct world_block *b = &s->world.blocks[storm_block(slot)];

	if (status)
		front_fail("a request of type %u ended with status %u", slot->type, status);
	s->n_done++;
	if (slot->type == BLOCK_FLUSH)
		return;
	b->is_busy = false;
	if (slot->type == BLOCK_READ)
		world_check(&s->world, storm_block(slot), front_data(q, at));
	if (slot->type == BLOCK_WRITE || slot->type == BLOCK_ZEROES) {
		b->version = storm_version(slot);
		b->may_be_zero = false;
	}
	if (slot->type == BLOCK_DISCARD)
		b->may_be_zero = true;
}

static unsigned storm_take(struct storm *s)
{
	unsigned n = 0;
	uint8_t status;

	for (unsigned i = 0; i < s->front.n_queues; i++) {
		struct front_queue *q = &s->front.queues[i];
		int at;

		while ((at = front_take(q, &status)) >= 0) {
			storm_end(s, q, at, status);
			n++;
		}
	}
	return n;
}

static void storm_die(struct storm *s)
{
	int code = backend_end(&s->backend, s->kill_number);

	if (s->kill_number == SIGTERM && code)
		front_fail("SIGTERM ended the backend with %d", code);
	s->n_deaths++;
	backend_start(&s->backend);
	backend_attach(&s->backend, &s->front, s->order);
}

/* Takes what is over of so many in flight: how many are left. Ends the program when none has ended
 * for too long. */
static unsigned storm_take_of(struct storm *s, unsigned in_flight, uint64_t *since_ns)
{
	unsigned n = storm_take(s);
	uint64_t now = front_now_ns();

	if (n || !in_flight)
		*since_ns = now;
	else if (now - *since_ns > FRONT_PATIENCE_MS * UINT64_C(1000000))
		front_fail("%s: %u requests were never ended", s->order->name, in_flight);
	return in_flight - n;
}

/* Waits for the end of what is in flight. */
static void storm_settle(struct storm *s, unsigned n)
{
	uint64_t since = front_now_ns();

	while (n)
		n = storm_take_of(s, n, &since);
}

void storm_some(struct storm *s, uint64_t n)
{
	uint64_t since = front_now_ns(), turn = 0;
	unsigned in_flight = 0;

	while (turn < n) {
		for (unsigned tries = 0; in_flight < s->depth && tries < s->depth && turn < n;
		     tries++)
			if (storm_begin_one(s, turn)) {
				in_flight++;
				turn++;
			}
		for (unsigned i = 0; i < s->front.n_queues; i++)
			front_kick(&s->front.queues[i]);
		in_flight = storm_take_of(s, in_flight, &since);
	}
	storm_settle(s, in_flight);
}

/* Reads the next blocks while the queue has room for them; returns how many. */
static unsigned storm_read_next(struct storm *s, struct front_queue *q, unsigned block)
{
	unsigned n = 0;
	int at;

	for (; block + n < s->world.n && (at = front_slot(q)) >= 0; n++)
		storm_begin(s, q, at, BLOCK_READ, block + n);
	front_kick(q);
	return n;
}

void storm_read_all(struct storm *s)
{
	uint64_t since = front_now_ns();
	unsigned block = 0, in_flight = 0;

	while (block < s->world.n || in_flight) {
		for (unsigned i = 0; i < s->front.n_queues; i++) {
			unsigned n = storm_read_next(s, &s->front.queues[i], block);

			block += n;
			in_flight += n;
		}
		in_flight = storm_take_of(s, in_flight, &since);
	}
}

void storm_run(struct storm *s)
{
	uint64_t now = front_now_ns(), end = now + s->seconds * UINT64_C(1000000000);
	uint64_t next_death = now + s->kill_ms * UINT64_C(1000000), turn = 0;
	unsigned n = 0;

	backend_start(&s->backend);
	backend_attach(&s->backend, &s->front, s->order);
	/* A busy machine may take all the seconds for one return: some deaths there must be. */
	while ((now = front_now_ns()) < end || (s->kill_ms && s->n_deaths < MIN_DEATHS)) {
		for (unsigned tries = 0; n < s->depth && tries < s->depth; tries++)
			n += storm_begin_one(s, turn++);
		for (unsigned i = 0; i < s->front.n_queues; i++)
			front_kick(&s->front.queues[i]);
		n -= storm_take(s);
		if (s->kill_ms && now >= next_death) {
			storm_die(s);
			next_death = front_now_ns() + s->kill_ms * UINT64_C(1000000);
		}
	}
	storm_settle(s, n);
	storm_read_all(s);
	if (s->kill_ms)
		storm_die(s);
	storm_read_all(s);
	front_disconnect(&s->front);
	n = backend_end(&s->backend, SIGTERM);
	if (n)
		front_fail("SIGTERM ended the backend with %u", n);
	printf("%llu requests, %llu deaths\n", (unsigned long long)s->n_done,
	       (unsigned long long)s->n_deaths);
}
