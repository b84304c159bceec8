/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * After each the same backend serves a frontend that behaves: nothing of what
 * went before is left in it.
 */
#include "tests/serve/hostile.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define QUEUE_SIZE 128
#define LEN        4096u

static uint64_t hostile_draw(struct hostile *h)
{
	h->seed ^= h->seed << 13;
	h->seed ^= h->seed >> 7;
	h->seed ^= h->seed << 17;
	return h->seed >> 8;
}

void hostile_connect(struct hostile *h, struct front *front)
{
	const struct front_shape shape = { 1, QUEUE_SIZE, QUEUE_SIZE, FRONT_DATA_LEN };

	if (waitpid(h->backend.pid, NULL, WNOHANG))
		front_fail("the backend has died");
	front_open(front, &shape);
	if (!front_connect(front, h->backend.socket, FRONT_PATIENCE_MS))
		front_fail("the backend does not listen");
}

void hostile_start(struct hostile *h, struct front *front)
{
	hostile_connect(h, front);
	if (!order_connect(front, h->order) || !order_start(front, h->order))
		front_fail("the backend refuses");
}

void hostile_judge(struct hostile *h)
{
	uint8_t bytes[LEN], wanted[LEN];
	struct front front;

	hostile_start(h, &front);
	memset(wanted, h->first, sizeof(wanted));
	if (front_do(&front, &front.queues[0], 0, 0, bytes, LEN) || memcmp(bytes, wanted, LEN))
		front_fail("reading fails");
	if (!order_stop(&front, h->order))
		front_fail("the backend does not stop");
	front_close(&front);
}

static void hostile_fill(struct front *front, uint32_t type)
{
	struct front_queue *q = &front->queues[0];
	int slot;

	while ((slot = front_slot(q)) >= 0)
		front_submit(front, q, slot, type, slot * (LEN / 512), LEN);
	front_kick(q);
}

void hostile_truncate(struct hostile *h)
{
	for (unsigned round = 0; round < 12; round++) {
		struct front front;

		hostile_start(h, &front);
		hostile_fill(&front, 0);
		usleep(hostile_draw(h) % 2000);
		if (ftruncate(front.memory_fd, round % 2 ? 0 : front.queues[0].len))
			front_fail("ftruncate");
		write(front.queues[0].kick_fd, &(uint64_t){ 1 }, 8);
		usleep(20000);
		front_close(&front);
		hostile_judge(h);
	}
}

static void hostile_bytes(struct hostile *h, uint8_t *out, size_t len)
{
	for (size_t i = 0; i < len; i++)
		out[i] = hostile_draw(h) % 4 ? hostile_draw(h) : 0;
}

void hostile_noise(struct hostile *h)
{
	uint8_t bytes[512];

	for (unsigned round = 0; round < 300; round++) {
		uint32_t number = 1 + hostile_draw(h) % 44, len = hostile_draw(h) % 300;
		struct front front;
		int fds[2];

		hostile_connect(h, &front);
		if (round % 3)
			order_connect(&front, h->order);
		hostile_bytes(h, bytes, sizeof(bytes));
		fds[0] = fds[1] = front.memory_fd;
		if (round % 7)
			front_send(&front, number, 0, bytes, len, fds, hostile_draw(h) % 3);
		else
			(void)!write(front.fd, bytes, len);
		front_close(&front);
		if (round % 50 == 0)
			hostile_judge(h);
	}
	hostile_judge(h);
}

void hostile_rings(struct hostile *h)
{
	for (unsigned round = 0; round < 60; round++) {
		struct front front;
		struct front_queue *q;

		hostile_start(h, &front);
		q = &front.queues[0];
		hostile_fill(&front, round % 2);
		for (unsigned i = 0; i < 200; i++) {
			uint8_t *desc = (uint8_t *)q->desc;

			hostile_bytes(h, desc + hostile_draw(h) % (QUEUE_SIZE * 16 - 16), 8);
			if (i % 20 == 0)
				q->avail->idx += hostile_draw(h) % 40;
			q->avail->heads[hostile_draw(h) % QUEUE_SIZE] = hostile_draw(h) % 140;
			write(q->kick_fd, &(uint64_t){ 1 }, 8);
		}
		front_close(&front);
		if (waitpid(h->backend.pid, NULL, WNOHANG))
			front_fail("the backend has died");
	}
}
