/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The table cache against a model that keeps every table for ever: whatever is
 * loaded, changed, staged, written and evicted in between, a table that can be
 * had holds what the model says, and a commit holds what the tables held when
 * it was staged.
 */
#include <criterion/criterion.h>
#include <errno.h>

#include "formats/core/staged.h"
#include "formats/core/table_cache.h"
#include "formats/core/table_dirty.h"
#include "io/base.h"
#include "tests/unit/formats/table_load.h"
#include "tests/support/fail_alloc.h"
#include "tests/support/files/mem_file.h"

/* ---- One promise each ---- */

Test(table_cache, evicts_the_least_recently_used_under_its_budget)
{
	enum {
		N = 100
	};
	size_t each = sizeof(struct table) + 4096;
	struct table_cache *cache = table_cache_new(50 * each);
	struct file *file = mem_file_new("mem", N * 4096);

	for (unsigned i = 0; i < 50; i++)
		table_loaded(cache, file, i * 4096, 4096);
	table_loaded(cache, file, 0, 4096); /* the oldest becomes the youngest */
	for (unsigned i = 50; i < N - 1; i++)
		table_loaded(cache, file, i * 4096, 4096);
	for (unsigned i = 0; i < N; i++) {
		bool stays = i == 0 || (i >= 50 && i < N - 1);

		cr_assert_eq(!!table_find(cache, file, i * 4096), stays, "table %u", i);
	}
	table_loaded(cache, file, (N - 1) * 4096, 4096);
	cr_assert_null(table_find(cache, file, 0));
	table_cache_free(cache);
	file_close(file);
}

Test(table_cache, dirty_fresh_and_written_tables_outlive_any_budget)
{
	struct table_cache *cache = table_cache_new(0);
	struct file *file = mem_file_new("mem", 512 * 1024);
	struct staged staged = { 0 };

	struct table *dirty = table_loaded(cache, file, 0, 512);
	table_mark_dirty(cache, dirty, 8, 8, STAGE_TABLE);
	struct table *fresh = table_new(cache, file, 512, 512, STAGE_TABLE);
	for (unsigned i = 2; i < 500; i++)
		table_loaded(cache, file, i * 512, 512);
	cr_assert_eq(table_find(cache, file, 0), dirty);
	cr_assert_eq(table_find(cache, file, 512), fresh);

	cr_assert_eq(table_cache_stage(cache, file, &staged), 0);
	cr_assert_eq(table_cache_dirty_len(cache, file), 0);
	cr_assert(!fresh->fresh, "a slice of the same new table may have been written");
	for (unsigned i = 2; i < 500; i++)
		table_loaded(cache, file, i * 512, 512);
	cr_assert_eq(table_find(cache, file, 0), dirty, "its write is still on its way");

	staged_clear(&staged);
	for (unsigned i = 2; i < 500; i++)
		table_loaded(cache, file, i * 512, 512);
	cr_assert_null(table_find(cache, file, 0));
	table_cache_forget(cache, file);
	table_cache_free(cache);
	file_close(file);
}

Test(table_cache, change_after_staging_belongs_to_the_next_commit)
{
	struct table_cache *cache = table_cache_new(1 << 20);
	struct file *file = mem_file_new("mem", 65536);
	struct staged first = { 0 }, second = { 0 };

	struct table *table = table_new(cache, file, 4096, 4096, STAGE_TABLE);
	table->bytes[0] = 1;
	table_mark_dirty(cache, table, 0, 1, STAGE_TABLE);
	cr_assert_eq(table_cache_stage(cache, file, &first), 0);
	table->bytes[0] = 2;
	table_mark_dirty(cache, table, 0, 1, STAGE_TABLE);
	cr_assert_eq(table_cache_stage(cache, file, &second), 0);

	/* Fresh: with the refcounts. Reachable once that is staged: at its own stage. */
	cr_assert_eq(first.n[STAGE_REFCOUNT], 1);
	cr_assert_eq(first.head[STAGE_REFCOUNT]->bytes[0], 1);
	cr_assert_eq(second.n[STAGE_REFCOUNT], 0);
	cr_assert_eq(second.n[STAGE_TABLE], 1);
	cr_assert_eq(second.head[STAGE_TABLE]->bytes[0], 2);
	cr_assert_eq(table->n_writing, 2);
	staged_clear(&first);
	staged_clear(&second);
	cr_assert_eq(table->n_writing, 0);
	table_cache_free(cache);
	file_close(file);
}

