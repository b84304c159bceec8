/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Pages are found by binary search; almost every insertion is at the end or
 * near it, so moving the tail of the array is cheap enough. A radix tree was
 * rejected: more code than the thing it would test. Out of memory ends the
 * test program: the simulator is no place to recover.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "io/base.h"
#include "tests/machine/files/sim_store.h"

static void *sim_store_need(void *p)
{
	if (!p)
		abort();
	return p;
}

static void sim_store_unref(struct sim_page *page)
{
	if (!--page->refs)
		free(page);
}

void sim_store_clear(struct sim_store *store)
{
	for (size_t i = 0; i < store->n_slots; i++)
		sim_store_unref(store->slots[i].page);
	free(store->slots);
	*store = (struct sim_store){ 0 };
}

void sim_store_clone(struct sim_store *to, const struct sim_store *from)
{
	*to = (struct sim_store){ .n_slots = from->n_slots,
				  .cap = from->n_slots,
				  .len = from->len };
	if (!from->n_slots)
		return;
	to->slots = sim_store_need(malloc(from->n_slots * sizeof(*to->slots)));
	memcpy(to->slots, from->slots, from->n_slots * sizeof(*to->slots));
	for (size_t i = 0; i < to->n_slots; i++)
		to->slots[i].page->refs++;
}

/* The first slot whose page is at or behind idx; n_slots: none. */
static size_t sim_store_find(const struct sim_store *store, uint64_t idx)
{
	size_t low = 0, high = store->n_slots;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (store->slots[mid].idx < idx)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool sim_store_has(const struct sim_store *store, size_t at, uint64_t idx)
{
	return at < store->n_slots && store->slots[at].idx == idx;
}

/* A page that is this store's alone, zeros if it is new. */
static uint8_t *sim_store_own(struct sim_store *store, uint64_t idx)
{
	size_t at = sim_store_find(store, idx);

	if (!sim_store_has(store, at, idx)) {
		if (store->n_slots == store->cap) {
			store->cap = MAX(store->cap * 2, (size_t)16);
			store->slots = sim_store_need(
				realloc(store->slots, store->cap * sizeof(*store->slots)));
		}
		memmove(store->slots + at + 1, store->slots + at,
			(store->n_slots - at) * sizeof(*store->slots));
		store->slots[at].idx = idx;
		store->slots[at].page = sim_store_need(calloc(1, sizeof(struct sim_page)));
		store->slots[at].page->refs = 1;
		store->n_slots++;
	} else if (store->slots[at].page->refs > 1) {
		struct sim_page *copy = sim_store_need(malloc(sizeof(*copy)));
		*copy = *store->slots[at].page;
		copy->refs = 1;
		sim_store_unref(store->slots[at].page);
		store->slots[at].page = copy;
	}
	return store->slots[at].page->bytes;
}

void sim_store_read(const struct sim_store *store, void *buf, size_t len, uint64_t off)
{
	uint8_t *to = buf;
	memset(to, 0, len);
	size_t at = sim_store_find(store, off / SIM_PAGE_LEN);
	for (; at < store->n_slots; at++) {
		uint64_t page_off = store->slots[at].idx * SIM_PAGE_LEN;
		if (page_off >= off + len)
			break;
		uint64_t from = MAX(page_off, off);
		uint64_t end = MIN(page_off + SIM_PAGE_LEN, (uint64_t)(off + len));
		memcpy(to + (from - off), store->slots[at].page->bytes + (from - page_off),
		       (size_t)(end - from));
	}
}

void sim_store_write(struct sim_store *store, const void *buf, size_t len, uint64_t off)
{
	const uint8_t *from = buf;
	if (!len)
		return;
	store->len = MAX(store->len, (uint64_t)(off + len));
	while (len) {
		size_t in_page = (size_t)(off % SIM_PAGE_LEN);
		size_t n = MIN(len, SIM_PAGE_LEN - in_page);
		memcpy(sim_store_own(store, off / SIM_PAGE_LEN) + in_page, from, n);
		from += n;
		off += n;
		len -= n;
	}
}

void sim_store_truncate(struct sim_store *store, uint64_t len)
{
	if (len < store->len) {
		size_t keep = sim_store_find(store, div_round_up(len, SIM_PAGE_LEN));
		for (size_t i = keep; i < store->n_slots; i++)
			sim_store_unref(store->slots[i].page);
		store->n_slots = keep;
		size_t in_page = (size_t)(len % SIM_PAGE_LEN);
		uint64_t last = len / SIM_PAGE_LEN;
		if (in_page && sim_store_has(store, sim_store_find(store, last), last))
			memset(sim_store_own(store, last) + in_page, 0, SIM_PAGE_LEN - in_page);
	}
	store->len = len;
}

static void sim_store_zero(struct sim_store *store, uint64_t off, uint64_t end)
{
	uint64_t idx = off / SIM_PAGE_LEN;

	if (off < end && sim_store_has(store, sim_store_find(store, idx), idx))
		memset(sim_store_own(store, idx) + off % SIM_PAGE_LEN, 0, (size_t)(end - off));
}

void sim_store_punch(struct sim_store *store, uint64_t off, uint64_t len)
{
	uint64_t end = MIN(off + len, store->len);
	uint64_t first = round_up(off, SIM_PAGE_LEN), last = round_down(end, SIM_PAGE_LEN);
	size_t lo, hi;

	if (off >= end)
		return;
	if (first > last) { /* inside one page */
		sim_store_zero(store, off, end);
		return;
	}
	sim_store_zero(store, off, first);
	sim_store_zero(store, last, end);
	lo = sim_store_find(store, first / SIM_PAGE_LEN);
	hi = sim_store_find(store, last / SIM_PAGE_LEN);
	for (size_t i = lo; i < hi; i++)
		sim_store_unref(store->slots[i].page);
	if (hi < store->n_slots)
		memmove(store->slots + lo, store->slots + hi,
			(store->n_slots - hi) * sizeof(*store->slots));
	store->n_slots -= hi - lo;
}

uint64_t sim_store_status(const struct sim_store *store, uint64_t off, bool *is_hole)
{
	uint64_t idx = off / SIM_PAGE_LEN;
	size_t at = sim_store_find(store, idx);

	assert(off < store->len);
	*is_hole = !sim_store_has(store, at, idx);
	if (*is_hole) {
		uint64_t end =
			at < store->n_slots ? store->slots[at].idx * SIM_PAGE_LEN : store->len;
		return MIN(end, store->len) - off;
	}
	while (sim_store_has(store, at, idx)) {
		at++;
		idx++;
	}
	return MIN(idx * SIM_PAGE_LEN, store->len) - off;
}
