/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * See fail_alloc.h. The linker sends every malloc() and calloc() of the
 * program's own objects here; a preloaded library would hit the test
 * framework's too.
 */
#include "tests/support/fail_alloc.h"

#include <stdbool.h>
#include <stddef.h>

long fail_alloc_after = -1;

void *__real_malloc(size_t len);
void *__real_calloc(size_t n, size_t len);
void *__wrap_malloc(size_t len);
void *__wrap_calloc(size_t n, size_t len);

static bool fails(void)
{
	if (fail_alloc_after > 0)
		fail_alloc_after--;
	else if (fail_alloc_after == 0)
		return true;
	return false;
}

void *__wrap_malloc(size_t len)
{
	return fails() ? NULL : __real_malloc(len);
}

void *__wrap_calloc(size_t n, size_t len)
{
	return fails() ? NULL : __real_calloc(n, len);
}
