/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A table that is in the cache, loaded if it was not. */
#ifndef BLOCKPULL_TESTS_TABLE_LOAD_H
#define BLOCKPULL_TESTS_TABLE_LOAD_H

#include <criterion/criterion.h>

#include "formats/core/table_cache.h"

static inline struct table *table_loaded(struct table_cache *cache, struct file *file, uint64_t off,
					 uint32_t len)
{
	struct table_need need = { .file = file, .host_off = off, .len = len };
	struct table *table;

	cr_assert_eq(table_load_now(cache, &need), 0);
	cr_assert_eq(table_get(cache, file, off, len, &table, &need), 0);
	return table;
}

#endif
