/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "tests/serve/halt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/serve/block.h"

#define LEN       (FRONT_DATA_LEN / 2)
#define UNTOUCHED 0xdd
#define LATE_US   10000 /* so long the memory is looked at */

/* What a queue's memory held when its stop was answered. */
struct halted {
	uint8_t *ring, *data;
};

static size_t halt_data_len(const struct front_queue *q)
{
	return (size_t)q->n_slots * FRONT_DATA_LEN;
}

static uint32_t halt_type(int slot)
{
	return slot % 2 ? BLOCK_WRITE : BLOCK_READ;
}

/* Each slot has a place of its own on the disk; what is written there is what it holds. */
static void halt_fill(struct front *front, struct front_queue *q, uint8_t first)
{
	int slot;

	while ((slot = front_slot(q)) >= 0) {
		uint64_t at = ((uint64_t)q->index * q->n_slots + slot) * FRONT_DATA_LEN;

		memset(front_data(q, slot), halt_type(slot) == BLOCK_WRITE ? first : UNTOUCHED,
		       LEN);
		front_submit(front, q, slot, halt_type(slot), at / 512, LEN);
	}
	front_kick(q);
}

static void halt_check(const struct front_queue *q, int slot, uint8_t status, uint8_t first)
{
	const uint8_t *bytes = front_data(q, slot);

	if (status || bytes[0] != first || memcmp(bytes, bytes + 1, LEN - 1) != 0)
		front_fail("queue %u: slot %d ended with status %u, and not all of its bytes",
			   q->index, slot, status);
}

/* Takes what is over. */
static void halt_take(struct front_queue *q, uint8_t first)
{
	uint8_t status;
	int slot;

	while ((slot = front_take(q, &status)) >= 0)
		halt_check(q, slot, status, first);
}

/* True: some were in flight. */
static bool halt_stop(struct front *front, struct front_queue *q, bool disables)
{
	uint16_t seen = __atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE), ended;
	uint64_t count;

	if ((disables && !front_enable(front, q->index, false)) ||
	    !front_say(front, VHOST_GET_VRING_BASE, q->index))
		front_fail("queue %u: the backend does not stop", q->index);
	ended = __atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE);
	if (ended != q->base)
		front_fail("queue %u: stopped at %u, and %u have ended", q->index, q->base, ended);
	(void)!read(q->call_fd, &count, sizeof(count));
	return seen != q->base;
}

static void halt_keep(const struct front_queue *q, struct halted *halted)
{
	memcpy(halted->ring, q->desc, q->len);
	memcpy(halted->data, q->data, halt_data_len(q));
}

static void halt_judge(const struct front_queue *q, const struct halted *halted)
{
	uint64_t count;

	if (memcmp(halted->ring, q->desc, q->len) != 0)
		front_fail("queue %u: its ring was touched behind its stop", q->index);
	if (memcmp(halted->data, q->data, halt_data_len(q)) != 0)
		front_fail("queue %u: its data was touched behind its stop", q->index);
	if (read(q->call_fd, &count, sizeof(count)) >= 0 || errno != EAGAIN)
		front_fail("queue %u: the guest was called behind its stop", q->index);
}

/* What the server had not taken it takes now. */
static void halt_go_on(struct front *front, const struct order *order, uint8_t first)
{
	uint8_t status;

	if (!order_start(front, order))
		front_fail("the backend does not start again");
	for (unsigned i = 0; i < front->n_queues; i++) {
		struct front_queue *q = &front->queues[i];

		front_kick(q);
		while (q->used_idx != q->avail_idx) {
			int slot = front_wait(q, &status, FRONT_PATIENCE_MS);

			if (slot < 0)
				front_fail("queue %u: a request was never ended", i);
			halt_check(q, slot, status, first);
		}
	}
}

static unsigned halt_round(struct front *front, const struct order *order, struct halted *halted,
			   uint8_t first, unsigned round)
{
	unsigned n = 0;

	for (unsigned i = 0; i < front->n_queues; i++)
		halt_fill(front, &front->queues[i], first);
	usleep(round * 7919 % 2000);
	for (unsigned i = 0; i < front->n_queues; i++) {
		n += halt_stop(front, &front->queues[i], round % 2);
		halt_keep(&front->queues[i], &halted[i]);
	}
	usleep(LATE_US);
	for (unsigned i = 0; i < front->n_queues; i++) {
		halt_judge(&front->queues[i], &halted[i]);
		halt_take(&front->queues[i], first);
	}
	halt_go_on(front, order, first);
	return n;
}

unsigned halt_run(struct front *front, const struct order *order, const char *socket, uint8_t first,
		  unsigned rounds)
{
	struct halted halted[FRONT_MAX_QUEUES];
	unsigned n = 0;

	for (unsigned i = 0; i < front->n_queues; i++) {
		halted[i].ring = malloc(front->queues[i].len);
		halted[i].data = malloc(halt_data_len(&front->queues[i]));
		if (!halted[i].ring || !halted[i].data)
			front_fail("no memory");
	}
	if (!front_connect(front, socket, FRONT_PATIENCE_MS) || !order_connect(front, order) ||
	    !order_start(front, order))
		front_fail("the backend refuses");
	for (unsigned round = 0; round < rounds; round++)
		n += halt_round(front, order, halted, first, round);
	if (!order_stop(front, order))
		front_fail("the backend does not stop");
	for (unsigned i = 0; i < front->n_queues; i++) {
		free(halted[i].ring);
		free(halted[i].data);
	}
	return n;
}
