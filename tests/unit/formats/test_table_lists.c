/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* How a table gets into the cache and out of it: formats/core/table_lists.h. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "formats/core/table_cache.h"
#include "formats/core/table_lists.h"
#include "io/base.h"
#include "io/file.h"
#include "tests/support/fail_alloc.h"

#define EACH (sizeof(struct table) + 512)

static struct file file, other;
static struct table_cache *cache;

static void set_up(void)
{
	cache = table_cache_new(40 * EACH);
}

static void tear_down(void)
{
	table_cache_forget(cache, &file);
	table_cache_forget(cache, &other);
	table_cache_free(cache);
}

TestSuite(table_lists, .init = set_up, .fini = tear_down);

/* A clean table, as one that was loaded. */
static struct table *clean(uint64_t host_off)
{
	struct table *table = table_add(cache, &file, host_off, 512, TABLE_READY);

	cr_assert_not_null(table);
	table_list_remove(table);
	table_list_push(&cache->clean, table);
	cache->n_clean++;
	cache->clean_len += EACH;
	return table;
}

/* One that nothing on disk reaches yet. */
static void held(struct file *of, uint64_t host_off)
{
	struct table *table = table_add(cache, of, host_off, 512, TABLE_READY);

	cr_assert_not_null(table);
	table->fresh = true;
}

Test(table_lists, a_new_table_is_held_and_zeros)
{
	struct table *table = table_add(cache, &file, 4096, 512, TABLE_READY);

	cr_assert_eq(table_lookup(cache, &file, 4096), table);
	cr_assert_null(table_lookup(cache, &other, 4096));
	cr_assert_null(table_lookup(cache, &file, 512));
	cr_assert_eq(cache->used, EACH);
	cr_assert(cache->n_clean == 0 && cache->loading_len == 0);
	for (unsigned i = 0; i < table->len; i++)
		cr_assert_eq(table->bytes[i], 0);
	table->fresh = true;
	table = table_add(cache, &other, 4096, 512, TABLE_LOADING);
	cr_assert_eq(cache->loading_len, EACH, "memory that only loads take");
	table_drop(table);
}

Test(table_lists, without_memory_nothing_changes)
{
	for (int k = 0; k < 2; k++) {
		fail_alloc_after = k;
		cr_assert_null(table_add(cache, &file, 0, 512, TABLE_READY));
		fail_alloc_after = -1;
		cr_assert_eq(cache->used, 0);
		cr_assert_null(table_lookup(cache, &file, 0));
	}
}

/* The oldest clean tables make room; those that are held never do. */
Test(table_lists, the_oldest_clean_tables_make_room)
{
	held(&other, 0);
	for (unsigned i = 0; i < 39; i++)
		clean(i * 512);
	cr_assert_eq(cache->used, cache->budget);
	clean(39 * 512);
	cr_assert_null(table_lookup(cache, &file, 0));
	cr_assert_not_null(table_lookup(cache, &file, 512));
	cr_assert_not_null(table_lookup(cache, &other, 0));
	cr_assert_eq(cache->used, cache->budget);
}

Test(table_lists, sixteen_clean_tables_stay_whatever_the_budget_says)
{
	cache->budget = 0;
	for (unsigned i = 0; i < 30; i++)
		clean(i * 512);
	cr_assert_eq(cache->n_clean, 17, "the last one came after room was made");
	for (unsigned i = 0; i < 30; i++)
		cr_assert_eq(!!table_lookup(cache, &file, i * 512), i >= 13, "table %u", i);
}

/* Whatever is added and dropped in between, what is there is found, and the sums are right. */
Test(table_lists, drawn_orders_lose_no_table)
{
	for (unsigned seed = 1; seed <= 20; seed++) {
		bool is_there[64] = { false };

		srand(seed);
		cache->budget = SIZE_MAX;
		for (unsigned i = 0; i < 1000; i++) {
			unsigned at = (unsigned)rand() % 64;

			if (is_there[at])
				table_drop(table_lookup(cache, &file, at * 512));
			else if (rand() % 2)
				clean(at * 512);
			else
				held(&file, at * 512);
			is_there[at] = !is_there[at];
		}
		for (unsigned at = 0; at < 64; at++) {
			struct table *table = table_lookup(cache, &file, at * 512);

			cr_assert_eq(!!table, is_there[at], "seed %u, table %u", seed, at);
			if (table)
				table_drop(table);
		}
		cr_assert_eq(cache->used, 0, "seed %u", seed);
		cr_assert_eq(cache->n_clean, 0, "seed %u", seed);
	}
}
