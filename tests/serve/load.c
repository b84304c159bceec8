/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Latencies are kept in a histogram of 64 steps an octave: within two percent. */
#include "tests/serve/load.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEPS 64
#define CELLS (40 * STEPS)

static unsigned load_cell(uint64_t ns)
{
	unsigned octave = ns < STEPS ? 0 : 63 - __builtin_clzll(ns) - 5;

	return octave * STEPS + (octave ? (ns >> octave) - STEPS / 2 : ns);
}

static uint64_t load_cell_ns(unsigned cell)
{
	unsigned octave = cell / STEPS, step = cell % STEPS;

	return octave ? (uint64_t)(step + STEPS / 2) << octave : step;
}

static uint64_t load_percentile(const uint64_t *cells, uint64_t n, unsigned thousandths)
{
	uint64_t wanted = n * thousandths / 1000, seen = 0;
	unsigned i = 0;

	while (i < CELLS - 1 && seen + cells[i] <= wanted)
		seen += cells[i++];
	return load_cell_ns(i);
}

static uint64_t load_draw(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed >> 11;
}

static void load_begin(struct front *front, struct front_queue *q, const struct load *load,
		       uint64_t *seed)
{
	uint64_t block = load_draw(seed) % (load->disk_len / load->len);

	front_submit(front, q, front_slot(q), load->writes, block * (load->len / 512), load->len);
}

/* Sleeps until a queue may have something. */
static void load_sleep(struct front *front)
{
	struct pollfd fds[FRONT_MAX_QUEUES];
	uint64_t count;

	for (unsigned i = 0; i < front->n_queues; i++) {
		struct front_queue *q = &front->queues[i];

		fds[i] = (struct pollfd){ .fd = q->call_fd, .events = POLLIN };
		__atomic_store_n(&q->avail->heads[q->size], q->used_idx, __ATOMIC_RELAXED);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (__atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE) != q->used_idx)
			return;
	}
	if (poll(fds, front->n_queues, FRONT_PATIENCE_MS) <= 0)
		front_fail("the backend has stopped");
	for (unsigned i = 0; i < front->n_queues; i++)
		if (fds[i].revents)
			(void)!read(fds[i].fd, &count, sizeof(count));
}

static unsigned load_take(struct front_queue *q, uint64_t *cells, struct load *load)
{
	unsigned n = 0;
	uint8_t status;
	int at;

	while ((at = front_take(q, &status)) >= 0) {
		uint64_t ns = front_now_ns() - q->slots[at].began_ns;

		if (status)
			front_fail("a request ended with status %u", status);
		cells[load_cell(ns)]++;
		load->max_ns = ns > load->max_ns ? ns : load->max_ns;
		n++;
	}
	load->n_done += n;
	return n;
}

void load_run(struct front *front, struct load *load)
{
	uint64_t *cells = calloc(CELLS, sizeof(*cells)), seed = 88172645463325252u;
	uint64_t began = front_now_ns(), end = began + load->seconds * UINT64_C(1000000000);
	unsigned in_flight[FRONT_MAX_QUEUES] = { 0 }, left = 0;

	if (!cells)
		front_fail("no memory");
	do {
		unsigned n = 0;
		bool goes_on = front_now_ns() < end;

		left = 0;
		for (unsigned i = 0; i < front->n_queues; i++) {
			struct front_queue *q = &front->queues[i];
			unsigned before = in_flight[i];

			while (goes_on && in_flight[i] < load->depth) {
				load_begin(front, q, load, &seed);
				in_flight[i]++;
			}
			if (in_flight[i] != before)
				front_kick(q);
			before = load_take(q, cells, load);
			in_flight[i] -= before;
			left += in_flight[i];
			n += before;
		}
		if (!n && left)
			load_sleep(front);
	} while (left || front_now_ns() < end);
	load->elapsed_ns = front_now_ns() - began;
	load->p50_ns = load_percentile(cells, load->n_done, 500);
	load->p99_ns = load_percentile(cells, load->n_done, 990);
	free(cells);
}
