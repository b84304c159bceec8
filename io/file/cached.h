/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Which parts of a file the page cache had at one moment, as far as a few thousand looked-at pages
 * tell. Pure: posix/past_cache.c looks.
 */
#ifndef BLOCKPULL_IO_CACHED_H
#define BLOCKPULL_IO_CACHED_H

#include <stdbool.h>
#include <stdint.h>

#define FILE_CACHED_MAX 4096 /* pages looked at */

struct file_cached {
	uint64_t step; /* bytes from one page that is looked at to the next, from 0 on */
	uint64_t bits[FILE_CACHED_MAX / 64]; /* bit i: the page at i * step was there */
};

/* Bytes between two pages that are looked at in a file of len bytes. */
uint64_t file_cached_step(uint64_t len);
void file_cached_set(struct file_cached *cached, uint64_t off);
/* Half of the pages that speak for [off, off + len) were there, or more. len > 0. */
bool file_cached_has(const struct file_cached *cached, uint64_t off, uint64_t len);

#endif
