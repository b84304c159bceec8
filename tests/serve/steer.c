/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * connect, disconnect    a connection without a ring; its end without a message
 * start, stop            all rings, in the order's way
 * up N, down N, off N    one ring: started as the order does it; GET_VRING_BASE; disabled
 * reset                  RESET_DEVICE
 * cached, uncached       whether the disk has a cache
 * write N S B, read N S  by ring N eight sectors from S on, full of byte B; waits for the end
 * flush N                by ring N
 * id N                   GET_ID by ring N: the answer is the serial number
 * send N S B, get N MS   the same write without waiting; its end, within so many milliseconds
 *
 * left N S B             the same write, as a server leaves it that took it, did the next request,
 *                        a read, and was killed: only the in-flight region knows of it
 *
 * An answer is "ok", "no", or a number: the status, or the byte that was read ("mixed").
 */
#include "tests/serve/steer.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/serve/block.h"
#include "tests/support/inflight_region.h"

#define SECTORS_LEN 4096u

struct steer {
	struct front *front;
	const struct order *order;
	const char *socket;
};

static void steer_answer(bool is_good)
{
	puts(is_good ? "ok" : "no");
}

static bool steer_connect(struct steer *s)
{
	front_disconnect(s->front);
	if (!front_connect(s->front, s->socket, FRONT_PATIENCE_MS))
		return false;
	for (unsigned i = 0; i < s->front->n_queues; i++)
		s->front->queues[i].base = s->front->queues[i].used_idx;
	return order_connect(s->front, s->order);
}

static void steer_write(struct steer *s, unsigned n, uint64_t sector, int byte)
{
	uint8_t bytes[SECTORS_LEN];

	memset(bytes, byte, sizeof(bytes));
	printf("%d\n",
	       front_do(s->front, &s->front->queues[n], BLOCK_WRITE, sector, bytes, sizeof(bytes)));
}

static void steer_read(struct steer *s, unsigned n, uint64_t sector)
{
	uint8_t bytes[SECTORS_LEN] = { 0 };
	int status =
		front_do(s->front, &s->front->queues[n], BLOCK_READ, sector, bytes, sizeof(bytes));

	if (status)
		puts("no");
	else if (memcmp(bytes, bytes + 1, sizeof(bytes) - 1) != 0)
		puts("mixed");
	else
		printf("%d\n", bytes[0]);
}

static void steer_id(struct steer *s, unsigned n)
{
	char id[BLOCK_ID_LEN + 1] = "";

	puts(front_do(s->front, &s->front->queues[n], BLOCK_ID, 0, id, BLOCK_ID_LEN) ? "no" : id);
}

static void steer_send(struct steer *s, unsigned n, uint64_t sector, int byte)
{
	struct front_queue *q = &s->front->queues[n];
	int slot = front_slot(q);

	memset(front_data(q, slot), byte, SECTORS_LEN);
	front_submit(s->front, q, slot, BLOCK_WRITE, sector, SECTORS_LEN);
	front_kick(q);
	puts("ok");
}

static void steer_get(struct steer *s, unsigned n, int timeout_ms)
{
	uint8_t status;

	if (front_wait(&s->front->queues[n], &status, timeout_ms) < 0)
		puts("none");
	else
		printf("%d\n", status);
}

/* The head is in flight, and nothing else is. */
static void steer_mark(const struct front *front, const struct front_queue *q, uint16_t head)
{
	const struct vhost_inflight_message *m = &front->inflight;
	size_t len = sizeof(struct inflight_region) + q->size * 16, part = (len + 63) / 64 * 64;
	uint8_t *map = mmap(NULL, m->mmap_len, PROT_READ | PROT_WRITE, MAP_SHARED,
			    front->inflight_fd, m->mmap_off);
	struct inflight_region *region = (void *)(map + q->index * part);

	if (map == MAP_FAILED)
		front_fail("there is no in-flight region");
	region->desc[head].counter = 1u << 20;
	region->desc[head].inflight = 1;
	region->used_idx = q->used->idx;
	munmap(map, m->mmap_len);
}

static void steer_left(struct steer *s, unsigned n, uint64_t sector, int byte)
{
	struct front_queue *q = &s->front->queues[n];
	int left = front_slot(q), done;
	uint8_t status;

	memset(front_data(q, left), byte, SECTORS_LEN);
	front_submit(s->front, q, left, BLOCK_WRITE, sector, SECTORS_LEN);
	done = front_slot(q);
	front_submit(s->front, q, done, BLOCK_READ, sector, SECTORS_LEN);
	front_end(q, done, 0);
	steer_mark(s->front, q, 3 * left);
	steer_answer(front_take(q, &status) == done);
}

/* What is about requests. False: it is something else. */
static bool steer_request(struct steer *s, const char *verb, unsigned n, unsigned long long a,
			  int byte)
{
	if (!strcmp(verb, "write"))
		steer_write(s, n, a, byte);
	else if (!strcmp(verb, "read"))
		steer_read(s, n, a);
	else if (!strcmp(verb, "flush"))
		printf("%d\n", front_do(s->front, &s->front->queues[n], BLOCK_FLUSH, 0, NULL, 0));
	else if (!strcmp(verb, "id"))
		steer_id(s, n);
	else if (!strcmp(verb, "send"))
		steer_send(s, n, a, byte);
	else if (!strcmp(verb, "left"))
		steer_left(s, n, a, byte);
	else if (!strcmp(verb, "get"))
		steer_get(s, n, (int)a);
	else
		return false;
	return true;
}

static bool steer_message(struct steer *s, const char *verb, unsigned n)
{
	if (!strcmp(verb, "connect"))
		return steer_connect(s);
	if (!strcmp(verb, "start"))
		return order_start(s->front, s->order);
	if (!strcmp(verb, "stop"))
		return order_stop(s->front, s->order);
	if (!strcmp(verb, "up"))
		return order_start_queue(s->front, s->order, n);
	if (!strcmp(verb, "down"))
		return front_say(s->front, VHOST_GET_VRING_BASE, n);
	if (!strcmp(verb, "off"))
		return front_enable(s->front, n, false);
	if (!strcmp(verb, "cached") || !strcmp(verb, "uncached"))
		return front_set_cache(s->front, *verb == 'c');
	if (!strcmp(verb, "reset"))
		return front_say(s->front, VHOST_RESET_DEVICE, 0);
	if (strcmp(verb, "disconnect") != 0)
		front_fail("'%s' is no verb here", verb);
	front_disconnect(s->front);
	return true;
}

void steer_run(struct front *front, const struct order *order, const char *socket)
{
	struct steer s = { front, order, socket };
	char line[128], verb[32];

	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		unsigned long long a = 0;
		unsigned n = 0;
		int byte = 0;

		if (sscanf(line, "%31s %u %llu %i", verb, &n, &a, &byte) < 1 ||
		    n >= front->n_queues)
			front_fail("'%s' makes no sense", line);
		if (!steer_request(&s, verb, n, a, byte))
			steer_answer(steer_message(&s, verb, n));
	}
}
