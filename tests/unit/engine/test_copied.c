/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Promises of engine/core/copied.h, function by function: copied_part_len(),
 * copied_reserve(), copied_add(), copied_forget(), copied_clear(); and the list
 * against one that is looked through from end to end.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

#include "engine/core/copied.h"
#include "io/base.h"

#define N_SEEDS 100

static void add(struct copied_list *list, uint64_t guest_off, uint32_t len, bool is_direct)
{
	struct copied item = { .guest_off = guest_off, .len = len, .is_direct = is_direct };

	item.host_off = guest_off ^ 0x5a;
	cr_assert_eq(copied_reserve(list, 1), 0);
	copied_add(list, &item);
}

Test(copied, stretches_end_at_multiples)
{
	uint64_t far = UINT64_C(1) << 62;

	cr_assert_eq(copied_part_len(0, UINT64_MAX), COPIED_MAX_LEN);
	cr_assert_eq(copied_part_len(0, COPIED_MAX_LEN), COPIED_MAX_LEN);
	cr_assert_eq(copied_part_len(0, COPIED_MAX_LEN - 1), COPIED_MAX_LEN - 1);
	cr_assert_eq(copied_part_len(1, COPIED_MAX_LEN), COPIED_MAX_LEN - 1);
	cr_assert_eq(copied_part_len(COPIED_MAX_LEN - 1, 512), 1);
	cr_assert_eq(copied_part_len(COPIED_MAX_LEN, 512), 512);
	cr_assert_eq(copied_part_len(far + 4096, COPIED_MAX_LEN), COPIED_MAX_LEN - 4096);
}

Test(copied, a_write_takes_what_it_touches_and_no_more)
{
	static const struct {
		uint64_t off, len;
		bool gone[3];
	} writes[] = {
		{ 0, 1000, { false, false, false } },    /* ends where the first begins */
		{ 0, 1001, { true, false, false } },     /* its first byte */
		{ 1999, 1, { true, false, false } },     /* its last byte */
		{ 2000, 1, { false, true, false } },     /* the next one's first */
		{ 1999, 2, { true, true, false } },      /* both sides of a border */
		{ 2500, 500, { false, false, false } },  /* between two */
		{ 2499, 502, { false, true, true } },    /* over a hole */
		{ 3500, 70000, { false, false, false } } /* behind all */
	};

	for (size_t i = 0; i < ARRAY_LEN(writes); i++) {
		struct copied_list list = { 0 };

		add(&list, 1000, 1000, false);
		add(&list, 2000, 500, false);
		add(&list, 3000, 500, false);
		copied_forget(&list, writes[i].off, writes[i].len);
		for (unsigned k = 0; k < 3; k++)
			cr_assert_eq(!list.items[k].len, writes[i].gone[k], "write %zu, item %u", i,
				     k);
		cr_assert_eq(list.n, 3, "the places of the others do not change");
		copied_clear(&list);
	}
}

/* The search begins at the multiple before the write: an item that begins there may reach it. */
Test(copied, the_item_before_is_found)
{
	for (unsigned shift = 0; shift < 2; shift++) {
		uint64_t base = shift ? UINT64_C(1) << 62 : 0;
		struct copied_list list = { 0 };

		for (unsigned i = 0; i < 4; i++)
			add(&list, base + i * COPIED_MAX_LEN, COPIED_MAX_LEN, false);
		copied_forget(&list, base + 2 * COPIED_MAX_LEN - 1, 1);
		cr_assert_eq(list.items[0].len, COPIED_MAX_LEN);
		cr_assert_eq(list.items[1].len, 0, "its last byte");
		cr_assert_eq(list.items[2].len, COPIED_MAX_LEN);
		copied_forget(&list, base + 3 * COPIED_MAX_LEN, 1);
		cr_assert_eq(list.items[2].len, COPIED_MAX_LEN);
		cr_assert_eq(list.items[3].len, 0, "its first byte");
		copied_clear(&list);
		cr_assert(!list.items && !list.n && !list.cap);
	}
}

/* A snapshot's own copy is not the guest's to write to. */
Test(copied, what_no_table_of_the_guests_leads_to_stays)
{
	struct copied_list list = { 0 };

	add(&list, 4096, 4096, true);
	add(&list, 4096, 4096, false);
	copied_forget(&list, 0, 1 * MiB);
	cr_assert_eq(list.items[0].len, 4096);
	cr_assert_eq(list.items[1].len, 0);
	copied_clear(&list);
}

/* ---- against a list that is looked through ---- */

static void forget_naively(struct copied_list *list, uint64_t off, uint64_t len)
{
	for (size_t i = 0; i < list->n; i++) {
		struct copied *item = &list->items[i];

		if (!item->is_direct && item->guest_off < off + len &&
		    off < item->guest_off + item->len)
			item->len = 0;
	}
}

static void check(const struct copied_list *list, const struct copied_list *twin, unsigned seed)
{
	size_t n_left = 0, n_twin = 0;

	cr_assert_eq(list->n, twin->n, "seed %u", seed);
	for (size_t i = 0; i < list->n; i++) {
		cr_assert(!i || list->items[i - 1].guest_off <= list->items[i].guest_off,
			  "seed %u: item %zu is out of order", seed, i);
		n_left += !!list->items[i].len;
		n_twin += !!twin->items[i].len;
	}
	cr_assert_eq(n_left, n_twin, "seed %u", seed);
	for (size_t i = 0; i < twin->n; i++) {
		const struct copied *want = &twin->items[i];
		size_t k = 0;

		while (k < list->n && (list->items[k].host_off != want->host_off ||
				       list->items[k].is_direct != want->is_direct ||
				       list->items[k].len != want->len))
			k++;
		cr_assert_lt(k, list->n, "seed %u: the item at %" PRIu64 " is not there", seed,
			     want->guest_off);
	}
}

/* Runs end nearly in order: a few are behind those that began later. */
static void play(unsigned seed)
{
	uint64_t base = seed % 2 ? (UINT64_C(1) << 62) + 512 : 0, at = base;
	struct copied_list list = { 0 }, twin = { 0 };

	srand(seed);
	for (unsigned i = 0; i < 60; i++) {
		uint64_t from = at + (uint64_t)rand() % 4 * 65536, end;
		bool is_direct = rand() % 8 == 0;

		end = from + (uint64_t)rand() % 200000;
		for (uint32_t len; from < end; from += len) {
			len = copied_part_len(from, end - from);
			add(&list, from, len, is_direct);
			cr_assert_eq(copied_reserve(&twin, 1), 0);
			twin.items[twin.n++] = (struct copied){ .guest_off = from,
								.host_off = from ^ 0x5a,
								.len = len,
								.is_direct = is_direct };
		}
		if (rand() % 3)
			at += 200000;
		if (rand() % 2) {
			uint64_t off = base + (uint64_t)rand() % (at - base + 400000);
			uint64_t len = 1 + (uint64_t)rand() % (rand() % 2 ? 600 : 300000);

			copied_forget(&list, off, len);
			forget_naively(&twin, off, len);
		}
		check(&list, &twin, seed);
	}
	copied_clear(&list);
	copied_clear(&twin);
}

Test(copied, agrees_with_a_list_that_is_looked_through)
{
	for (unsigned seed = 1; seed <= N_SEEDS; seed++)
		play(seed);
}
