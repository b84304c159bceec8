/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a job with BPULL_JOB_VERIFY has copied: a sorted array of ranges of
 * at most 64 KiB with the digest of what was read. Runs end nearly in order, so
 * that adding one moves a few others at most; a guest's write finds its own by
 * bisection.
 *
 * One digest a run was rejected: the first byte that a guest writes into it
 * would leave a mebibyte unverified. So was one for all: it could not say where.
 */
#include "engine/core/copied.h"

#include <stdlib.h>
#include <string.h>

#include "engine/core/disk.h"
#include "io/base.h"

uint32_t copied_part_len(uint64_t guest_off, uint64_t len)
{
	return MIN(len, COPIED_MAX_LEN - guest_off % COPIED_MAX_LEN);
}

int copied_reserve(struct copied_list *list, size_t n)
{
	return array_reserve(&list->items, list->n, n, &list->cap, sizeof(*list->items));
}

void copied_add(struct copied_list *list, const struct copied *item)
{
	size_t at = list->n++;

	for (; at && list->items[at - 1].guest_off > item->guest_off; at--)
		;
	memmove(&list->items[at + 1], &list->items[at], (list->n - 1 - at) * sizeof(*list->items));
	list->items[at] = *item;
}

/* Index of the first item that could reach to guest_off, or lies behind it. */
static size_t first_near(const struct copied_list *list, uint64_t guest_off)
{
	uint64_t from = round_down(guest_off, COPIED_MAX_LEN);
	size_t lo = 0, hi = list->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (list->items[mid].guest_off < from)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

void copied_forget(struct copied_list *list, uint64_t guest_off, uint64_t len)
{
	for (size_t i = first_near(list, guest_off); i < list->n; i++) {
		struct copied *item = &list->items[i];

		if (item->guest_off >= guest_off + len)
			break;
		if (!item->is_direct && item->guest_off + item->len > guest_off)
			item->len = 0;
	}
}

void copied_clear(struct copied_list *list)
{
	free(list->items);
	*list = (struct copied_list){ 0 };
}

bool verify_is_on(const struct bpull_disk *disk)
{
	return disk->verify != NULL;
}

bool verify_is_full(const struct bpull_disk *disk)
{
	const struct verify *verify = disk->verify;

	return verify && verify->list.n >= verify->max_items;
}

bool verify_has_any(const struct bpull_disk *disk)
{
	return disk->verify && disk->verify->list.n;
}

void verify_forget(struct bpull_disk *disk, uint64_t guest_off, uint64_t len)
{
	if (disk->verify && !disk->verify->is_below)
		copied_forget(&disk->verify->list, guest_off, len);
}