/* As a damaged image can make it: then the later stage is right for both. */
Test(table_cache, two_tables_in_one_place_wait_for_the_later_stage)
{
	static const enum stage stages[] = { STAGE_TABLE, STAGE_ROOT };

	for (unsigned i = 0; i < 2; i++) {
		struct table_cache *cache = table_cache_new(1 << 20);
		struct file *file = mem_file_new("mem", 65536);
		struct table *table = table_loaded(cache, file, 4096, 4096);
		struct staged staged = { 0 };

		table_mark_dirty(cache, table, 0, 8, stages[i]);
		table_mark_dirty(cache, table, 512, 8, stages[1 - i]);
		cr_assert_eq(table_cache_stage(cache, file, &staged), 0);
		cr_assert_eq(staged.n[STAGE_TABLE], 0);
		cr_assert_eq(staged.n[STAGE_ROOT], 1);
		staged_clear(&staged);
		table_cache_forget(cache, file);
		table_cache_free(cache);
		file_close(file);
	}
}

/* A slice of an L1 table ends where the table ends: not one byte behind it may be written. */
Test(table_cache, last_sector_of_an_odd_table_is_staged_in_part)
{
	struct table_cache *cache = table_cache_new(1 << 20);
	struct file *file = mem_file_new("mem", 65536);
	struct staged staged = { 0 };

	struct table *table = table_loaded(cache, file, 4096, 512 + 24);
	table_mark_dirty(cache, table, 512 + 16, 8, STAGE_ROOT);
	cr_assert_eq(table_cache_dirty_len(cache, file), 24);
	cr_assert_eq(table_cache_stage(cache, file, &staged), 0);
	cr_assert_eq(staged.n[STAGE_ROOT], 1);
	cr_assert_eq(staged.head[STAGE_ROOT]->host_off, 4096 + 512);
	cr_assert_eq(staged.head[STAGE_ROOT]->len, 24);
	staged_clear(&staged);
	table_cache_free(cache);
	file_close(file);
}

Test(table_cache, tables_on_each_other_are_refused)
{
	struct table_cache *cache = table_cache_new(1 << 20);
	struct file *file = mem_file_new("mem", 65536);
	struct table_need need = { .file = file, .host_off = 4096, .len = 512 };
	struct table *table;

	table_loaded(cache, file, 4096, 4096);
	cr_assert_eq(table_get(cache, file, 4096, 512, &table, &need), -EUCLEAN);
	cr_assert_eq(table_load_now(cache, &need), -EUCLEAN);
	table_cache_free(cache);
	file_close(file);
}

Test(table_cache, errors_of_the_disk_and_of_memory_leave_nothing_behind)
{
	struct table_cache *cache = table_cache_new(1 << 20);
	struct file *file = mem_file_new("mem", 65536);
	struct table_need need = { .file = file, .host_off = 4096, .len = 512 };
	struct table *table;

	mem_file_inode(file)->read_error = -EIO;
	cr_assert_eq(table_load_now(cache, &need), -EIO);
	cr_assert_null(table_find(cache, file, 4096));
	mem_file_inode(file)->read_error = 0;
	for (long n = 0; n < 2; n++) {
		fail_alloc_after = n;
		int rc = table_load_now(cache, &need);
		fail_alloc_after = n;
		struct table *new = table_new(cache, file, 8192, 512, STAGE_TABLE);
		fail_alloc_after = -1;
		cr_assert_eq(rc, -ENOMEM, "with %ld allocations", n);
		cr_assert_null(new);
	}
	cr_assert_eq(table_get(cache, file, 4096, 512, &table, &need), TABLE_NEED);
	cr_assert_null(table_find(cache, file, 8192));
	table_cache_free(cache);
	file_close(file);
}
