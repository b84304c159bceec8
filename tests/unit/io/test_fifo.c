/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Promises of io/fifo.h: items leave in the order in which they came, from anywhere. */
#include <criterion/criterion.h>
#include <inttypes.h>

#include "io/fifo.h"
#include "tests/support/random.h"

#define N_ITEMS 8

struct item {
	int number;
	struct {
		struct item *next;
	} part; /* a link may lie in a part */
};

struct queue {
	struct item *first, *last;
};

/* The queue has just these items, in this order, and knows its last one. */
static void holds(const struct queue *queue, const int *numbers, unsigned n)
{
	const struct item *item = queue->first, *last = NULL;

	for (unsigned i = 0; i < n; i++) {
		cr_assert(item, "%u items of %u", i, n);
		cr_assert_eq(item->number, numbers[i], "place %u", i);
		last = item;
		item = item->part.next;
	}
	cr_assert_null(item);
	cr_assert_eq(queue->last, last);
}

Test(fifo, an_empty_queue_gives_nothing)
{
	struct queue queue = { 0 };

	cr_assert_null(FIFO_TAKE(&queue, part.next));
	holds(&queue, NULL, 0);
}

Test(fifo, what_came_first_leaves_first)
{
	struct item a = { 1 }, b = { 2 };
	struct queue queue = { 0 };

	a.part.next = &b; /* of another queue, before */
	FIFO_APPEND(&queue, &a, part.next);
	holds(&queue, (int[]){ 1 }, 1);
	FIFO_APPEND(&queue, &b, part.next);
	holds(&queue, (int[]){ 1, 2 }, 2);
	cr_assert_eq(FIFO_TAKE(&queue, part.next), &a);
	cr_assert_null(a.part.next);
	cr_assert_eq(FIFO_TAKE(&queue, part.next), &b);
	holds(&queue, NULL, 0);
	FIFO_APPEND(&queue, &a, part.next);
	holds(&queue, (int[]){ 1 }, 1);
}

Test(fifo, one_is_taken_out_of_any_place)
{
	for (int out = 0; out < 3; out++) {
		struct item items[3] = { { 0 }, { 1 }, { 2 } }, more = { 3 };
		struct queue queue = { 0 };
		int left[3], n = 0;

		for (int i = 0; i < 3; i++) {
			FIFO_APPEND(&queue, &items[i], part.next);
			if (i != out)
				left[n++] = i;
		}
		FIFO_REMOVE(&queue, &items[out], part.next);
		cr_assert_null(items[out].part.next);
		holds(&queue, left, 2);
		FIFO_APPEND(&queue, &more, part.next);
		left[2] = 3;
		holds(&queue, left, 3);
	}
}

Test(fifo, it_does_what_an_array_does)
{
	uint64_t state = 1;

	for (unsigned round = 0; round < 2000; round++) {
		struct item items[N_ITEMS];
		struct queue queue = { 0 };
		int numbers[N_ITEMS];
		unsigned n = 0, n_used = 0;

		for (unsigned step = 0; step < 3 * N_ITEMS; step++) {
			unsigned at = n ? (unsigned)random_below(&state, n) : 0;
			uint64_t what = random_below(&state, 3);

			if (what == 0 && n_used < N_ITEMS) {
				items[n_used] = (struct item){ (int)n_used, { &items[0] } };
				FIFO_APPEND(&queue, &items[n_used], part.next);
				numbers[n++] = (int)n_used++;
				holds(&queue, numbers, n);
				continue;
			}
			if (!n)
				continue;
			if (what == 1) {
				at = 0;
				cr_assert_eq(FIFO_TAKE(&queue, part.next), &items[numbers[0]]);
			} else {
				FIFO_REMOVE(&queue, &items[numbers[at]], part.next);
			}
			n--;
			for (unsigned i = at; i < n; i++)
				numbers[i] = numbers[i + 1];
			holds(&queue, numbers, n);
		}
	}
}
