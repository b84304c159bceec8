/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Allocations that fail on demand. For programs linked with
 * -Wl,--wrap=malloc,--wrap=calloc; what the C library itself allocates
 * (strdup, asprintf, realloc) is not counted.
 */
#ifndef BLOCKPULL_TESTS_FAIL_ALLOC_H
#define BLOCKPULL_TESTS_FAIL_ALLOC_H

/* So many more allocations succeed, then all fail; -1: none does. */
extern long fail_alloc_after;

#endif
